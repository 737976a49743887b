//! The agent's command line: its table of commands.
//!
//! `debug …` and `logger …` talk to the agent's admin socket; `api …` are workloads like any other: clients of the
//! Workload API that get what the agent issues to the calling process. Command words, flags, outputs and exit codes
//! are SPIRE's.

mod admin;
mod api;
mod healthcheck;
mod run;
mod validate;

use std::time::Duration;

use daemon::command_line::{Program, SocketChoice};

/// The socket of the Workload API.
pub(crate) const SOCKET: SocketChoice = SocketChoice {
    default_path: "/tmp/spire-agent/public/api.sock",
    path_variable: "SPIRE_AGENT_PUBLIC_SOCKET",
    template_variable: "SPIRE_AGENT_PUBLIC_SOCKET_TEMPLATE",
};

/// How long a command without a `-timeout` may take before it is given up.
const DEADLINE: Option<Duration> = Some(Duration::from_secs(60));

/// The program under the name it was called by.
#[must_use]
pub fn program(name: String) -> Program {
    let mut commands = Vec::new();
    commands.extend(admin::commands());
    commands.extend(api::commands());
    commands.extend([healthcheck::command(), run::command(), validate::command()]);
    Program {
        name,
        version: env!("CARGO_PKG_VERSION"),
        commands,
    }
}
