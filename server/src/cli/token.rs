//! `token generate`.

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::server::agent::v1::{CreateJoinTokenRequest, agent_client::AgentClient},
};

use super::{api, shared_flags::spiffe_id};

const DEFAULT_TTL_S: i64 = 600;

pub(super) fn generate_command() -> Command {
    Command {
        words: "token generate",
        synopsis: "Makes a join token, with which one agent can attest once.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            api::flags("token generate")
                .integer("ttl", DEFAULT_TTL_S, "Lifetime of the token in seconds.")
                .string(
                    "spiffeID",
                    "",
                    "Another SPIFFE ID for the agent, to hang entries on.",
                )
        },
        run: |parsed, terminal| Box::pin(generate(parsed, terminal)),
    }
}

async fn generate(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let id = parsed.string("spiffeID");
    let agent_id = match id {
        "" => None,
        id => Some(spiffe_id(id)?),
    };
    let ttl = i32::try_from(parsed.integer("ttl")).ok();
    let request = CreateJoinTokenRequest {
        ttl: ttl.context("the value of -ttl is too large")?,
        token: String::new(),
        agent_id,
    };
    let mut client = AgentClient::new(api::connect(parsed).await?);
    let token = api::answer(client.create_join_token(request).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&token)?),
        OutputFormat::Pretty => {
            terminal.line(&format!("Token: {}", token.value));
            if id.is_empty() {
                terminal.line("Warning: Missing SPIFFE ID.");
            }
        }
    }
    Ok(())
}
