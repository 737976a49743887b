//! What a local program is told that is asked for the bundle over its socket: why, and for whom.

use std::fmt::Write as _;

use identity::clock::UnixTime;
use identity::trust_domain::TrustDomain;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::ServerAddress;

/// Why a bundle is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Occasion {
    /// Whether the agent had a bundle that no server is covered by any more.
    pub is_rebootstrap: bool,
    /// The how manieth time it is, from 1.
    pub attempt: i64,
    /// When the first time was.
    pub since: UnixTime,
}

impl Occasion {
    /// `url` with this occasion in its query, under SPIRE's names.
    pub(super) fn annotate(
        &self,
        url: &str,
        server: &ServerAddress,
        trust_domain: &TrustDomain,
    ) -> String {
        let mode = match self.is_rebootstrap {
            true => "rebootstrap",
            false => "bootstrap",
        };
        let parameters = [
            ("spire-attest-mode", mode),
            ("spire-connection-attempts", &self.attempt.to_string()),
            ("spire-attest-start-time", &rfc3339(self.since)),
            ("spire-server-address", &server.host),
            ("spire-server-port", &server.port.to_string()),
            ("spiffe-trust-domain", trust_domain.as_str()),
        ];
        let mut annotated = url.to_owned();
        for (name, value) in parameters {
            annotated.push(match annotated.contains('?') {
                true => '&',
                false => '?',
            });
            annotated.push_str(name);
            annotated.push('=');
            escape(value, &mut annotated);
        }
        annotated
    }
}

/// `time` as Go writes it.
pub(crate) fn rfc3339(time: UnixTime) -> String {
    let time = OffsetDateTime::from_unix_timestamp(time.as_secs());
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned())
}

/// Writes a value of a query (RFC 3986 §2.1).
fn escape(value: &str, into: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte));
            }
            other => write!(into, "%{other:02X}").expect("invariant: a string takes everything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occasion_is_told_under_spires_names() {
        let occasion = Occasion {
            is_rebootstrap: true,
            attempt: 3,
            since: UnixTime::from_secs(1_700_000_000),
        };
        let server = ServerAddress {
            host: "::1".to_owned(),
            port: 8081,
        };
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let told = "spire-attest-mode=rebootstrap&spire-connection-attempts=3&spire-attest-start-time=2023-11-14T22%3A13%3A20Z&spire-server-address=%3A%3A1&spire-server-port=8081&spiffe-trust-domain=example.org";
        for (url, expected) in [
            ("http://h/b", format!("http://h/b?{told}")),
            ("http://h/b?a=1", format!("http://h/b?a=1&{told}")),
        ] {
            assert_eq!(occasion.annotate(url, &server, &trust_domain), expected);
        }
    }
}
