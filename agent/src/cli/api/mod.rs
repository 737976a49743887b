//! `api`: what a workload can ask the agent for.

mod fetch_jwt;
mod fetch_x509;
mod received;
mod report;
mod validate_jwt;
mod watch;
mod workload;
mod written;

use daemon::command_line::Command;

pub(super) fn commands() -> [Command; 5] {
    [
        fetch_x509::command("api fetch"),
        fetch_x509::command("api fetch x509"),
        fetch_jwt::command(),
        validate_jwt::command(),
        watch::command(),
    ]
}
