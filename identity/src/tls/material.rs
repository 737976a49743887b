//! What a handshake needs: our SVID and the bundles, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivatePkcs8KeyDer, TrustAnchor};

use crate::bundle::{Bundle, X509Authority};
use crate::clock::UnixTime;
use crate::tls::TlsError;
use crate::trust_domain::TrustDomain;
use crate::x509::CertificateInfo;
use crate::x509_svid::X509Svid;

/// An SVID to show, if there is one, and the bundles to believe.
#[derive(Debug)]
pub struct TlsMaterial {
    svid: Option<X509Svid>,
    certified: Option<Arc<CertifiedKey>>,
    bundles: BTreeMap<TrustDomain, (Arc<Bundle>, Vec<Anchor>)>,
}

/// A root as the path builder wants it, with the validity that it leaves out.
#[derive(Debug)]
struct Anchor {
    not_before: UnixTime,
    not_after: UnixTime,
    anchor: TrustAnchor<'static>,
}

impl TlsMaterial {
    /// Prepares an SVID and bundles for handshakes; the last bundle of a trust domain counts. A
    /// root that cannot be used, such as one that is no X.509 version 3 certificate, verifies
    /// nothing.
    ///
    /// # Errors
    /// The key cannot be used for TLS.
    pub fn new(
        svid: Option<X509Svid>,
        bundles: impl IntoIterator<Item = Arc<Bundle>>,
    ) -> Result<Self, TlsError> {
        let certified = svid.as_ref().map(certify).transpose()?;
        let bundles = bundles
            .into_iter()
            .map(|bundle| {
                let anchors = bundle.x509_authorities.iter().filter_map(anchor).collect();
                (bundle.trust_domain.clone(), (bundle, anchors))
            })
            .collect();
        Ok(Self {
            svid,
            certified,
            bundles,
        })
    }

    /// The SVID that is shown to peers.
    pub fn svid(&self) -> Option<&X509Svid> {
        self.svid.as_ref()
    }

    /// The bundle of a trust domain.
    pub fn bundle(&self, trust_domain: &TrustDomain) -> Option<&Arc<Bundle>> {
        self.bundles.get(trust_domain).map(|(bundle, _)| bundle)
    }

    pub(super) fn certified(&self) -> Option<&Arc<CertifiedKey>> {
        self.certified.as_ref()
    }

    /// The roots of a trust domain that are valid at `now`; `None` if there is no bundle. Path
    /// building does not look at the validity of a root, so it is done here.
    pub(super) fn anchors_at(
        &self,
        trust_domain: &TrustDomain,
        now: UnixTime,
    ) -> Option<Vec<TrustAnchor<'_>>> {
        let (_, anchors) = self.bundles.get(trust_domain)?;
        let valid = anchors
            .iter()
            .filter(|anchor| (anchor.not_before..=anchor.not_after).contains(&now))
            .map(|anchor| anchor.anchor.clone());
        Some(valid.collect())
    }
}

/// The current material, shared by the configurations made from it; a clone is the same one.
#[derive(Clone, Debug)]
pub struct SharedTlsMaterial(Arc<ArcSwap<TlsMaterial>>);

impl SharedTlsMaterial {
    /// Shares `material`.
    pub fn new(material: TlsMaterial) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(material)))
    }

    /// The current material.
    pub fn load(&self) -> Arc<TlsMaterial> {
        self.0.load_full()
    }

    /// Replaces the material for all handshakes from now on; connections that stand are not
    /// touched.
    pub fn replace(&self, material: TlsMaterial) {
        self.0.store(Arc::new(material));
    }
}

fn certify(svid: &X509Svid) -> Result<Arc<CertifiedKey>, TlsError> {
    let document = PrivatePkcs8KeyDer::from(svid.key().pkcs8().expose());
    let key =
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&document.into()).map_err(TlsError)?;
    Ok(Arc::new(CertifiedKey::new(svid.chain().to_vec(), key)))
}

fn anchor(authority: &X509Authority) -> Option<Anchor> {
    let info = CertificateInfo::parse(&authority.certificate).ok()?;
    let anchor = webpki::anchor_from_trusted_cert(&authority.certificate).ok()?;
    Some(Anchor {
        not_before: info.not_before,
        not_after: info.not_after,
        anchor: anchor.to_owned(),
    })
}
