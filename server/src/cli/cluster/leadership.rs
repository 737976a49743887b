//! `cluster transfer`.

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{conclave::cluster::v1::TransferRequest, json};

use super::{connect, flags, member_id};
use crate::cli::api;

pub(super) fn transfer_command() -> Command {
    Command {
        words: "cluster transfer",
        synopsis: "Hands the lead to another member.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            flags("cluster transfer").integer(
                "to",
                0,
                "ID of the member that is to lead; without it, the one that is the most up to date.",
            )
        },
        run: |parsed, terminal| Box::pin(transfer(parsed, terminal)),
    }
}

async fn transfer(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let to = member_id(parsed, "to")?.unwrap_or(0);
    let mut client = connect(parsed).await?;
    let response = api::answer(client.transfer(TransferRequest { to }).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => terminal.line(&format!("Member {} leads.", response.leader)),
    }
    Ok(())
}
