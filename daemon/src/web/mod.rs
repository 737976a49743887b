//! A small web server for public documents: HTTP/1.1 in the clear, under TLS or over a Unix socket.
//!
//! Whoever calls is a stranger: heads, handshakes and connections are bounded in time and number, and no
//! request body is ever read.

mod certificate_files;
mod handshake;
mod listener;
mod text;

pub use self::{
    certificate_files::{
        CertificateFiles, CertificateFilesError, server_config, server_config_with,
    },
    handshake::{Handshake, Handshakes, Hello},
    listener::{BindError, Documents, Listener, Origin},
    text::{Answer, empty, plain_text},
};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use self::listener::told;

#[cfg(test)]
mod tests;
