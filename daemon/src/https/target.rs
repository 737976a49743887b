//! Where a download goes.

use http::Uri;
use rustls_pki_types::ServerName;

use super::GetCause;

/// A URL taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    /// As the `Host` header names it.
    authority: String,
    /// Without the brackets of an IPv6 address.
    host: String,
    server_name: ServerName<'static>,
    port: u16,
    path_and_query: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, GetCause> {
        let uri: Uri = url
            .parse()
            .map_err(|_malformed| GetCause::Url("malformed"))?;
        if uri.scheme_str() != Some("https") {
            return Err(GetCause::Url("the scheme is not https"));
        }
        let authority = uri.authority().ok_or(GetCause::Url("no host"))?;
        if authority.as_str().contains('@') {
            return Err(GetCause::Url("user information in it"));
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => 443,
            _ => authority
                .port_u16()
                .ok_or(GetCause::Url("the port is no number"))?,
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let server_name = ServerName::try_from(host.clone());
        let server_name =
            server_name.map_err(|_unfit| GetCause::Url("the host is no name and no address"))?;
        let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            authority: authority.as_str().to_owned(),
            server_name,
            host,
            port,
            path_and_query: match path_and_query.starts_with('/') {
                true => path_and_query.to_owned(),
                false => format!("/{path_and_query}"),
            },
        })
    }

    /// Where a redirection from here leads: to a URL, or to a path of the same host.
    pub(super) fn join(&self, location: &str) -> Result<Self, GetCause> {
        if location.starts_with("//") {
            return Self::parse(&format!("https:{location}"));
        }
        if location.starts_with('/') {
            return Self::parse(&format!("https://{}{location}", self.authority));
        }
        Self::parse(location)
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }

    pub(super) fn path_and_query(&self) -> &str {
        &self.path_and_query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(target: &Target) -> (&str, &str, u16, &str) {
        let Target {
            authority, host, ..
        } = target;
        (authority, host, target.port, &target.path_and_query)
    }

    #[test]
    fn urls_are_taken_apart() {
        let check = |url: &str, expected| {
            assert_eq!(parts(&Target::parse(url).unwrap()), expected, "{url}");
        };
        check("https://a.test", ("a.test", "a.test", 443, "/"));
        check(
            "HTTPS://a.test:8443/b?c",
            ("a.test:8443", "a.test", 8443, "/b?c"),
        );
        check("https://a.test?c#d", ("a.test", "a.test", 443, "/?c"));
        check("https://[::1]:1/", ("[::1]:1", "::1", 1, "/"));
        check("https://127.0.0.1/", ("127.0.0.1", "127.0.0.1", 443, "/"));
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for url in [
            "",
            "/a",
            "a.test",
            "http://a.test/",
            "https://",
            "https:///a",
            "https://u:p@a.test/",
            "https://u:p@a.test:443/",
            "https://a b/",
            "https://a.test:x/",
            "ftp://a.test/",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn redirections_lead_to_urls_and_paths() {
        let from = Target::parse("https://a.test:1/b/c").unwrap();
        let check = |location: &str, expected| {
            assert_eq!(parts(&from.join(location).unwrap()), expected, "{location}");
        };
        check("/d", ("a.test:1", "a.test", 1, "/d"));
        check("//b.test/d", ("b.test", "b.test", 443, "/d"));
        check("https://b.test:2/", ("b.test:2", "b.test", 2, "/"));
        for location in ["http://a.test:1/", "d", "", "javascript:x"] {
            assert!(from.join(location).is_err(), "{location}");
        }
    }
}
