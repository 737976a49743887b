//! `agent ban` and `agent evict`.

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::{FlagSet, Parsed},
};
use proto::spire::api::{
    server::agent::v1::{BanAgentRequest, DeleteAgentRequest, agent_client::AgentClient},
    types::Spiffeid,
};

use crate::cli::{api, shared_flags::spiffe_id};

pub(super) fn ban_command() -> Command {
    Command {
        words: "agent ban",
        synopsis: "Bans an agent: it gets nothing more and cannot attest again.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || flags("agent ban"),
        run: |parsed, terminal| Box::pin(ban(parsed, terminal)),
    }
}

pub(super) fn evict_command() -> Command {
    Command {
        words: "agent evict",
        synopsis: "Removes an agent: it must attest again. Lifts a ban.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || flags("agent evict"),
        run: |parsed, terminal| Box::pin(evict(parsed, terminal)),
    }
}

fn flags(command: &'static str) -> FlagSet {
    api::flags(command).string("spiffeID", "", "SPIFFE ID of the agent.")
}

async fn ban(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let id = Some(agent_id(parsed)?);
    let mut client = AgentClient::new(api::connect(parsed).await?);
    api::answer(client.ban_agent(BanAgentRequest { id }).await)?;
    print(format, "Agent banned successfully", terminal);
    Ok(())
}

async fn evict(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let id = Some(agent_id(parsed)?);
    let mut client = AgentClient::new(api::connect(parsed).await?);
    api::answer(client.delete_agent(DeleteAgentRequest { id }).await)?;
    print(format, "Agent evicted successfully", terminal);
    Ok(())
}

fn agent_id(parsed: &Parsed) -> anyhow::Result<Spiffeid> {
    let id = parsed.string("spiffeID");
    anyhow::ensure!(!id.is_empty(), "a SPIFFE ID is required");
    spiffe_id(id)
}

/// The answer holds nothing, which JSON calls `{}`.
fn print(format: OutputFormat, done: &str, terminal: &mut Terminal) {
    match format {
        OutputFormat::Json => terminal.line("{}"),
        OutputFormat::Pretty => terminal.line(done),
    }
}
