//! A certificate that fits its key and its domain.

use std::{fmt, sync::Arc, time::Duration};

use identity::{
    clock::UnixTime,
    secret::PrivateKey,
    x509::{CertificateInfo, X509Error},
};
use rustls::{crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// A certificate with its key and those that lead to its root.
///
/// Invariant: the first of the chain names the domain and no other, and is for the key.
#[derive(Clone)]
pub struct Certificate {
    key: PrivateKey,
    certified: Arc<CertifiedKey>,
    not_before: UnixTime,
    not_after: UnixTime,
}

impl Certificate {
    /// The certificate of `domain` that `chain` begins with, and its key.
    ///
    /// # Errors
    /// They do not fit each other.
    pub fn new(
        domain: &str,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKey,
    ) -> Result<Self, CertificateError> {
        if chain.len() > MAX_CHAIN_LEN {
            return Err(CertificateError::TooLong(chain.len()));
        }
        let leaf = chain.first().ok_or(CertificateError::Empty)?;
        let leaf = CertificateInfo::parse(leaf).map_err(CertificateError::Malformed)?;
        if leaf.public_key_der != key.public_key_der() {
            return Err(CertificateError::OtherKey);
        }
        let is_the_domain = |name: &String| name.eq_ignore_ascii_case(domain);
        if leaf.dns_names.is_empty() || !leaf.dns_names.iter().all(is_the_domain) {
            return Err(CertificateError::OtherNames);
        }
        let document = PrivatePkcs8KeyDer::from(key.pkcs8().expose());
        let signing = any_supported_type(&document.into()).map_err(CertificateError::Key)?;
        Ok(Self {
            key,
            certified: Arc::new(CertifiedKey::new(chain, signing)),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        })
    }

    /// The chain, the certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// As TLS shows it.
    #[must_use]
    pub const fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The last second of its validity.
    #[must_use]
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// When it is to be renewed: after two thirds of its life, or up to a thirtieth of it earlier, always the
    /// same for one certificate, so that those that were issued together are not renewed together.
    #[must_use]
    pub fn renew_at(&self) -> UnixTime {
        let life = self.not_after.saturating_duration_since(self.not_before);
        // The end of its signature: as good as random.
        let leaf = self.certified.cert.first();
        let random = leaf.and_then(|leaf| leaf.last()).copied().unwrap_or(0);
        let earlier = life / 30 * u32::from(random) / u32::from(u8::MAX);
        let two_thirds = Duration::from_secs(life.as_secs() / 3 * 2);
        self.not_before
            .saturating_add(two_thirds.saturating_sub(earlier))
    }
}

/// Without its key.
impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Why a certificate is not kept or shown.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is none.
    #[error("no certificate")]
    Empty,
    /// So many are no chain that anybody sends.
    #[error("a chain of {0} certificates, more than {MAX_CHAIN_LEN}")]
    TooLong(usize),
    /// It cannot be read.
    #[error("unreadable certificate")]
    Malformed(#[source] X509Error),
    /// It is for another key than the one that was sent in.
    #[error("the certificate is for another key")]
    OtherKey,
    /// It is not for the domain, or not for it alone.
    #[error("the certificate is for other names")]
    OtherNames,
    /// TLS cannot sign with the key.
    #[error("the key cannot be used")]
    Key(#[source] rustls::Error),
}

const MAX_CHAIN_LEN: usize = 10;

#[cfg(test)]
mod tests {
    use identity::secret::KeyType;

    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::generate(KeyType::EcP256).unwrap()
    }

    fn signed(names: &[&str], key: &PrivateKey) -> CertificateDer<'static> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = rcgen::CertificateParams::new(names).unwrap();
        params.self_signed(key).unwrap().der().clone()
    }

    #[test]
    fn only_what_fits_key_and_domain_is_a_certificate() {
        let mine = key();
        let good = signed(&["a.test"], &mine);
        let made = Certificate::new("a.test", vec![good.clone()], mine.clone()).unwrap();
        assert_eq!(made.chain(), std::slice::from_ref(&good));
        assert!(!format!("{made:?}").contains("key"));
        let refused = |chain, key: &PrivateKey| {
            Certificate::new("a.test", chain, key.clone())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(refused(vec![], &mine), "no certificate");
        assert_eq!(
            refused(vec![good.clone(); 11], &mine),
            "a chain of 11 certificates, more than 10"
        );
        assert_eq!(
            refused(vec![CertificateDer::from(vec![1])], &mine),
            "unreadable certificate"
        );
        assert_eq!(
            refused(vec![good], &key()),
            "the certificate is for another key"
        );
        for names in [&[][..], &["b.test"], &["a.test", "b.test"], &["*.test"]] {
            assert_eq!(
                refused(vec![signed(names, &mine)], &mine),
                "the certificate is for other names"
            );
        }
    }

    #[test]
    fn renewal_comes_after_two_thirds_of_a_life() {
        let mine = key();
        let leaf = signed(&["a.test"], &mine);
        let made = Certificate {
            not_before: UnixTime::from_secs(1000),
            not_after: UnixTime::from_secs(1000 + 90 * 86_400),
            ..Certificate::new("a.test", vec![leaf], mine).unwrap()
        };
        let after_days = made.renew_at().as_secs().saturating_sub(1000) / 86_400;
        assert!((57..=60).contains(&after_days), "{after_days}");
        assert_eq!(made.renew_at(), made.renew_at());
        let backwards = Certificate {
            not_after: UnixTime::from_secs(0),
            ..made
        };
        assert_eq!(backwards.renew_at().as_secs(), 1000);
    }
}
