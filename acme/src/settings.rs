//! Whom to ask for certificates, in whose name, and how patiently.

use std::{sync::Arc, time::Duration};

use daemon::https::{NoRoots, client_config_believing, web_client_config};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

/// The directory that is asked unless another is configured, as in SPIRE.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// An ACME server and how to be its customer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    directory_url: Box<str>,
    email: Box<str>,
    terms_accepted: bool,
    /// `None`: those of the machine.
    roots: Option<Vec<CertificateDer<'static>>>,
    patience: Patience,
}

/// How long an ACME server may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// For one answer.
    pub answer: Duration,
    /// For one certificate, from the first question to the chain.
    pub order: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            order: Duration::from_secs(5 * 60),
        }
    }
}

impl Settings {
    /// The ACME server with this directory, [`LETS_ENCRYPT`] if it is empty, and an account under this
    /// address.
    ///
    /// # Errors
    /// The URL or the address cannot be used.
    pub fn new(
        directory_url: &str,
        email: &str,
        terms_accepted: bool,
    ) -> Result<Self, SettingsError> {
        let directory_url = match directory_url {
            "" => LETS_ENCRYPT,
            url => url,
        };
        let uri: Option<http::Uri> = directory_url.parse().ok();
        if uri.and_then(|uri| uri.scheme_str().map(|scheme| scheme == "https")) != Some(true) {
            return Err(SettingsError::Directory(directory_url.into()));
        }
        let is_address = email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
        let is_plain = email
            .chars()
            .all(|c| c.is_ascii_graphic() && c != '?' && c != ',');
        if !is_address || !is_plain {
            return Err(SettingsError::Email(email.into()));
        }
        Ok(Self {
            directory_url: directory_url.into(),
            email: email.into(),
            terms_accepted,
            roots: None,
            patience: Patience::default(),
        })
    }

    /// Itself, with an ACME server that is believed by these roots and not by those of the machine.
    #[must_use]
    pub fn believing(mut self, roots: Vec<CertificateDer<'static>>) -> Self {
        self.roots = Some(roots);
        self
    }

    /// Itself, with another patience.
    #[must_use]
    pub const fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// TLS to the ACME server. It reads files: the machine's roots change, too.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>, NoRoots> {
        let Some(given) = &self.roots else {
            return web_client_config();
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(given.iter().cloned());
        Ok(client_config_believing(roots))
    }

    /// How long the ACME server may take.
    #[must_use]
    pub const fn patience(&self) -> Patience {
        self.patience
    }

    /// The URL of the directory.
    #[must_use]
    pub fn directory_url(&self) -> &str {
        &self.directory_url
    }

    /// The address to which the ACME server writes about certificates.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.email
    }

    /// Whether the terms of service are agreed to.
    #[must_use]
    pub const fn terms_accepted(&self) -> bool {
        self.terms_accepted
    }
}

/// Checks that `name` is one that an ACME server can prove: a host name of the web, in lower case.
///
/// # Errors
/// It is none.
pub fn check_domain(name: &str) -> Result<(), SettingsError> {
    let is_label = |label: &str| {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=MAX_LABEL_LEN).contains(&label.len())
            && label.bytes().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // The last label of a name has a letter; that of an address has not.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = last.bytes().any(|b| b.is_ascii_lowercase());
    match name.len() <= MAX_NAME_LEN && name.split('.').all(is_label) && is_name {
        true => Ok(()),
        false => Err(SettingsError::Domain(
            name.chars().take(MAX_NAME_LEN).collect(),
        )),
    }
}

/// Why settings cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// ACME is spoken over TLS alone (RFC 8555 §6.1).
    #[error("directory_url {0:?} is no https:// URL")]
    Directory(Box<str>),
    /// An account needs somebody to write to.
    #[error("email {0:?} is no e-mail address")]
    Email(Box<str>),
    /// No certificate of the web is for such a name.
    #[error(
        "domain name {0:?} must be the name of a host in lower case, punycode encoded, without a wildcard"
    )]
    Domain(Box<str>),
}

/// RFC 1035 §2.3.4.
const MAX_LABEL_LEN: usize = 63;
const MAX_NAME_LEN: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_lets_encrypts() {
        let settings = Settings::new("", "a@b.test", true).unwrap();
        assert_eq!(settings.directory_url(), LETS_ENCRYPT);
        assert!(settings.terms_accepted());
    }

    #[test]
    fn what_no_acme_server_takes_is_refused_by_name() {
        let refused = |url, email| Settings::new(url, email, true).unwrap_err().to_string();
        for url in [
            "http://a.test/",
            "a.test",
            "ftp://a/",
            "https",
            "https://a b/",
        ] {
            assert_eq!(
                refused(url, "a@b.test"),
                format!("directory_url {url:?} is no https:// URL")
            );
        }
        for email in ["", "a", "@b", "a@", "a@b,c@d", "a @b", "a@b?x", "ü@b"] {
            assert_eq!(
                refused("", email),
                format!("email {email:?} is no e-mail address")
            );
        }
    }

    #[test]
    fn domains_are_names_of_hosts() {
        for name in [
            "localhost",
            "a.test",
            "xn--n38h.test",
            "a-1.b2.test",
            "1.test",
        ] {
            assert_eq!(check_domain(name), Ok(()), "{name}");
        }
        let long = format!("{}.test", "a".repeat(64));
        for name in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A.test",
            "*.a.test",
            "-a.test",
            "a-.test",
            "a_b.test",
            "127.0.0.1",
            "::1",
            "a/b",
            "ü.test",
            &long,
            &"a.".repeat(200),
        ] {
            let refused = check_domain(name).unwrap_err();
            assert!(matches!(refused, SettingsError::Domain(_)), "{name}");
            assert!(refused.to_string().len() < 400);
        }
    }
}
