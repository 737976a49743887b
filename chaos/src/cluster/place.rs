//! Where members listen: ports of the loopback, or a network namespace each.

use std::{ffi::OsString, io, net::SocketAddr};

use daemon::port::free_port;

use crate::fault::network::Network;

/// Where one member listens and how a program gets there.
#[derive(Clone, Debug)]
pub struct Place {
    /// For agents and administrators.
    pub api: SocketAddr,
    /// For other members.
    pub peer: SocketAddr,
    /// What stands before a command so that it runs there.
    pub prefix: Vec<OsString>,
}

impl Place {
    /// Two free ports of the loopback.
    ///
    /// # Errors
    /// There is no free port.
    pub fn on_loopback() -> io::Result<Self> {
        let at_free_port = || free_port().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        Ok(Self {
            api: at_free_port()?,
            peer: at_free_port()?,
            prefix: Vec::new(),
        })
    }

    /// The usual ports in the namespace of host `number` of `network`.
    #[must_use]
    pub fn in_network(network: &Network, number: usize) -> Self {
        let host = network.host(number);
        Self {
            api: SocketAddr::new(host.address, API_PORT),
            peer: SocketAddr::new(host.address, PEER_PORT),
            prefix: host.prefix(),
        }
    }
}

const API_PORT: u16 = 8081;
const PEER_PORT: u16 = 8083;
