//! The look at what an upstream signed, before anything of it is stored: that it is what was asked
//! for, and that what it signs will be believed by those who believe the upstream's roots.

use std::sync::Arc;

use identity::{
    bundle::{Bundle, MAX_AUTHORITIES, X509Authority},
    clock::UnixTime,
    hex,
    secret::{KeyError, PrivateKey},
    spiffe_id::SpiffeId,
    tls::{PeerError, TlsError, TlsMaterial, verify_svid_chain},
    trust_domain::TrustDomain,
    x509::{
        CertificateInfo, PathError, UntrustedChain, X509Error, subject_key_id, verified_issuers,
    },
};
use rustls_pki_types::CertificateDer;

use crate::{
    ca::{
        name::DistinguishedName,
        policy::THROWAWAY_TTL,
        signer::{LeafRequest, SignError, X509Issuer},
        upstream_key::throwaway_key,
    },
    upstream::Minted,
};

/// An intermediate that can be used.
#[derive(Debug)]
pub(super) struct Checked {
    /// Lower-case hex of its subject key id.
    pub(super) id: Box<str>,
    /// Lower-case hex of its issuer's.
    pub(super) issuer_id: Box<str>,
    /// Its certificate.
    pub(super) certificate: CertificateDer<'static>,
    /// What stands between it and a root, nearest first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The upstream's roots.
    pub(super) roots: Vec<X509Authority>,
    /// When it ends, or the first one above it.
    pub(super) not_after: UnixTime,
}

/// Takes what an upstream signed for `key`, if it can be used.
pub(super) fn check(
    minted: Minted,
    key: &PrivateKey,
    trust_domain: &TrustDomain,
    now: UnixTime,
) -> Result<Checked, MintedError> {
    let Minted { chain, roots } = minted;
    let (certificate, above) = chain.split_first().ok_or(MintedError::NoChain)?;
    if chain.len() > MAX_UPSTREAM_CHAIN_LEN {
        return Err(MintedError::ChainTooLong);
    }
    match roots.len() {
        0 => return Err(MintedError::NoRoots),
        1..=MAX_AUTHORITIES => {}
        _ => return Err(MintedError::TooManyRoots),
    }
    let info = CertificateInfo::parse(certificate).map_err(MintedError::Certificate)?;
    check_profile(&info, key, trust_domain, now)?;
    let own = subject_key_id(key.public_key_der()).map_err(MintedError::Certificate)?;
    let id: Box<str> = hex::lower(info.subject_key_id.as_deref().unwrap_or(&own)).into();
    let issuer = X509Issuer::new(id.clone(), certificate.clone(), key.clone());
    let issuer = issuer.map_err(MintedError::Sign)?;
    let issuers = verify_signer(&issuer, &chain, &roots, trust_domain, now)?;
    let (issuer_id, not_after) = above_of(&info, &issuers)?;
    Ok(Checked {
        id,
        issuer_id,
        certificate: certificate.clone(),
        chain: above.to_vec(),
        not_after,
        roots,
    })
}

fn check_profile(
    info: &CertificateInfo,
    key: &PrivateKey,
    trust_domain: &TrustDomain,
    now: UnixTime,
) -> Result<(), MintedError> {
    let broken = |rule| Err(MintedError::Profile(rule));
    if info.public_key_der != key.public_key_der() {
        return broken("it certifies another key");
    }
    if !info.is_ca {
        return broken("cA constraint is not set");
    }
    let Some(usage) = info.key_usage.filter(|usage| usage.key_cert_sign) else {
        return broken("keyCertSign key usage must be set");
    };
    if usage.others {
        return broken("only keyCertSign, cRLSign, or digitalSignature key usage can be set");
    }
    match info.uri_sans.as_slice() {
        [] => {}
        [uri] if *uri == trust_domain.id_string() => {}
        _ => return broken("its URI SAN is not that of the trust domain"),
    }
    if !info.is_valid_at(now) {
        return broken("it is not valid now");
    }
    Ok(())
}

/// Makes sure that an SVID signed by `issuer`, of whose chain the first is its own certificate, would
/// be believed by those who have `roots`; returns every certificate above it on a path to one of them.
pub(super) fn verify_signer(
    issuer: &X509Issuer,
    chain: &[CertificateDer<'static>],
    roots: &[X509Authority],
    trust_domain: &TrustDomain,
    now: UnixTime,
) -> Result<Vec<CertificateDer<'static>>, MintedError> {
    let leaf = throwaway_leaf(issuer, trust_domain, now)?;
    let bundle = Bundle {
        x509_authorities: roots.to_vec(),
        ..Bundle::empty(trust_domain.clone())
    };
    let material = TlsMaterial::new(None, [Arc::new(bundle)]).map_err(MintedError::Material)?;
    let with_leaf: Vec<_> = std::iter::once(&leaf).chain(chain).cloned().collect();
    verify_svid_chain(&with_leaf, &material, now).map_err(MintedError::Unbelieved)?;
    // Others look at the roots more closely: a root is the certificate of an authority, too.
    let untrusted = UntrustedChain {
        leaf: &leaf,
        intermediates: chain,
    };
    let roots: Vec<_> = roots.iter().map(|root| root.certificate.clone()).collect();
    verified_issuers(untrusted, &roots, now).map_err(MintedError::Path)
}

fn throwaway_leaf(
    issuer: &X509Issuer,
    trust_domain: &TrustDomain,
    now: UnixTime,
) -> Result<CertificateDer<'static>, MintedError> {
    let key = throwaway_key().map_err(MintedError::Key)?;
    let spiffe_id = SpiffeId::server(trust_domain);
    let request = LeafRequest {
        spiffe_id: &spiffe_id,
        public_key_der: key.public_key_der(),
        dns_names: &[],
        subject: &DistinguishedName::svid_default(),
        ttl: THROWAWAY_TTL,
    };
    let mut signed = issuer.sign_leaf(&request, now).map_err(MintedError::Sign)?;
    Ok(signed.chain.swap_remove(0))
}

/// The key id of the next certificate above, and when the first of all those ends that stand on a
/// path to a root.
fn above_of(
    info: &CertificateInfo,
    issuers: &[CertificateDer<'static>],
) -> Result<(Box<str>, UnixTime), MintedError> {
    let read = issuers.iter().map(|one| CertificateInfo::parse(one));
    let read: Vec<_> = read
        .collect::<Result<_, _>>()
        .map_err(MintedError::Certificate)?;
    let ends = read.iter().map(|issuer| issuer.not_after);
    let not_after = ends.fold(info.not_after, UnixTime::min);
    let parent = read.iter().find(|one| one.subject_der == info.issuer_der);
    let key_id = info.authority_key_id.clone();
    let key_id = key_id.or_else(|| parent.and_then(|parent| parent.subject_key_id.clone()));
    let key_id = hex::lower(key_id.as_deref().unwrap_or_default());
    Ok((key_id.into(), not_after))
}

/// Whether what an upstream signed for `key` can be used.
#[cfg(feature = "fuzzing")]
pub fn is_usable(minted: Minted, key: &PrivateKey, own: &TrustDomain, now: UnixTime) -> bool {
    check(minted, key, own, now).is_ok()
}

/// With a leaf before them, verifiers take this many (`MAX_CHAIN_LEN` is theirs).
const MAX_UPSTREAM_CHAIN_LEN: usize = 12;

/// Why what an upstream signed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MintedError {
    /// There is no certificate.
    #[error("X.509 CA chain is missing")]
    NoChain,
    /// There are too many.
    #[error("X.509 CA chain has more than {MAX_UPSTREAM_CHAIN_LEN} certificates")]
    ChainTooLong,
    /// There is no root.
    #[error("upstream X.509 roots are missing")]
    NoRoots,
    /// There are too many.
    #[error("more than {MAX_AUTHORITIES} upstream X.509 roots")]
    TooManyRoots,
    /// A certificate cannot be read.
    #[error("malformed certificate")]
    Certificate(#[source] X509Error),
    /// The certificate is not what an authority's must be.
    #[error("invalid X509 CA: {0}")]
    Profile(&'static str),
    /// No key for the trial could be made.
    #[error("trial key could not be made")]
    Key(#[source] KeyError),
    /// It cannot sign.
    #[error("X509 CA cannot sign")]
    Sign(#[source] SignError),
    /// The roots cannot be used.
    #[error("upstream X.509 roots cannot be used")]
    Material(#[source] TlsError),
    /// Nobody would believe what it signs.
    #[error("X509 CA produced an invalid X509-SVID chain")]
    Unbelieved(#[source] PeerError),
    /// No path leads to a root.
    #[error("X509 CA is below no upstream X.509 root")]
    Path(#[source] PathError),
}
