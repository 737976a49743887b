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

/// The token of the page after the one that `asked` was for, `None` after the last.
///
/// # Errors
/// The server names the same page again, and would for ever.
pub(super) fn next_page(asked: &str, told: String) -> anyhow::Result<Option<String>> {
    anyhow::ensure!(
        told.is_empty() || told != asked,
        "the server goes round in circles: it gave the same page token twice"
    );
    Ok(Some(told).filter(|token| !token.is_empty()))
}

/// What a call answered, its error in the words of [`RpcError`].
pub(super) fn answer<T>(outcome: Result<tonic::Response<T>, tonic::Status>) -> Result<T, RpcError> {
    Ok(outcome?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_leads_to_itself_is_the_end_of_patience() {
        let next = |asked, told: &str| next_page(asked, told.to_owned());
        assert_eq!(next("", "").unwrap(), None);
        assert_eq!(next("", "c1-1").unwrap().as_deref(), Some("c1-1"));
        assert_eq!(next("c1-1", "c1-2").unwrap().as_deref(), Some("c1-2"));
        assert_eq!(next("c1-2", "").unwrap(), None);
        let error = next("c1-1", "c1-1").unwrap_err().to_string();
        assert!(error.contains("the same page token twice"), "{error}");
    }
}
