//! `federation create` and `federation update`, which differ in the call and in a verb.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::{
        server::trustdomain::v1::{
            BatchCreateFederationRelationshipRequest, BatchUpdateFederationRelationshipRequest,
            trust_domain_client::TrustDomainClient,
        },
        types::{FederationRelationship, Status},
    },
};

use super::{block::block, description};
use crate::cli::{
    api,
    status_text::{code_and_message, is_ok},
};

/// A command that changes relationships: what it is called and does, the call, and its request.
macro_rules! change {
    ($name:ident: $verb:literal, $synopsis:literal, $call:ident($request:ident)) => {
        pub(super) fn $name() -> Command {
            async fn run(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
                let format = OutputFormat::chosen(parsed)?;
                let asked = description::relationships(parsed, terminal)?;
                let mut client = TrustDomainClient::new(api::connect(parsed).await?);
                let request = $request {
                    federation_relationships: asked.clone(),
                    ..$request::default()
                };
                let response = client.$call(request).await;
                let response = api::answer(response).context("request failed")?;
                if format == OutputFormat::Json {
                    terminal.line(&json::render_message(&response)?);
                    return Ok(());
                }
                let results = response.results.into_iter();
                let results = results.map(|result| (result.status, result.federation_relationship));
                print($verb, &asked, results, terminal)
            }
            Command {
                words: concat!("federation ", $verb),
                synopsis: $synopsis,
                error_prefix: api::ERROR_PREFIX,
                deadline: api::DEADLINE,
                flags: || description::flags(api::flags(concat!("federation ", $verb))),
                run: |parsed, terminal| Box::pin(run(parsed, terminal)),
            }
        }
    };
}

change! {
    create_command: "create", "Begins relationships with other trust domains.",
    batch_create_federation_relationship(BatchCreateFederationRelationshipRequest)
}

change! {
    update_command: "update", "Replaces relationships with other trust domains.",
    batch_update_federation_relationship(BatchUpdateFederationRelationshipRequest)
}

/// What went well, then what did not, as it was asked for.
fn print(
    verb: &str,
    asked: &[FederationRelationship],
    results: impl Iterator<Item = (Option<Status>, Option<FederationRelationship>)>,
    terminal: &mut Terminal,
) -> anyhow::Result<()> {
    let (done, refused): (Vec<_>, Vec<_>) = results
        .zip(asked)
        .partition(|((status, _), _)| is_ok(status.as_ref()));
    for ((_, relationship), _) in done {
        terminal.line("");
        terminal.print(&relationship.as_ref().map(block).unwrap_or_default());
    }
    for ((status, _), asked) in &refused {
        terminal.line("");
        terminal.error_line(&format!(
            "Failed to {verb} the following federation relationship ({}):",
            code_and_message(status.as_ref())
        ));
        terminal.error_print(&block(asked));
    }
    anyhow::ensure!(
        refused.is_empty(),
        "failed to {verb} one or more federation relationships"
    );
    Ok(())
}
