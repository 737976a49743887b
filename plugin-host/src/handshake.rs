//! The line with which a plugin says where it listens: `1|1|unix|/tmp/plugin123|grpc|…`.
//!
//! In order: the version of the protocol's core, the version of the interface, network, address, protocol,
//! and what is of no use here: a certificate, since neither side has TLS on a socket of the same user.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The longest line that is read.
pub(crate) const MAX_LINE_LEN_BYTES: usize = 16 << 10;

/// How much of a line is shown in an error.
const MAX_SHOWN_CHARS: usize = 200;

/// Where a plugin listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// On a port of this host.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

/// Reads a plugin's first line.
///
/// # Errors
/// It is not such a line, or says something that cannot be used.
pub fn parse(line: &str) -> Result<Address, HandshakeError> {
    let line = line.trim();
    let parts: Vec<_> = line.split('|').collect();
    let [core, version, network, address, rest @ ..] = parts.as_slice() else {
        return Err(HandshakeError::Unrecognized(shown(line)));
    };
    if *core != "1" {
        return Err(HandshakeError::Core(shown(core)));
    }
    if *version != "1" {
        return Err(HandshakeError::Version(shown(version)));
    }
    // Without a fifth part it is the protocol of old: Go's net/rpc.
    let protocol = rest.first().copied().unwrap_or("netrpc");
    if protocol != "grpc" {
        return Err(HandshakeError::Protocol(shown(protocol)));
    }
    match *network {
        "unix" if address.starts_with('/') && !address.contains('\0') => {
            Ok(Address::Unix(address.into()))
        }
        "tcp" => match address.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Address::Tcp(address)),
            _ => Err(HandshakeError::Address(shown(address))),
        },
        "unix" => Err(HandshakeError::Address(shown(address))),
        network => Err(HandshakeError::Network(shown(network))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

/// Why a plugin's first line cannot be used: the program is none, or one of other times.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandshakeError {
    /// It is something else, such as the output of a program that is no plugin.
    #[error("unrecognized remote plugin message: {0:?}")]
    Unrecognized(String),
    /// The plugin was built for another core.
    #[error("incompatible core API version {0:?} of the plugin, expected 1: it has to be rebuilt")]
    Core(String),
    /// The plugin was built for another interface.
    #[error("incompatible API version {0:?} of the plugin, expected 1")]
    Version(String),
    /// The plugin speaks something other than gRPC.
    #[error("unsupported plugin protocol {0:?}, expected grpc")]
    Protocol(String),
    /// The plugin listens on neither a Unix socket nor TCP.
    #[error("unknown address type {0:?}, expected unix or tcp")]
    Network(String),
    /// The plugin listens nowhere, or where others than this host could answer in its place.
    #[error("unusable address {0:?}, expected an absolute path or a port of this host")]
    Address(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_a_plugin_names_its_socket() {
        for line in [
            "1|1|unix|/tmp/p|grpc",
            "1|1|unix|/tmp/p|grpc|\n",
            "1|1|unix|/tmp/p|grpc|MII|true",
        ] {
            assert_eq!(parse(line), Ok(Address::Unix("/tmp/p".into())), "{line}");
        }
        let tcp = "127.0.0.1:1234".parse().unwrap();
        assert_eq!(parse("1|1|tcp|127.0.0.1:1234|grpc"), Ok(Address::Tcp(tcp)));
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let refused = |line: &str| parse(line).unwrap_err().to_string();
        assert_eq!(
            refused("usage: x"),
            "unrecognized remote plugin message: \"usage: x\""
        );
        assert!(refused("2|1|unix|/p|grpc").starts_with("incompatible core API version \"2\""));
        assert!(refused("1|7|unix|/p|grpc").starts_with("incompatible API version \"7\""));
        assert!(refused("1|1|unix|/p").starts_with("unsupported plugin protocol \"netrpc\""));
        assert!(refused("1|1|udp|/p|grpc").starts_with("unknown address type \"udp\""));
        for address in [
            "unix|relative",
            "unix|",
            "tcp|192.0.2.1:1",
            "tcp|localhost",
            "tcp|0.0.0.0:1",
        ] {
            let error = refused(&format!("1|1|{address}|grpc"));
            assert!(error.starts_with("unusable address"), "{address}: {error}");
        }
        assert!(refused(&"x".repeat(1 << 20)).len() < 300);
    }
}
