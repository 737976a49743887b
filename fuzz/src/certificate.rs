//! Certificates: alone, one after the other, as the chain of an SVID, and as the chain of another PKI.

use std::sync::Arc;

use identity::bundle::{Bundle, X509Authority};
use identity::tls::{TlsMaterial, peer_identity, verify_svid_chain};
use identity::x509::{
    CertificateInfo, DistinguishedName, UntrustedChain, split_certificates, subject_key_id,
    verified_issuers,
};
use identity::x509_svid::check_leaf;
use rustls_pki_types::CertificateDer;

use crate::world::{AUTHORITY, NOW, OWN};

/// Certificates in DER, leaf first; the last one is the authority that is trusted.
pub fn run(data: &[u8]) {
    if let Ok(info) = CertificateInfo::parse(data) {
        look_at(&info);
    }
    let Ok(certificates) = split_certificates(data) else {
        return;
    };
    let whole: Vec<u8> = certificates.iter().flat_map(|one| one.to_vec()).collect();
    assert_eq!(whole, data);
    let Some((root, chain)) = certificates.split_last() else {
        return;
    };
    verify(root, chain);
}

fn look_at(info: &CertificateInfo) {
    info.spiffe_id().ok();
    check_leaf(info).ok();
    info.subject_text();
    info.is_valid_at(NOW);
    for name in [&info.subject_der, &info.issuer_der] {
        DistinguishedName::parse(name).ok();
    }
    subject_key_id(&info.public_key_der).ok();
    // Only nought begins with nought.
    assert!(info.serial_bytes.first() != Some(&0) || info.serial == "0");
}

fn verify(root: &CertificateDer<'static>, chain: &[CertificateDer<'static>]) {
    peer_identity(chain).ok();
    if let Some((leaf, intermediates)) = chain.split_first() {
        let chain = UntrustedChain {
            leaf,
            intermediates,
        };
        if let Ok(issuers) = verified_issuers(chain, std::slice::from_ref(root), NOW) {
            assert!(issuers.contains(root));
        }
    }
    let Ok(authority) = X509Authority::new(root.clone()) else {
        return;
    };
    let bundle = Bundle {
        x509_authorities: vec![authority],
        ..Bundle::empty(OWN.clone())
    };
    let Ok(material) = TlsMaterial::new(None, [Arc::new(bundle)]) else {
        return;
    };
    if verify_svid_chain(chain, &material, NOW).is_ok() {
        let peer = peer_identity(chain).expect("what verifies is somebody's");
        assert_eq!(peer.spiffe_id.trust_domain(), &*OWN);
        assert!(peer.not_after >= NOW);
    }
}

/// An SVID with its intermediate and root, and each of them alone.
pub fn seeds() -> Vec<Vec<u8>> {
    let svid = AUTHORITY.x509_svid("/spire/agent/a");
    let root = AUTHORITY.bundle().x509_authorities.remove(0).certificate;
    let mut chain: Vec<Vec<u8>> = svid.chain().iter().map(|one| one.to_vec()).collect();
    chain.push(root.to_vec());
    let mut seeds = vec![
        chain.concat(),
        [chain[0].clone(), chain[2].clone()].concat(),
    ];
    seeds.append(&mut chain);
    seeds
}
