//! `agent list`, `agent show` and `agent count`.

use daemon::{
    command_line::{Command, OutputFormat, Terminal},
    flags::Parsed,
};
use proto::{
    json,
    spire::api::{
        server::agent::v1::{
            CountAgentsRequest, GetAgentRequest, ListAgentsRequest, ListAgentsResponse,
            agent_client::AgentClient, list_agents_request,
        },
        types::{Agent, AgentMask},
    },
};
use tonic::transport::Channel;

use super::{
    block::{block, selector_lines},
    filter,
};
use crate::cli::{api, quantity::quantity, shared_flags::spiffe_id};

const PAGE_SIZE: i32 = 1000;

pub(super) fn command() -> Command {
    Command {
        words: "agent list",
        synopsis: "Lists attested agents.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || filter::flags(api::flags("agent list")),
        run: |parsed, terminal| Box::pin(list(parsed, terminal)),
    }
}

pub(super) fn show_command() -> Command {
    Command {
        words: "agent show",
        synopsis: "Shows an attested agent with its selectors.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || api::flags("agent show").string("spiffeID", "", "SPIFFE ID of the agent."),
        run: |parsed, terminal| Box::pin(show(parsed, terminal)),
    }
}

pub(super) fn count_command() -> Command {
    Command {
        words: "agent count",
        synopsis: "Counts attested agents.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || filter::flags(api::flags("agent count")),
        run: |parsed, terminal| Box::pin(count(parsed, terminal)),
    }
}

/// All agents that match, page by page.
pub(super) async fn matching(
    client: &mut AgentClient<Channel>,
    filter: &list_agents_request::Filter,
    output_mask: Option<AgentMask>,
) -> anyhow::Result<Vec<Agent>> {
    let mut agents = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAgentsRequest {
            filter: Some(filter.clone()),
            output_mask,
            page_size: PAGE_SIZE,
            page_token: page_token.clone(),
        };
        let page = api::answer(client.list_agents(request).await)?;
        agents.extend(page.agents);
        match api::next_page(&page_token, page.next_page_token)? {
            Some(next) => page_token = next,
            None => return Ok(agents),
        }
    }
}

async fn list(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let filter = filter::filter(parsed)?;
    let mut client = AgentClient::new(api::connect(parsed).await?);
    let agents = matching(&mut client, &filter, None).await?;
    match format {
        OutputFormat::Json => {
            let response = ListAgentsResponse {
                agents,
                next_page_token: String::new(),
            };
            terminal.line(&json::render_message(&response)?);
        }
        OutputFormat::Pretty if agents.is_empty() => terminal.line("No attested agents found"),
        OutputFormat::Pretty => {
            let found = quantity(agents.len(), "attested agent", "attested agents");
            terminal.print(&format!("Found {found}:\n\n"));
            for agent in &agents {
                terminal.print(&block(agent));
            }
        }
    }
    Ok(())
}

async fn show(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let id = parsed.string("spiffeID");
    anyhow::ensure!(!id.is_empty(), "a SPIFFE ID is required");
    let request = GetAgentRequest {
        id: Some(spiffe_id(id)?),
        output_mask: None,
    };
    let mut client = AgentClient::new(api::connect(parsed).await?);
    let agent = api::answer(client.get_agent(request).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&agent)?),
        OutputFormat::Pretty => {
            terminal.print("Found an attested agent given its SPIFFE ID\n\n");
            terminal.print(&block(&agent));
            terminal.print(&selector_lines(&agent));
        }
    }
    Ok(())
}

async fn count(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let request = CountAgentsRequest {
        filter: Some(filter::count_filter(parsed)?),
    };
    let mut client = AgentClient::new(api::connect(parsed).await?);
    let response = api::answer(client.count_agents(request).await)?;
    match format {
        OutputFormat::Json => terminal.line(&json::render_message(&response)?),
        OutputFormat::Pretty => {
            let count = usize::try_from(response.count).unwrap_or(0);
            terminal.line(&quantity(count, "attested agent", "attested agents"));
        }
    }
    Ok(())
}
