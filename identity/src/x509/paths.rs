//! Paths of a certificate that is no SVID: from a leaf of some other PKI to the authorities that
//! an operator trusts for it.

use std::cell::RefCell;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath,
    anchor_from_trusted_cert,
};

use crate::clock::UnixTime;
use crate::x509::CertificateInfo;
use crate::x509::early_start::{EarlyStarts, OverOriginal};

/// A chain whose paths are looked for.
#[derive(Clone, Copy, Debug)]
pub struct UntrustedChain<'a> {
    /// The certificate in question.
    pub leaf: &'a CertificateDer<'a>,
    /// What may stand between it and an authority, in any order.
    pub intermediates: &'a [CertificateDer<'a>],
}

/// Every certificate above the leaf on any valid path to `authorities`, each once, in the order of
/// the paths.
///
/// The leaf may be meant for any use. Only authorities count that are valid at `now` and say that
/// they are authorities, since an operator may well trust a file that was not looked at for long.
///
/// # Errors
/// There is no such path, or too many to look for.
pub fn verified_issuers(
    chain: UntrustedChain<'_>,
    authorities: &[CertificateDer<'static>],
    now: UnixTime,
) -> Result<Vec<CertificateDer<'static>>, PathError> {
    let usable = usable(authorities, now);
    let anchors: Vec<_> = usable.iter().map(|(_, anchor)| anchor.clone()).collect();
    let mut early = EarlyStarts::default();
    let leaf = early.readable(chain.leaf);
    let intermediates: Vec<_> = chain
        .intermediates
        .iter()
        .map(|intermediate| early.readable(intermediate))
        .collect();
    let algorithms = early.algorithms();
    let algorithms: Vec<_> = algorithms.iter().map(OverOriginal::as_dyn).collect();
    let leaf = EndEntityCert::try_from(&leaf).map_err(PathError)?;
    let found = RefCell::new(Vec::<CertificateDer<'static>>::new());
    let collect = |path: &VerifiedPath<'_>| {
        // Path building looks at the CA flag only.
        if !path
            .intermediate_certificates()
            .all(|one| signs(&one.der()))
        {
            return Err(webpki::Error::UnknownIssuer);
        }
        let mut found = found.borrow_mut();
        let mut add = |certificate: CertificateDer<'static>| {
            if !found.contains(&certificate) {
                found.push(certificate);
            }
        };
        for intermediate in path.intermediate_certificates() {
            add(early.original(&intermediate.der()));
        }
        // Certificates of the same authority are all anchors of the same path.
        for (certificate, anchor) in &usable {
            if anchor == path.anchor() {
                add((*certificate).clone());
            }
        }
        // Refused, so that the search goes on to the next path.
        Err(webpki::Error::UnknownIssuer)
    };
    let verdict = leaf.verify_for_usage(
        &algorithms,
        &anchors,
        &intermediates,
        super::path_time(now),
        AnyUse,
        None,
        Some(&collect),
    );
    let found = found.take();
    match verdict {
        Err(error) if found.is_empty() => Err(PathError(error)),
        // Whatever ended the search, there are the paths that it had found.
        Err(_) | Ok(_) => Ok(found),
    }
}

/// The authorities at which a path may end.
fn usable<'a>(
    authorities: &'a [CertificateDer<'static>],
    now: UnixTime,
) -> Vec<(&'a CertificateDer<'static>, TrustAnchor<'a>)> {
    authorities
        .iter()
        .filter(|authority| is_authority(authority, now))
        .filter_map(|authority| Some((authority, anchor_from_trusted_cert(authority).ok()?)))
        .collect()
}

fn is_authority(certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    let is_valid = |info: CertificateInfo| info.is_ca && info.is_valid_at(now);
    CertificateInfo::parse(certificate).is_ok_and(is_valid) && signs(certificate)
}

/// Whether a key may sign certificates, as far as its own one says (RFC 5280 §4.2.1.3).
fn signs(certificate: &CertificateDer<'_>) -> bool {
    CertificateInfo::parse(certificate)
        .is_ok_and(|info| info.key_usage.is_none_or(|usage| usage.key_cert_sign))
}

/// What a certificate is for does not matter.
struct AnyUse;

impl ExtendedKeyUsageValidator for AnyUse {
    fn validate(&self, _purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// Why there is no path.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PathError(webpki::Error);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, SanType,
    };

    use super::*;
    use crate::secret::{KeyType, PrivateKey};

    const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    struct Authority {
        certificate: CertificateDer<'static>,
        issuer: Issuer<'static, PrivateKey>,
    }

    fn params(name: &str, is_ca: bool) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let date =
            |time: UnixTime| time::OffsetDateTime::from_unix_timestamp(time.as_secs()).unwrap();
        params.not_before = date(NOW.saturating_sub(DAY));
        params.not_after = date(NOW.saturating_add(DAY));
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    }

    fn key() -> PrivateKey {
        PrivateKey::generate(KeyType::EcP256).unwrap()
    }

    fn root(name: &str) -> Authority {
        let (key, params) = (key(), params(name, true));
        Authority {
            certificate: params.self_signed(&key).unwrap().der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    impl Authority {
        /// A certificate for `key` by this authority.
        fn sign(&self, params: &CertificateParams, key: &PrivateKey) -> CertificateDer<'static> {
            params.signed_by(key, &self.issuer).unwrap().der().clone()
        }

        fn below(&self, name: &str) -> Self {
            let (key, params) = (key(), params(name, true));
            Self {
                certificate: self.sign(&params, &key),
                issuer: Issuer::new(params, key),
            }
        }

        /// This authority, signed by another one.
        fn crossed_by(&self, other: &Self, name: &str) -> CertificateDer<'static> {
            other.sign(&params(name, true), self.issuer.key())
        }
    }

    fn issuers(
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'static>],
        authorities: &[&CertificateDer<'static>],
    ) -> Result<Vec<CertificateDer<'static>>, String> {
        let chain = UntrustedChain {
            leaf,
            intermediates,
        };
        let authorities: Vec<_> = authorities.iter().map(|one| (*one).clone()).collect();
        verified_issuers(chain, &authorities, NOW).map_err(|error| error.to_string())
    }

    #[test]
    fn every_certificate_of_every_path_is_told_once() {
        let (one, two) = (root("one"), root("two"));
        let middle = one.below("middle");
        let crossed = middle.crossed_by(&two, "middle");
        let leaf = middle.sign(&params("leaf", false), &key());
        let plain = std::slice::from_ref(&middle.certificate);
        let alone = issuers(&leaf, plain, &[&one.certificate, &two.certificate]);
        assert_eq!(
            alone.unwrap(),
            [middle.certificate.clone(), one.certificate.clone()]
        );
        let both = [middle.certificate.clone(), crossed.clone()];
        let all = issuers(&leaf, &both, &[&one.certificate, &two.certificate]).unwrap();
        assert_eq!(
            all,
            [
                middle.certificate,
                one.certificate,
                crossed,
                two.certificate
            ]
        );
    }

    #[test]
    fn what_a_leaf_is_for_does_not_matter() {
        let one = root("one");
        let mut odd = params("leaf", false);
        odd.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
        odd.subject_alt_names = vec![SanType::URI("x509pop://d/a/b".try_into().unwrap())];
        let leaf = one.sign(&odd, &key());
        let found = issuers(&leaf, &[], &[&one.certificate]).unwrap();
        assert_eq!(found, [one.certificate]);
    }

    #[test]
    fn authorities_whose_keys_may_not_sign_certificates_are_none() {
        let one = root("one");
        let other_use = |name: &str| {
            let mut params = params(name, true);
            params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
            params
        };
        let middle_key = key();
        let middle = one.sign(&other_use("middle"), &middle_key);
        let issuer = Issuer::new(other_use("middle"), middle_key);
        let leaf = params("leaf", false).signed_by(&key(), &issuer).unwrap();
        issuers(leaf.der(), &[middle], &[&one.certificate]).unwrap_err();
        let root_key = key();
        let root = other_use("root").self_signed(&root_key).unwrap();
        let issuer = Issuer::new(other_use("root"), root_key);
        let leaf = params("leaf", false).signed_by(&key(), &issuer).unwrap();
        issuers(leaf.der(), &[], &[root.der()]).unwrap_err();
    }

    #[test]
    fn chains_without_a_valid_path_are_refused() {
        let (one, stranger) = (root("one"), root("one"));
        let leaf = one.sign(&params("leaf", false), &key());
        let refusal = |leaf: &CertificateDer<'_>, authorities: &[&CertificateDer<'static>]| {
            issuers(leaf, &[], authorities).unwrap_err()
        };
        assert_eq!(refusal(&leaf, &[]), "UnknownIssuer");
        // The right name, but another key.
        refusal(&leaf, &[&stranger.certificate]);
        let mut late = params("leaf", false);
        late.not_after = late.not_before;
        let expired = one.sign(&late, &key());
        assert!(refusal(&expired, &[&one.certificate]).starts_with("CertExpired"));
        // An authority that has ended, and one that is none.
        let old_key = key();
        let mut old = params("old", true);
        old.not_after = old.not_before;
        let old_certificate = old.self_signed(&old_key).unwrap().der().clone();
        let issuer = Issuer::new(old, old_key);
        let of_old = params("leaf", false).signed_by(&key(), &issuer).unwrap();
        refusal(of_old.der(), &[&old_certificate]);
        let no_ca_key = key();
        let no_ca = params("no", false);
        let no_ca_certificate = no_ca.self_signed(&no_ca_key).unwrap().der().clone();
        let issuer = Issuer::new(no_ca, no_ca_key);
        let of_no_ca = params("leaf", false).signed_by(&key(), &issuer).unwrap();
        refusal(of_no_ca.der(), &[&no_ca_certificate]);
        // A leaf that signs another.
        let forger_key = key();
        let forger = one.sign(&params("forger", false), &forger_key);
        let issuer = Issuer::new(params("forger", false), forger_key);
        let forged = params("leaf", false).signed_by(&key(), &issuer).unwrap();
        let refused = issuers(forged.der(), &[forger], &[&one.certificate]).unwrap_err();
        assert_eq!(refused, "EndEntityUsedAsCa");
    }
}
