//! `bundle set`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal, path_error_text},
    flags::Parsed,
};
use identity::{bundle::Bundle, pem::MAX_PEM_LEN_BYTES, trust_domain::TrustDomain};
use proto::{
    convert, json,
    spire::api::server::bundle::v1::{
        BatchSetFederatedBundleRequest, BatchSetFederatedBundleResponse,
        bundle_client::BundleClient,
    },
};

use super::format::BundleFormat;
use crate::cli::{api, status_text::failure};

pub(super) fn command() -> Command {
    Command {
        words: "bundle set",
        synopsis: "Stores the bundle of another trust domain.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            BundleFormat::flag(api::flags("bundle set"))
                .string("id", "", "SPIFFE ID of the trust domain.")
                .string("path", "", "File with the bundle; standard input without.")
        },
        run: |parsed, terminal| Box::pin(set(parsed, terminal)),
    }
}

async fn set(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let output = OutputFormat::chosen(parsed)?;
    let id = parsed.string("id");
    anyhow::ensure!(!id.is_empty(), "id flag is required");
    let format = BundleFormat::chosen(parsed)?;
    let trust_domain = TrustDomain::parse(id)?;
    let text = read(parsed.string("path"), terminal).context("unable to load bundle data")?;
    let bundle = format.read(&trust_domain, &text)?;
    let response = send(&bundle, parsed)
        .await
        .context("failed to set federated bundle")?;
    match output {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => {
            for result in &response.results {
                if let Some(message) = failure(result.status.as_ref()) {
                    anyhow::bail!("failed to set federated bundle: {message}");
                }
            }
            terminal.line("bundle set.");
        }
    }
    Ok(())
}

async fn send(bundle: &Bundle, parsed: &Parsed) -> anyhow::Result<BatchSetFederatedBundleResponse> {
    let request = BatchSetFederatedBundleRequest {
        bundle: vec![convert::bundle::to_wire(bundle, None)],
        output_mask: None,
    };
    let mut client = BundleClient::new(api::connect(parsed).await?);
    Ok(api::answer(
        client.batch_set_federated_bundle(request).await,
    )?)
}

fn read(path: &str, terminal: &mut Terminal) -> anyhow::Result<Vec<u8>> {
    let path = if path.is_empty() { "-" } else { path };
    let limit = u64::try_from(MAX_PEM_LEN_BYTES).unwrap_or(u64::MAX);
    terminal
        .read_file_or_input(path, limit)
        .map_err(|error| anyhow::Error::msg(path_error_text("open", path.as_ref(), &error)))
}
