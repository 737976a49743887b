//! `federation delete`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::server::trustdomain::v1::{
        BatchDeleteFederationRelationshipRequest, trust_domain_client::TrustDomainClient,
    },
};

use crate::cli::{api, status_text::failure};

pub(super) fn command() -> Command {
    Command {
        words: "federation delete",
        synopsis: "Ends a relationship with another trust domain.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            let flags = api::flags("federation delete");
            flags.string("id", "", "SPIFFE ID of the trust domain.")
        },
        run: |parsed, terminal| Box::pin(delete(parsed, terminal)),
    }
}

async fn delete(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let id = parsed.string("id");
    anyhow::ensure!(!id.is_empty(), "id is required");
    let mut client = TrustDomainClient::new(api::connect(parsed).await?);
    let request = BatchDeleteFederationRelationshipRequest {
        trust_domains: vec![id.to_owned()],
    };
    let response = client.batch_delete_federation_relationship(request).await;
    let response = api::answer(response).context("failed to delete federation relationship")?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => {
            for result in &response.results {
                if let Some(message) = failure(result.status.as_ref()) {
                    let name = &result.trust_domain;
                    anyhow::bail!("failed to delete federation relationship {name:?}: {message}");
                }
            }
            terminal.line("federation relationship deleted.");
        }
    }
    Ok(())
}
