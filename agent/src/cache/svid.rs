//! An X.509-SVID of a workload, ready to be given out.

use std::fmt;

use bytes::Bytes;
use identity::clock::UnixTime;
use identity::secret::SecretBytes;
use identity::spiffe_id::SpiffeId;
use identity::tls::{Issuers, TaintedAuthorities};
use identity::x509_svid::X509Svid;
use rustls_pki_types::CertificateDer;

/// A signed SVID and when it has to be replaced.
pub struct CachedSvid {
    spiffe_id: SpiffeId,
    chain_der: Bytes,
    /// Parts of `chain_der`.
    certificates: Vec<Bytes>,
    key_pkcs8: SecretBytes,
    not_after: UnixTime,
    rotate_at: UnixTime,
    revision: i64,
    issuers: Issuers,
}

impl CachedSvid {
    /// Takes over a signed SVID, which was asked for when its entry had `revision`.
    pub fn new(svid: &X509Svid, rotate_at: UnixTime, revision: i64) -> Self {
        let chain = svid.chain().iter();
        let chain_der: Bytes = chain
            .clone()
            .flat_map(|certificate| certificate.iter().copied())
            .collect();
        let mut rest = chain_der.clone();
        Self {
            spiffe_id: svid.spiffe_id().clone(),
            certificates: chain.map(|one| rest.split_to(one.len())).collect(),
            chain_der,
            key_pkcs8: svid.key().pkcs8().expose().into(),
            not_after: svid.not_after(),
            rotate_at,
            revision,
            issuers: Issuers::of(svid.chain()),
        }
    }

    /// The identity in the leaf.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Leaf first, one DER after the other.
    pub fn chain_der(&self) -> &Bytes {
        &self.chain_der
    }

    /// The certificates, leaf first, each in DER.
    pub fn certificates(&self) -> impl Iterator<Item = CertificateDer<'_>> {
        self.certificates.iter().map(|one| (&**one).into())
    }

    /// The private key, PKCS#8.
    pub fn key_pkcs8(&self) -> &SecretBytes {
        &self.key_pkcs8
    }

    /// The end of the leaf.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// When it should be replaced.
    pub fn rotate_at(&self) -> UnixTime {
        self.rotate_at
    }

    /// The revision of the entry that it was made for.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether one of these authorities stands behind it.
    pub fn depends_on(&self, tainted: &TaintedAuthorities) -> bool {
        tainted.stand_behind(&self.issuers)
    }
}

impl fmt::Debug for CachedSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedSvid")
            .field("spiffe_id", &self.spiffe_id)
            .field("not_after", &self.not_after)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}
