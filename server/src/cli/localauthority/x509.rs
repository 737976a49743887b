//! `localauthority x509`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::server::localauthority::v1::{
        ActivateX509AuthorityRequest, GetX509AuthorityStateRequest, PrepareX509AuthorityRequest,
        RevokeX509AuthorityRequest, TaintX509AuthorityRequest,
        local_authority_client::LocalAuthorityClient,
    },
};

use super::{authority_id, block::Block, flags_with_id, show::Slots, step};
use crate::cli::api;

const BLOCK: Block = Block::X509;

pub(super) fn show() -> Command {
    Command {
        words: "localauthority x509 show",
        synopsis: "Shows the X.509 authorities: the one that signs, the next, the one before.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("localauthority x509 show"),
        run: |parsed, terminal| Box::pin(run_show(parsed, terminal)),
    }
}

async fn run_show(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let output = OutputFormat::chosen(parsed)?;
    let mut client = LocalAuthorityClient::new(api::connect(parsed).await?);
    let asked = client.get_x509_authority_state(GetX509AuthorityStateRequest {});
    let state = api::answer(asked.await).context("could not get X.509 authorities")?;
    match output {
        OutputFormat::Json => terminal.line(&json::render_message(&state)?),
        OutputFormat::Pretty => {
            let slots = Slots {
                active: state.active.as_ref(),
                prepared: state.prepared.as_ref(),
                old: state.old.as_ref(),
            };
            terminal.print(&slots.paragraphs(BLOCK));
        }
    }
    Ok(())
}

step! {
    prepare: "localauthority x509 prepare",
    "Makes the next X.509 authority and puts it into the bundle.",
    api::flags,
    prepare_x509_authority(parsed => PrepareX509AuthorityRequest {}) -> prepared_authority,
    "Prepared X.509 authority:", "could not prepare X.509 authority"
}

step! {
    activate: "localauthority x509 activate",
    "Lets the prepared X.509 authority sign on all servers of the cluster from now on.",
    flags_with_id,
    activate_x509_authority(parsed => ActivateX509AuthorityRequest {
        authority_id: authority_id(parsed)?,
    }) -> activated_authority,
    "Activated X.509 authority:", "could not activate X.509 authority"
}

step! {
    taint: "localauthority x509 taint",
    "Marks the X.509 authority before as tainted: what it signed is replaced everywhere.",
    flags_with_id,
    taint_x509_authority(parsed => TaintX509AuthorityRequest {
        authority_id: authority_id(parsed)?,
    }) -> tainted_authority,
    "Tainted X.509 authority:", "could not taint X.509 authority"
}

step! {
    revoke: "localauthority x509 revoke",
    "Takes the tainted X.509 authority out of the bundle: what it signed is believed no more.",
    flags_with_id,
    revoke_x509_authority(parsed => RevokeX509AuthorityRequest {
        authority_id: authority_id(parsed)?,
    }) -> revoked_authority,
    "Revoked X.509 authority:", "could not revoke X.509 authority"
}
