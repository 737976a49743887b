//! `cluster invite`.

use std::time::Duration;

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal, utc_text},
    flags::Parsed,
};
use proto::{
    conclave::cluster::v1::{CreateInviteRequest, CreateInviteResponse},
    json,
};

use super::{connect, flags};
use crate::cli::api;

pub(super) fn command() -> Command {
    Command {
        words: "cluster invite",
        synopsis: "Makes an invitation, with which one server can join the cluster once.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            flags("cluster invite").duration(
                "ttl",
                DEFAULT_TTL,
                "How long the invitation is good for.",
            )
        },
        run: |parsed, terminal| Box::pin(invite(parsed, terminal)),
    }
}

const DEFAULT_TTL: Duration = Duration::from_secs(600);

async fn invite(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let ttl_s = u32::try_from(parsed.duration("ttl").as_secs()).ok();
    let request = CreateInviteRequest {
        ttl_s: ttl_s.context("the value of -ttl is too large")?,
    };
    let mut client = connect(parsed).await?;
    let response = api::answer(client.create_invite(request).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => terminal.print(&instructions(&response)),
    }
    Ok(())
}

fn instructions(response: &CreateInviteResponse) -> String {
    let invite = &response.invite;
    format!(
        "This invitation admits one server, until {until}. On its host, whose config has a cluster block:\n\
         \n\
         \x20 conclave-server cluster join -run -config server.conf -invite {invite}\n\
         \n\
         Without -run it joins only, and `conclave-server run` or the service starts it. Whoever holds the invitation\n\
         can join: to keep it out of the list of processes, put it into a file and give -inviteFile.\n",
        until = utc_text(response.expires_at),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_comes_with_the_command_that_uses_it() {
        let response = CreateInviteResponse {
            invite: "conclave-invite-v1.abc".to_owned(),
            expires_at: 4_102_444_800,
        };
        let expected = "\
This invitation admits one server, until 2100-01-01 00:00:00 +0000 UTC. On its host, whose config has a cluster block:

  conclave-server cluster join -run -config server.conf -invite conclave-invite-v1.abc

Without -run it joins only, and `conclave-server run` or the service starts it. Whoever holds the invitation
can join: to keep it out of the list of processes, put it into a file and give -inviteFile.
";
        assert_eq!(instructions(&response), expected);
    }
}
