//! `federation refresh`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    convert, json,
    spire::api::server::trustdomain::v1::{
        RefreshBundleRequest, trust_domain_client::TrustDomainClient,
    },
};
use tonic::Code;

use crate::cli::api;

pub(super) fn command() -> Command {
    Command {
        words: "federation refresh",
        synopsis: "Fetches the bundle of another trust domain now.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            let flags = api::flags("federation refresh");
            flags.string("id", "", "SPIFFE ID of the trust domain.")
        },
        run: |parsed, terminal| Box::pin(refresh(parsed, terminal)),
    }
}

async fn refresh(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let id = parsed.string("id");
    anyhow::ensure!(!id.is_empty(), "id is required");
    let mut client = TrustDomainClient::new(api::connect(parsed).await?);
    let request = RefreshBundleRequest {
        trust_domain: id.to_owned(),
    };
    let refreshed = client.refresh_bundle(request).await;
    if refreshed
        .as_ref()
        .is_err_and(|status| status.code() == Code::NotFound)
    {
        anyhow::bail!("there is no federation relationship with trust domain {id:?}");
    }
    api::answer(refreshed).context("failed to refresh bundle")?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&convert::status::ok())?),
        OutputFormat::Pretty => terminal.line("Bundle refreshed"),
    }
    Ok(())
}
