//! Why a document could not be downloaded, in the words of Go's HTTP client where it has some.

use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use http::StatusCode;

use super::{DIAL_WITHIN, MAX_REDIRECTS};
use crate::{command_line::errno_text, duration::format_go};

/// A download or request that failed; the cause is its source.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {url:?}")]
pub struct GetError {
    verb: &'static str,
    url: Box<str>,
    #[source]
    cause: GetCause,
}

impl GetError {
    pub(super) fn new(verb: &'static str, url: &str, cause: GetCause) -> Self {
        Self {
            verb,
            url: url.into(),
            cause,
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn cause(&self) -> &GetCause {
        &self.cause
    }
}

/// What went wrong on the way to a document.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum GetCause {
    /// The URL, or the one that a redirection names, is not one to follow.
    #[error("unusable URL: {0}")]
    Url(&'static str),
    /// The name of the host could not be looked up.
    #[error("dial tcp: lookup {host}: {}", errno_text(error))]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// The name of the host has no address.
    #[error("dial tcp: lookup {0}: no such host")]
    NoAddress(String),
    /// The host could not be connected to.
    #[error("dial tcp {address}: connect: {}", errno_text(error))]
    Dial {
        /// Its last address.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// The host took no connection in time.
    #[error("dial tcp {address}: no connection within {}", format_go(DIAL_WITHIN))]
    DialTimedOut {
        /// Its last address.
        address: SocketAddr,
    },
    /// Nobody listens on the socket.
    #[error("dial unix {}: connect: {}", path.display(), errno_text(error))]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The host was not believed, or does not speak TLS.
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The host does not speak HTTP, or broke off.
    #[error("no complete answer")]
    Http(#[source] hyper::Error),
    /// There are more redirections than anybody needs.
    #[error("stopped after {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    /// A redirection leads nowhere.
    #[error("{} response missing Location header", .0.as_u16())]
    NoLocation(StatusCode),
    /// The document is too long.
    #[error("the document is longer than {0} bytes")]
    TooLong(usize),
    /// The document did not come in time.
    #[error("no complete answer within {}", format_go(*.0))]
    TimedOut(Duration),
}

impl fmt::Debug for GetCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
