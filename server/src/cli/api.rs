//! How the commands reach the server's API.

use std::time::Duration;

use daemon::{
    command_line::{DialTarget, OutputFormat, RpcError, SocketChoice, dial},
    flags::{FlagSet, Parsed},
};
use tonic::transport::Channel;

/// How long a command may take before it is given up.
pub(super) const DEADLINE: Option<Duration> = Some(Duration::from_secs(60));

/// What stands before the errors of these commands.
pub(super) const ERROR_PREFIX: &str = "Error: ";

pub(super) const SOCKET: SocketChoice = SocketChoice {
    default_path: "/tmp/spire-server/private/api.sock",
    path_variable: "SPIRE_SERVER_PRIVATE_SOCKET",
    template_variable: "SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE",
};

/// The flags that every command has which asks the server for something.
pub(super) fn flags(command: &'static str) -> FlagSet {
    OutputFormat::flag(SOCKET.flags(FlagSet::new(command)))
}

/// A channel to the server that the flags name.
pub(super) async fn connect(parsed: &Parsed) -> anyhow::Result<Channel> {
    let path = SOCKET.resolve(parsed)?;
    Ok(dial(&path, DialTarget::Url).await?)
}

/// What a call answered, its error in the words of [`RpcError`].
pub(super) fn answer<T>(outcome: Result<tonic::Response<T>, tonic::Status>) -> Result<T, RpcError> {
    Ok(outcome?.into_inner())
}
