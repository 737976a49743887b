//! `localauthority jwt`.

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::server::localauthority::v1::{
        ActivateJwtAuthorityRequest, GetJwtAuthorityStateRequest, PrepareJwtAuthorityRequest,
        RevokeJwtAuthorityRequest, TaintJwtAuthorityRequest,
        local_authority_client::LocalAuthorityClient,
    },
};

use super::{authority_id, block::Block, flags_with_id, show::Slots, step};
use crate::cli::api;

const BLOCK: Block = Block::Jwt;

pub(super) fn show() -> Command {
    Command {
        words: "localauthority jwt show",
        synopsis: "Shows the JWT authorities: the one that signs, the next, the one before.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("localauthority jwt show"),
        run: |parsed, terminal| Box::pin(run_show(parsed, terminal)),
    }
}

async fn run_show(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let output = OutputFormat::chosen(parsed)?;
    let mut client = LocalAuthorityClient::new(api::connect(parsed).await?);
    let asked = client.get_jwt_authority_state(GetJwtAuthorityStateRequest {});
    let state = api::answer(asked.await)?;
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
    prepare: "localauthority jwt prepare",
    "Makes the next JWT authority and puts it into the bundle.",
    api::flags,
    prepare_jwt_authority(parsed => PrepareJwtAuthorityRequest {}) -> prepared_authority,
    "Prepared JWT authority:", "could not prepare JWT authority"
}

step! {
    activate: "localauthority jwt activate",
    "Lets the prepared JWT authority sign on all servers of the cluster from now on.",
    flags_with_id,
    activate_jwt_authority(parsed => ActivateJwtAuthorityRequest {
        authority_id: authority_id(parsed)?,
    }) -> activated_authority,
    "Activated JWT authority:", "could not activate JWT authority"
}

step! {
    taint: "localauthority jwt taint",
    "Marks the JWT authority before as tainted: what it signed is replaced everywhere.",
    flags_with_id,
    taint_jwt_authority(parsed => TaintJwtAuthorityRequest {
        authority_id: authority_id(parsed)?,
    }) -> tainted_authority,
    "Tainted JWT authority:", "could not taint JWT authority"
}

step! {
    revoke: "localauthority jwt revoke",
    "Takes the tainted JWT authority out of the bundle: what it signed is believed no more.",
    flags_with_id,
    revoke_jwt_authority(parsed => RevokeJwtAuthorityRequest {
        authority_id: authority_id(parsed)?,
    }) -> revoked_authority,
    "Revoked JWT authority:", "could not revoke JWT authority"
}
