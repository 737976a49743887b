//! Bundles and authorities as plugins have them.

use identity::bundle::{Bundle, JwtAuthority, X509Authority};
use identity::clock::UnixTime;

use crate::convert::{ConvertError, bundle};
use crate::spire::api::types as api;
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
        jwt_authorities: bundle.jwt_authorities.iter().map(plugin_jwt_key).collect(),
        refresh_hint: bundle.refresh_hint_s,
        sequence_number: bundle.sequence,
        wit_authorities: Vec::new(),
    }
}

/// X.509 authorities from a plugin, with its marks of taint.
pub fn plugin_x509_authorities(
    wire: &[types::X509Certificate],
) -> Result<Vec<X509Authority>, ConvertError> {
    let wire: Vec<_> = wire
        .iter()
        .map(|authority| api::X509Certificate {
            asn1: authority.asn1.clone(),
            tainted: authority.tainted,
        })
        .collect();
    bundle::x509_list(&wire)
}

/// JWT authorities from a plugin, with its marks of taint.
pub fn plugin_jwt_authorities(wire: &[types::JwtKey]) -> Result<Vec<JwtAuthority>, ConvertError> {
    let wire: Vec<_> = wire
        .iter()
        .map(|authority| api::JwtKey {
            public_key: authority.public_key.clone(),
            key_id: authority.key_id.clone(),
            expires_at: authority.expires_at,
            tainted: authority.tainted,
        })
        .collect();
    bundle::jwt_list(&wire)
}

/// A JWT authority for a plugin.
#[must_use]
pub fn plugin_jwt_key(authority: &JwtAuthority) -> types::JwtKey {
    types::JwtKey {
        public_key: authority.public_key.clone(),
        key_id: authority.key_id.to_string(),
        expires_at: authority.expires_at.map_or(0, UnixTime::as_secs),
        tainted: authority.tainted,
    }
}
