//! `agent purge`: removes agents whose SVID ended long ago.

use std::time::Duration;

use anyhow::Context as _;
use daemon::{
    command_line::{Command, OutputFormat, RpcError, Terminal},
    flags::Parsed,
};
use identity::clock::{Clock as _, SystemClock, UnixTime};
use proto::spire::api::{
    server::agent::v1::{DeleteAgentRequest, agent_client::AgentClient, list_agents_request},
    types::{Agent, AgentMask},
};
use serde::Serialize;

use super::list;
use crate::cli::{api, quantity::quantity, shared_flags::spiffe_id_text};

const DEFAULT_EXPIRED_FOR: Duration = Duration::from_secs(720 * 3600);

pub(super) fn command() -> Command {
    Command {
        words: "agent purge",
        synopsis: "Removes agents that can attest again and whose SVID ended long ago.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            api::flags("agent purge")
                .duration(
                    "expiredFor",
                    DEFAULT_EXPIRED_FOR,
                    "How long ago the SVID must have ended.",
                )
                .boolean("dryRun", "Remove nothing; tell what would be removed.")
        },
        run: |parsed, terminal| Box::pin(purge(parsed, terminal)),
    }
}

#[derive(Debug, Serialize)]
struct Outcome {
    expired_agents: Vec<ExpiredAgent>,
}

#[derive(Debug, Serialize)]
struct ExpiredAgent {
    agent_id: String,
    deleted: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

async fn purge(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let channel = api::connect(parsed).await.context(NOT_LISTED)?;
    let mut client = AgentClient::new(channel);
    let filter = list_agents_request::Filter {
        by_can_reattest: Some(true),
        ..list_agents_request::Filter::default()
    };
    let mask = AgentMask {
        x509svid_expires_at: true,
        ..AgentMask::default()
    };
    let agents = list::matching(&mut client, &filter, Some(mask)).await;
    let agents = agents.context(NOT_LISTED)?;
    let before = SystemClock
        .now()
        .saturating_sub(parsed.duration("expiredFor"));
    let dry_run = parsed.boolean("dryRun");
    let mut expired_agents = Vec::new();
    for agent in expired_before(agents, before) {
        let agent_id = spiffe_id_text(agent.id.as_ref());
        let failure = if dry_run {
            None
        } else {
            let request = DeleteAgentRequest { id: agent.id };
            client.delete_agent(request).await.err().map(RpcError::from)
        };
        expired_agents.push(ExpiredAgent {
            agent_id,
            deleted: !dry_run && failure.is_none(),
            error: failure.map_or_else(String::new, |failure| failure.to_string()),
        });
    }
    let outcome = Outcome { expired_agents };
    match format {
        OutputFormat::Json => terminal.line(&serde_json::to_string(&outcome)?),
        OutputFormat::Pretty => terminal.print(&report(&outcome, dry_run)),
    }
    Ok(())
}

const NOT_LISTED: &str = "failed to list agents";

fn expired_before(agents: Vec<Agent>, before: UnixTime) -> impl Iterator<Item = Agent> {
    let ended = move |agent: &Agent| UnixTime::from_secs(agent.x509svid_expires_at) < before;
    agents.into_iter().filter(ended)
}

fn report(outcome: &Outcome, dry_run: bool) -> String {
    let agents = &outcome.expired_agents;
    if agents.is_empty() {
        return "No agents to purge.\n".to_owned();
    }
    let found = quantity(agents.len(), "expired agent", "expired agents");
    let mut text = format!("Found {found}\n\n");
    let mut list = |title: &str, listed: &dyn Fn(&ExpiredAgent) -> bool| {
        let mut listed = agents.iter().filter(|agent| listed(agent)).peekable();
        if listed.peek().is_some() {
            text.push_str(title);
        }
        for agent in listed {
            text.push_str(&format!("{:18}: {}\n", "SPIFFE ID", agent.agent_id));
            if !agent.error.is_empty() {
                text.push_str(&format!("{:18}: {}\n", "Error", agent.error));
            }
        }
    };
    if dry_run {
        list("\nAgents that can be purged:\n", &|_| true);
    } else {
        list("Agents purged:\n", &|agent| agent.deleted);
        list("Agents not purged:\n", &|agent| !agent.deleted);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let agent = |name: &str, deleted: bool, error: &str| ExpiredAgent {
            agent_id: format!("spiffe://a/{name}"),
            deleted,
            error: error.to_owned(),
        };
        Outcome {
            expired_agents: vec![agent("gone", true, ""), agent("kept", false, "no")],
        }
    }

    #[test]
    fn what_was_purged_and_what_was_not_is_told_apart() {
        let expected = "\
Found 2 expired agents

Agents purged:
SPIFFE ID         : spiffe://a/gone
Agents not purged:
SPIFFE ID         : spiffe://a/kept
Error             : no
";
        assert_eq!(report(&outcome(), false), expected);
    }

    #[test]
    fn json_has_an_error_only_where_there_is_one() {
        assert_eq!(
            serde_json::to_string(&outcome()).unwrap(),
            r#"{"expired_agents":[{"agent_id":"spiffe://a/gone","deleted":true},{"agent_id":"spiffe://a/kept","deleted":false,"error":"no"}]}"#
        );
    }

    #[test]
    fn only_agents_past_the_limit_are_expired() {
        let agent = |expires_at| Agent {
            x509svid_expires_at: expires_at,
            ..Agent::default()
        };
        let expired = expired_before(vec![agent(99), agent(100)], UnixTime::from_secs(100));
        let expired: Vec<_> = expired.map(|agent| agent.x509svid_expires_at).collect();
        assert_eq!(expired, [99]);
    }
}
