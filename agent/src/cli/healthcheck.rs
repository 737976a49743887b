//! `healthcheck`.

use daemon::{
    command_line::{Command, DialTarget, RpcError, Terminal, dial},
    flags::{FlagSet, Parsed},
};
use proto::grpc::health::v1::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{DEADLINE, SOCKET};

pub(super) fn command() -> Command {
    Command {
        words: "healthcheck",
        synopsis: "Asks the agent whether it is healthy.",
        error_prefix: "",
        deadline: DEADLINE,
        flags: || {
            SOCKET
                .flags(FlagSet::new("health"))
                .boolean("shallow", "Has no effect; older scripts give it.")
                .boolean("verbose", "Tell what is done.")
        },
        run: |parsed, terminal| Box::pin(check(parsed, terminal)),
    }
}

async fn check(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let verbose = parsed.boolean("verbose");
    if verbose {
        terminal.line("Checking agent health...");
    }
    let status = match status(parsed).await {
        Ok(status) => status,
        Err(error) => {
            if verbose {
                terminal.error_line(&format!("Failed to check health: {error:#}"));
            }
            anyhow::bail!("Agent is unhealthy: unable to determine health");
        }
    };
    anyhow::ensure!(
        status == ServingStatus::Serving,
        "Agent is unhealthy: agent returned status {:?}",
        status.as_str_name()
    );
    terminal.line("Agent is healthy.");
    Ok(())
}

async fn status(parsed: &Parsed) -> anyhow::Result<ServingStatus> {
    let path = SOCKET.resolve(parsed)?;
    let mut client = HealthClient::new(dial(&path, DialTarget::Path).await?);
    let response = client.check(HealthCheckRequest::default()).await;
    Ok(response.map_err(RpcError::from)?.into_inner().status())
}
