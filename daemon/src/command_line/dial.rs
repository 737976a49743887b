//! A connection to a program's Unix socket, with errors as Go's gRPC words them.

use std::{error::Error, path::Path};

use tonic::{Status, transport::Channel};

use super::{RpcError, os_error::errno_text};
use crate::unix::{self, ConnectError};

/// How a program's command line names a socket in a connection error.
#[derive(Clone, Copy, Debug)]
pub enum DialTarget {
    /// `unix //PATH`, as for the server's API.
    Url,
    /// `unix PATH`, as for the Workload API.
    Path,
}

/// A channel to the socket at `path`.
///
/// # Errors
/// Unavailable, with a text that names the socket and the reason.
pub async fn dial(path: &Path, target: DialTarget) -> Result<Channel, RpcError> {
    let error = match unix::connect(path).await {
        Ok(channel) => return Ok(channel),
        Err(error) => error,
    };
    let slashes = match target {
        DialTarget::Url => "//",
        DialTarget::Path => "",
    };
    let reason = match &error {
        ConnectError::Dial { source, .. } => format!("connect: {}", errno_text(source)),
        ConnectError::Handshake(source) => innermost(source),
    };
    let text = format!(
        "transport: Error while dialing: dial unix {slashes}{}: {reason}",
        path.display()
    );
    Err(Status::unavailable(format!("connection error: desc = {text:?}")).into())
}

fn innermost(mut error: &(dyn Error + 'static)) -> String {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_socket_reads_as_in_go() {
        let path = Path::new("/nonexistent/api.sock");
        for (target, shown) in [
            (DialTarget::Url, "///nonexistent/api.sock"),
            (DialTarget::Path, "/nonexistent/api.sock"),
        ] {
            let error = dial(path, target).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while \
                     dialing: dial unix {shown}: connect: no such file or directory\""
                )
            );
        }
    }
}
