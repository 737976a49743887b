//! `debug` and `logger`: what an administrator asks the agent on its admin socket.

mod debug;
mod logger;

use std::path::Path;

use daemon::command_line::{Command, DialTarget, OutputFormat, RpcError, dial};
use daemon::flags::{FlagSet, Parsed};
use tonic::transport::Channel;

const ERROR_PREFIX: &str = "Error: ";

/// Where the admin socket is in SPIRE's examples; without `admin_socket_path` there is none.
const DEFAULT_SOCKET_PATH: &str = "/tmp/spire-agent/private/admin.sock";

pub(super) fn commands() -> Vec<Command> {
    let mut commands = vec![debug::command()];
    commands.extend(logger::commands());
    commands
}

/// The flags that every command has.
fn flags(command: &'static str) -> FlagSet {
    let set = FlagSet::new(command);
    let set = set.string(
        "socketPath",
        DEFAULT_SOCKET_PATH,
        "Path of the admin socket.",
    );
    OutputFormat::flag(set)
}

async fn connect(parsed: &Parsed) -> Result<Channel, RpcError> {
    let path = match parsed.string("socketPath") {
        "" => DEFAULT_SOCKET_PATH,
        path => path,
    };
    dial(Path::new(path), DialTarget::Path).await
}
