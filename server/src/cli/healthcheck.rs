//! `healthcheck`.

use daemon::{
    command_line::{Command, Terminal},
    flags::{FlagSet, Parsed},
};
use proto::grpc::health::v1::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::api;

pub(super) fn command() -> Command {
    Command {
        words: "healthcheck",
        synopsis: "Asks the server whether it is healthy.",
        error_prefix: api::ERROR_PREFIX,
        deadline: api::DEADLINE,
        flags: || {
            api::SOCKET
                .flags(FlagSet::new("healthcheck"))
                .boolean("shallow", "Has no effect; older scripts give it.")
                .boolean("verbose", "Tell what is done.")
        },
        run: |parsed, terminal| Box::pin(check(parsed, terminal)),
    }
}

async fn check(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let verbose = parsed.boolean("verbose");
    if verbose {
        terminal.line("Checking server health...");
    }
    let status = match status(parsed).await {
        Ok(status) => status,
        Err(error) => {
            if verbose {
                terminal.error_line(&format!("Failed to check health: {error:#}"));
            }
            anyhow::bail!("server is unhealthy: unable to determine health");
        }
    };
    anyhow::ensure!(
        status == ServingStatus::Serving,
        "server is unhealthy: server returned status {:?}",
        status.as_str_name()
    );
    terminal.line("Server is healthy.");
    Ok(())
}

async fn status(parsed: &Parsed) -> anyhow::Result<ServingStatus> {
    let mut client = HealthClient::new(api::connect(parsed).await?);
    let response = api::answer(client.check(HealthCheckRequest::default()).await)?;
    Ok(response.status())
}
