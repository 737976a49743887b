//! The addresses that a config names, kept as they were written.

use std::fmt;

/// An absolute URL with a host.
///
/// Invariant: scheme and host are not empty, and no byte needs an escape in a URL or in JSON.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpUrl {
    text: Box<str>,
    /// Where the path begins and ends.
    path: (usize, usize),
}

impl HttpUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What it lacks, or that it is none.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let legal = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
        if !text.chars().all(legal) {
            return Err(UrlError::Malformed);
        }
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::NoScheme)?;
        let mut letters = scheme.chars();
        let begins = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
        if !begins || !letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) {
            return Err(UrlError::NoScheme);
        }
        let rest = rest.strip_prefix("//").ok_or(UrlError::NoHost)?;
        let host_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if host_len == 0 || rest[..host_len].contains('@') {
            return Err(UrlError::NoHost);
        }
        let begin = text.len() - rest.len() + host_len;
        let path_len = text[begin..].find(['?', '#']);
        Ok(Self {
            text: text.into(),
            path: (begin, path_len.map_or(text.len(), |len| begin + len)),
        })
    }

    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme and host: `https://example.org`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.text[..self.path.0]
    }

    /// The path; may be empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.text[self.path.0..self.path.1]
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Why a text is no URL to publish.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UrlError {
    /// A character does not belong into a URL.
    #[error("not a URL")]
    Malformed,
    /// There is no scheme.
    #[error("no scheme")]
    NoScheme,
    /// There is no host, or more than a host.
    #[error("no host")]
    NoHost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, origin, path) in [
            ("https://a.example", "https://a.example", ""),
            ("https://a.example/", "https://a.example", "/"),
            ("http://a:8080/b/c?d#e", "http://a:8080", "/b/c"),
            ("https://a?b", "https://a", ""),
        ] {
            let url = HttpUrl::parse(text).unwrap();
            assert_eq!(
                (url.as_str(), url.origin(), url.path()),
                (text, origin, path)
            );
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for (text, expected) in [
            ("a.example", UrlError::NoScheme),
            ("/path", UrlError::NoScheme),
            ("1a://b", UrlError::NoScheme),
            ("https:a.example", UrlError::NoHost),
            ("https://", UrlError::NoHost),
            ("https:///a", UrlError::NoHost),
            ("https://user@a", UrlError::NoHost),
            ("https://a b", UrlError::Malformed),
            ("https://a/\u{fc}", UrlError::Malformed),
            ("https://a/\"", UrlError::Malformed),
        ] {
            assert_eq!(HttpUrl::parse(text), Err(expected), "{text}");
        }
    }
}
