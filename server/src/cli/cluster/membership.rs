//! `cluster leave` and `cluster remove`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    conclave::cluster::v1::{LeaveRequest, RemoveMemberRequest},
    json,
};

use super::{connect, flags, member_id};
use crate::cli::api;

pub(super) fn leave_command() -> Command {
    Command {
        words: "cluster leave",
        synopsis: "Takes the member that is asked out of its cluster for good and stops it.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || flags("cluster leave"),
        run: |parsed, terminal| Box::pin(leave(parsed, terminal)),
    }
}

pub(super) fn remove_command() -> Command {
    Command {
        words: "cluster remove",
        synopsis: "Takes a member out of the cluster for good, dead or alive.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || flags("cluster remove").integer("id", 0, "ID of the member."),
        run: |parsed, terminal| Box::pin(remove(parsed, terminal)),
    }
}

async fn leave(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let mut client = connect(parsed).await?;
    let response = api::answer(client.leave(LeaveRequest {}).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => terminal.line(&format!(
            "Member {} left the cluster and stops. Delete its data before this host joins again.",
            response.id
        )),
    }
    Ok(())
}

async fn remove(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let id = member_id(parsed, "id")?;
    let id = id.context("-id is required; cluster members lists the members")?;
    let mut client = connect(parsed).await?;
    let request = RemoveMemberRequest { id };
    let response = api::answer(client.remove_member(request).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => terminal.line(&format!(
            "Member {id} is out of the cluster. Its data is of no more use."
        )),
    }
    Ok(())
}
