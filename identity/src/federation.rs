//! Federation relationships: where the bundle of another trust domain is found, and how its
//! endpoint proves itself (SPIFFE Federation §4).

use std::fmt;

use crate::spiffe_id::SpiffeId;
use crate::trust_domain::TrustDomain;

/// What this trust domain knows of where another one publishes its bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FederationRelationship {
    /// The other trust domain.
    pub trust_domain: TrustDomain,
    /// Where its bundle is.
    pub endpoint: BundleEndpoint,
}

/// An address of a bundle, and how to believe what answers there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BundleEndpoint {
    /// The address.
    pub url: BundleEndpointUrl,
    /// How the endpoint proves itself.
    pub profile: EndpointProfile,
}

/// How a bundle endpoint proves itself (SPIFFE Federation §5.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EndpointProfile {
    /// By a certificate of the public web for the host of the URL.
    HttpsWeb,
    /// By an X.509-SVID.
    HttpsSpiffe {
        /// The id in it; of the other trust domain, or of a third one that publishes for it.
        endpoint_spiffe_id: SpiffeId,
    },
}

impl EndpointProfile {
    /// The name that configs, command lines and logs know.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::HttpsWeb => "https_web",
            Self::HttpsSpiffe { .. } => "https_spiffe",
        }
    }
}

/// The address of a bundle endpoint, as it was given.
///
/// Invariant: an absolute URL of the scheme `https` with a host and no user information, at most
/// [`BundleEndpointUrl::MAX_LEN_BYTES`] bytes, none of which needs an escape.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BundleEndpointUrl(Box<str>);

impl BundleEndpointUrl {
    /// The longest URL that is accepted.
    pub const MAX_LEN_BYTES: usize = 2048;

    /// Reads a URL.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn parse(text: &str) -> Result<Self, BundleEndpointUrlError> {
        if text.len() > Self::MAX_LEN_BYTES {
            return Err(BundleEndpointUrlError::TooLong);
        }
        if text.starts_with(':') {
            return Err(BundleEndpointUrlError::NoScheme(text.into()));
        }
        let legal = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
        if !text.chars().all(legal) {
            return Err(BundleEndpointUrlError::Characters(text.into()));
        }
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(BundleEndpointUrlError::Scheme);
        }
        let rest = rest
            .strip_prefix("//")
            .ok_or(BundleEndpointUrlError::NoHost)?;
        let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (user, host) = match rest[..authority_len].rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, &rest[..authority_len]),
        };
        if host.is_empty() {
            return Err(BundleEndpointUrlError::NoHost);
        }
        if user.is_some() {
            return Err(BundleEndpointUrlError::UserInfo);
        }
        if !is_host_and_port(host) {
            return Err(BundleEndpointUrlError::Host(host.into()));
        }
        Ok(Self(text.into()))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BundleEndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not the address of a bundle endpoint. The texts are SPIRE's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BundleEndpointUrlError {
    /// It is too long.
    #[error(
        "bundle endpoint URL is longer than {} bytes",
        BundleEndpointUrl::MAX_LEN_BYTES
    )]
    TooLong,
    /// It begins where a scheme should have ended.
    #[error("failed to parse bundle endpoint URL: parse {0:?}: missing protocol scheme")]
    NoScheme(Box<str>),
    /// A character does not belong into a URL.
    #[error("failed to parse bundle endpoint URL: parse {0:?}: invalid character in URL")]
    Characters(Box<str>),
    /// The host is none, or the port is no number.
    #[error("failed to parse bundle endpoint URL: invalid host or port {0:?}")]
    Host(Box<str>),
    /// The scheme is another one.
    #[error("bundle endpoint URL must use the https scheme")]
    Scheme,
    /// There is no host.
    #[error("bundle endpoint URL must specify the host")]
    NoHost,
    /// There is a user name in it.
    #[error("bundle endpoint URL must not contain user info")]
    UserInfo,
}

/// A name or an address, an IPv6 one in brackets, with a port or without.
fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| {
        !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let is_name = |host: &str| {
        host.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let is_host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && is_name(host),
    };
    is_host && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_endpoints_are_kept_as_they_are() {
        for text in [
            "https://partner.example",
            "https://partner.example:8443/bundle?x=1",
            "HTTPS://Partner_1.example/",
            "https://10.0.0.1:1/",
            "https://[::1]:8443/",
            "https://[2001:db8::1]",
        ] {
            assert_eq!(BundleEndpointUrl::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_rule() {
        use BundleEndpointUrlError as E;
        let check = |text: &str, expected: E| {
            assert_eq!(BundleEndpointUrl::parse(text), Err(expected), "{text}");
        };
        check("", E::Scheme);
        check("partner.example", E::Scheme);
        check("http://plain/", E::Scheme);
        check("://", E::NoScheme("://".into()));
        check("https:partner.example", E::NoHost);
        check("https://", E::NoHost);
        check("https:///path", E::NoHost);
        check("https://user:pw@", E::NoHost);
        check("https://user:pw@host/", E::UserInfo);
        check("https://@host/", E::UserInfo);
        check("https://a b/", E::Characters("https://a b/".into()));
        check("https://a/\u{fc}", E::Characters("https://a/\u{fc}".into()));
        for host in [
            "a:", "a:x", "a:0", "a:65536", "a:+1", "[::1", "[x]", "::1", "a%41",
        ] {
            check(&format!("https://{host}/"), E::Host(host.into()));
        }
        let long = format!("https://a/{}", "b".repeat(BundleEndpointUrl::MAX_LEN_BYTES));
        check(&long, E::TooLong);
    }
}
