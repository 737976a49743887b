//! `upstreamauthority`: rotation by hand of what signs this server's authorities.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::{FlagSet, Parsed},
};
use proto::{
    json,
    spire::api::server::localauthority::v1::{
        RevokeX509UpstreamAuthorityRequest, TaintX509UpstreamAuthorityRequest,
        local_authority_client::LocalAuthorityClient,
    },
};

use super::api;

pub(super) fn commands() -> [Command; 2] {
    [taint_command(), revoke_command()]
}

fn taint_command() -> Command {
    Command {
        words: "upstreamauthority taint",
        synopsis: "Marks an upstream X.509 authority as tainted: what it signed is replaced everywhere.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || flags("upstreamauthority taint"),
        run: |parsed, terminal| Box::pin(taint(parsed, terminal)),
    }
}

fn revoke_command() -> Command {
    Command {
        words: "upstreamauthority revoke",
        synopsis: "Takes a tainted upstream X.509 authority out of the bundle: what it signed is believed no more.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || flags("upstreamauthority revoke"),
        run: |parsed, terminal| Box::pin(revoke(parsed, terminal)),
    }
}

fn flags(command: &'static str) -> FlagSet {
    api::flags(command).string(
        "subjectKeyID",
        "",
        "Subject key ID of the upstream authority, as `localauthority x509 show` tells it.",
    )
}

async fn taint(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let output = OutputFormat::chosen(parsed)?;
    let subject_key_id = subject_key_id(parsed)?;
    let request = TaintX509UpstreamAuthorityRequest { subject_key_id };
    let mut client = LocalAuthorityClient::new(api::connect(parsed).await?);
    let response = api::answer(client.taint_x509_upstream_authority(request).await)
        .context("could not taint X.509 upstream authority")?;
    match output {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => {
            let id = response.upstream_authority_subject_key_id;
            terminal.line("Tainted X.509 upstream authority:");
            terminal.line(&format!("  Subject Key ID: {id}"));
        }
    }
    Ok(())
}

async fn revoke(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let output = OutputFormat::chosen(parsed)?;
    let subject_key_id = subject_key_id(parsed)?;
    let request = RevokeX509UpstreamAuthorityRequest { subject_key_id };
    let mut client = LocalAuthorityClient::new(api::connect(parsed).await?);
    let response = api::answer(client.revoke_x509_upstream_authority(request).await)
        .context("could not revoke X.509 upstream authority")?;
    match output {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => {
            let id = response.upstream_authority_subject_key_id;
            terminal.line("Revoked X.509 upstream authority:");
            terminal.line(&format!("  Subject Key ID: {id}"));
        }
    }
    Ok(())
}

fn subject_key_id(parsed: &Parsed) -> anyhow::Result<String> {
    let id = parsed.string("subjectKeyID");
    anyhow::ensure!(
        !id.is_empty(),
        "the Subject Key ID of the X.509 upstream authority is required"
    );
    Ok(id.to_owned())
}
