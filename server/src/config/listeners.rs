//! The listeners of one server beside each other: two at one port of a host cannot both start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::ensure;

use super::Config;

/// Refuses settings by which two listeners ask for one port, whatever the names of hosts stand for.
///
/// # Errors
/// Names the keys of both.
pub(super) fn ensure_apart(config: &Config) -> anyhow::Result<()> {
    let listeners = of(config);
    for (place, one) in listeners.iter().enumerate() {
        for other in &listeners[place + 1..] {
            ensure!(
                !one.meets(other),
                "{} and {} ask for the same port of this host, which only one listener can have: \
                 give one of them another",
                one.described(),
                other.described(),
            );
        }
    }
    Ok(())
}

fn of(config: &Config) -> Vec<Listener<'_>> {
    let mut listeners = vec![Listener {
        key: "server.bind_port",
        host: Host::read(&config.bind_address),
        port: config.bind_port,
    }];
    if let Some(cluster) = &config.cluster {
        let peers = Listener::at("server.cluster.peer_address", &cluster.peer_address);
        listeners.extend(peers);
    }
    if let Some(endpoint) = &config.federation.bundle_endpoint {
        let bundle = Listener::at("federation.bundle_endpoint.port", &endpoint.address);
        listeners.extend(bundle);
    }
    if let Some(health) = &config.health_checks {
        listeners.push(Listener {
            key: "health_checks.bind_port",
            host: Host::read(&health.bind_address),
            port: health.bind_port,
        });
    }
    listeners
}

struct Listener<'a> {
    /// What an operator changes to move it.
    key: &'static str,
    host: Host<'a>,
    /// The system finds one if it is 0.
    port: u16,
}

impl<'a> Listener<'a> {
    /// Reads `host:port`; `None` if it is something else.
    fn at(key: &'static str, address: &'a str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let (host, port) = (Host::read(host), port.parse().ok()?);
        Some(Self { key, host, port })
    }

    fn meets(&self, other: &Self) -> bool {
        self.port == other.port && self.port != 0 && self.host.meets(&other.host)
    }

    fn described(&self) -> String {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => {
                format!("{} ([{address}]:{})", self.key, self.port)
            }
            Host::Address(IpAddr::V4(address)) => format!("{} ({address}:{})", self.key, self.port),
            Host::Name(name) => format!("{} ({name}:{})", self.key, self.port),
        }
    }
}

enum Host<'a> {
    Address(IpAddr),
    /// Not asked for: the answer may be another when the server runs.
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// Nothing stands for every address.
    fn read(text: &'a str) -> Self {
        let bare = text.trim_matches(['[', ']']);
        match (bare, bare.parse::<IpAddr>()) {
            (_, Ok(address)) => Self::Address(address.to_canonical()),
            ("", Err(_)) => Self::Address(Ipv6Addr::UNSPECIFIED.into()),
            (name, Err(_)) if name.eq_ignore_ascii_case("localhost") => {
                Self::Address(Ipv4Addr::LOCALHOST.into())
            }
            (name, Err(_)) => Self::Name(name),
        }
    }

    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => {
                one == other || takes(one, other) || takes(other, one)
            }
            (Self::Address(address), Self::Name(_)) | (Self::Name(_), Self::Address(address)) => {
                address.is_unspecified()
            }
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
        }
    }
}

/// Whether who listens at `wide` hears what comes to `address`: the wildcard of IPv6 takes IPv4 too.
fn takes(wide: &IpAddr, address: &IpAddr) -> bool {
    wide.is_unspecified() && (wide.is_ipv6() || address.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_take_the_same_connections_meet() {
        for (one, other, expected) in [
            ("0.0.0.0:8081", "127.0.0.1:8081", true),
            ("0.0.0.0:8081", "127.0.0.1:8083", false),
            ("0.0.0.0:0", "127.0.0.1:0", false),
            ("10.0.0.1:8081", "10.0.0.1:8081", true),
            ("10.0.0.1:8081", "10.0.0.2:8081", false),
            ("0.0.0.0:8081", "[fd00::1]:8081", false),
            ("[::]:8081", "[fd00::1]:8081", true),
            ("[::]:8081", "10.0.0.1:8081", true),
            ("[::]:8081", "0.0.0.0:8081", true),
            (":8081", "10.0.0.1:8081", true),
            ("[fd00::1]:8081", "[fd00:0::1]:8081", true),
            ("[::ffff:10.0.0.1]:8081", "10.0.0.1:8081", true),
            ("localhost:8081", "127.0.0.1:8081", true),
            ("localhost:8081", "10.0.0.1:8081", false),
            ("0.0.0.0:8081", "host.test:8081", true),
            ("host.test:8081", "HOST.test:8081", true),
            // Who knows.
            ("10.0.0.1:8081", "host.test:8081", false),
            ("one.test:8081", "two.test:8081", false),
        ] {
            let read = |address| Listener::at("key", address).unwrap();
            for (one, other) in [(one, other), (other, one)] {
                assert_eq!(
                    read(one).meets(&read(other)),
                    expected,
                    "{one} beside {other}"
                );
            }
        }
    }
}
