//! Ports that must be known before anybody listens on them.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port of the loopback that nobody listens on, another one each time.
///
/// It is below those that Linux gives to outgoing connections (32768 and above, unless it is set up otherwise): the
/// many connections of other tests would take one of them before it is listened on.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Other programs of the same tests begin elsewhere.
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(taken) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {COUNT} from {FIRST} on is free");
}

const FIRST: u16 = 16_000;
const COUNT: u16 = 16_000;
