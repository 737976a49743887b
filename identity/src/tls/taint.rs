//! Which SVIDs depend on authorities that are tainted, and so are to be replaced.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use crate::bundle::{Bundle, X509Authority};
use crate::hex;
use crate::tls::{TlsMaterial, verify_svid_chain};
use crate::x509::CertificateInfo;

/// The tainted X.509 authorities of one bundle.
#[derive(Debug, Default)]
pub struct TaintedAuthorities {
    key_ids: Vec<Vec<u8>>,
    /// What a chain that names no issuers is verified against.
    material: Option<TlsMaterial>,
}

impl TaintedAuthorities {
    /// Those of `bundle`.
    pub fn of(bundle: &Bundle) -> Self {
        let tainted: Vec<X509Authority> = bundle
            .x509_authorities
            .iter()
            .filter(|authority| authority.tainted)
            .cloned()
            .collect();
        if tainted.is_empty() {
            return Self::default();
        }
        let key_ids = tainted.iter().filter_map(X509Authority::subject_key_id);
        let key_ids = key_ids.collect();
        let believed = Bundle {
            x509_authorities: tainted,
            ..Bundle::empty(bundle.trust_domain.clone())
        };
        Self {
            key_ids,
            // Nobody's SVID verifies by an authority that cannot be read.
            material: TlsMaterial::new(None, [Arc::new(believed)]).ok(),
        }
    }

    /// Whether none is tainted.
    pub fn is_empty(&self) -> bool {
        self.material.is_none()
    }

    /// The subject key ids, in lower-case hex as operators name authorities.
    pub fn ids(&self) -> impl Iterator<Item = String> {
        self.key_ids.iter().map(|key_id| hex::lower(key_id))
    }

    /// Whether one of them stands behind what `issuers` were noted of.
    pub fn stand_behind(&self, issuers: &Issuers) -> bool {
        let named = issuers.key_ids.iter().any(|id| self.key_ids.contains(id));
        named || self.verify(issuers.unnamed.as_deref())
    }

    fn verify(&self, chain: Option<&[CertificateDer<'static>]>) -> bool {
        let (Some(material), Some(chain)) = (&self.material, chain) else {
            return false;
        };
        // By its first second: that it has ended meanwhile does not make its issuer another one.
        let leaf = chain.first().map(|leaf| CertificateInfo::parse(leaf));
        let Some(Ok(leaf)) = leaf else {
            return false;
        };
        verify_svid_chain(chain, material, leaf.not_before).is_ok()
    }
}

/// By whom a chain was signed, noted when there was nothing to compare with yet.
#[derive(Clone, Debug)]
pub struct Issuers {
    /// The key identifiers that its certificates name their issuers by (RFC 5280 §4.2.1.1).
    key_ids: Vec<Vec<u8>>,
    /// The whole chain, if not every certificate does that.
    unnamed: Option<Box<[CertificateDer<'static>]>>,
}

impl Issuers {
    /// Those of a chain, leaf first.
    pub fn of(chain: &[CertificateDer<'static>]) -> Self {
        let key_ids: Vec<_> = chain
            .iter()
            .filter_map(|certificate| CertificateInfo::parse(certificate).ok()?.authority_key_id)
            .collect();
        let is_complete = key_ids.len() == chain.len();
        Self {
            key_ids,
            unnamed: (!is_complete).then(|| chain.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestAuthority;

    fn tainted(authority: &TestAuthority) -> TaintedAuthorities {
        let mut bundle = authority.bundle();
        for root in &mut bundle.x509_authorities {
            root.tainted = true;
        }
        TaintedAuthorities::of(&bundle)
    }

    #[test]
    fn svid_depends_on_the_root_above_its_intermediate_and_on_no_other() {
        let (one, other) = (
            TestAuthority::new("example.org"),
            TestAuthority::new("example.org"),
        );
        let svid = one.x509_svid("/workload");
        let issuers = Issuers::of(svid.chain());
        assert!(issuers.unnamed.is_none());
        assert!(tainted(&one).stand_behind(&issuers));
        assert!(!tainted(&other).stand_behind(&issuers));
        assert!(!TaintedAuthorities::of(&one.bundle()).stand_behind(&issuers));
        assert!(TaintedAuthorities::of(&one.bundle()).is_empty());
    }

    #[test]
    fn chain_that_names_no_issuer_is_verified() {
        let (one, other) = (
            TestAuthority::new("example.org"),
            TestAuthority::new("example.org"),
        );
        let chain = one.x509_svid("/workload").chain().to_vec();
        let unnamed = Issuers {
            key_ids: Vec::new(),
            unnamed: Some(chain.into()),
        };
        assert!(tainted(&one).stand_behind(&unnamed));
        assert!(!tainted(&other).stand_behind(&unnamed));
    }

    #[test]
    fn tainted_authorities_are_named_as_operators_do() {
        let authority = TestAuthority::new("example.org");
        let root = authority.bundle().x509_authorities.remove(0);
        let id = hex::lower(&root.subject_key_id().unwrap());
        assert_eq!(id.len(), 40);
        assert_eq!(tainted(&authority).ids().collect::<Vec<_>>(), [id]);
    }
}
