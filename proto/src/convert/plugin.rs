//! Bundles as plugins are given them.

use identity::bundle::Bundle;
use identity::clock::UnixTime;

use crate::spire::plugin::types;

/// A bundle for a plugin.
#[must_use]
pub fn plugin_bundle(bundle: &Bundle) -> types::Bundle {
    types::Bundle {
        trust_domain: bundle.trust_domain.as_str().to_owned(),
        x509_authorities: bundle
            .x509_authorities
            .iter()
            .map(|authority| types::X509Certificate {
                asn1: authority.certificate.to_vec(),
                tainted: authority.tainted,
            })
            .collect(),
        jwt_authorities: bundle
            .jwt_authorities
            .iter()
            .map(|authority| types::JwtKey {
                public_key: authority.public_key.clone(),
                key_id: authority.key_id.to_string(),
                expires_at: authority.expires_at.map_or(0, UnixTime::as_secs),
                tainted: authority.tainted,
            })
            .collect(),
        refresh_hint: bundle.refresh_hint_s,
        sequence_number: bundle.sequence,
        wit_authorities: Vec::new(),
    }
}
