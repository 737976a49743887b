//! `bundle delete`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use identity::trust_domain::TrustDomain;
use proto::{
    json,
    spire::api::server::bundle::v1::{
        BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse,
        batch_delete_federated_bundle_request::Mode, bundle_client::BundleClient,
    },
};

use crate::cli::{api, status_text::failure};

pub(super) fn command() -> Command {
    Command {
        words: "bundle delete",
        synopsis: "Deletes the bundle of another trust domain.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            api::flags("bundle delete")
                .string("id", "", "SPIFFE ID of the trust domain.")
                .string(
                    "mode",
                    "restrict",
                    "What becomes of entries that federate with it: restrict refuses while there are any, dissociate \
                     lets go of it in them, delete deletes them.",
                )
        },
        run: |parsed, terminal| Box::pin(delete(parsed, terminal)),
    }
}

async fn delete(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let output = OutputFormat::chosen(parsed)?;
    let id = parsed.string("id");
    anyhow::ensure!(!id.is_empty(), "id is required");
    let trust_domain = TrustDomain::parse(id)?;
    let mode = match parsed.string("mode") {
        "restrict" => Mode::Restrict,
        "dissociate" => Mode::Dissociate,
        "delete" => Mode::Delete,
        unknown => anyhow::bail!("unsupported mode {unknown:?}"),
    };
    let request = BatchDeleteFederatedBundleRequest {
        trust_domains: vec![trust_domain.as_str().to_owned()],
        mode: mode.into(),
    };
    let response = send(request, parsed)
        .await
        .context("failed to delete federated bundle")?;
    match output {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => {
            for result in &response.results {
                if let Some(message) = failure(result.status.as_ref()) {
                    let id = trust_domain.id_string();
                    anyhow::bail!("failed to delete federated bundle {id:?}: {message}");
                }
            }
            terminal.line("bundle deleted.");
        }
    }
    Ok(())
}

async fn send(
    request: BatchDeleteFederatedBundleRequest,
    parsed: &Parsed,
) -> anyhow::Result<BatchDeleteFederatedBundleResponse> {
    let mut client = BundleClient::new(api::connect(parsed).await?);
    Ok(api::answer(
        client.batch_delete_federated_bundle(request).await,
    )?)
}
