//! Ports that must be known before anybody listens on them.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port of the loopback that nobody listens on, another one each time.
///
/// It is below those that Linux gives to outgoing connections (32768 and above, unless it is set up otherwise): one of
/// these might be taken by anybody's connection before it is listened on.
///
/// # Errors
/// There is none.
pub fn free_port() -> io::Result<u16> {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Other processes begin elsewhere, and not at the next one.
    let start = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let offset = start.wrapping_add(u32::from(taken)) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or(0);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            bound => return bound.map(|_listener| port),
        }
    }
    let last = FIRST + COUNT - 1;
    let text = format!("no port from {FIRST} to {last} of the loopback is free");
    Err(io::Error::new(ErrorKind::AddrInUse, text))
}

const FIRST: u16 = 16_000;
const COUNT: u16 = 16_000;

/// How far apart processes with neighbouring ids begin. It shares no factor with [`COUNT`], so that all of the ports are
/// begun at before one is again.
const STRIDE: u32 = 251;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_port_is_another_one_that_nobody_listens_on() {
        let mut ports = BTreeSet::new();
        let mut listening = Vec::new();
        for _ in 0..100 {
            let port = free_port().unwrap();
            assert!((FIRST..FIRST + COUNT).contains(&port), "{port}");
            assert!(ports.insert(port), "{port} again");
            listening.push(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        }
    }
}
