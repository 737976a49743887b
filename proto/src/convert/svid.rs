//! SVIDs on the wire of the server's API, without their keys.

use identity::clock::UnixTime;
use identity::spiffe_id::SpiffeId;
use rustls_pki_types::CertificateDer;

use crate::convert::id;
use crate::spire::api::types;

/// An X.509-SVID: its chain with the leaf first and without a self-signed root.
pub fn x509(
    spiffe_id: &SpiffeId,
    chain: &[CertificateDer<'_>],
    not_after: UnixTime,
) -> types::X509svid {
    types::X509svid {
        cert_chain: chain
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect(),
        id: Some(id::to_wire(spiffe_id)),
        expires_at: not_after.as_secs(),
        hint: String::new(),
    }
}

/// A JWT-SVID in its compact form.
pub fn jwt(
    spiffe_id: &SpiffeId,
    token: &str,
    issued_at: UnixTime,
    expires_at: UnixTime,
) -> types::Jwtsvid {
    types::Jwtsvid {
        token: token.to_owned(),
        id: Some(id::to_wire(spiffe_id)),
        expires_at: expires_at.as_secs(),
        issued_at: issued_at.as_secs(),
        hint: String::new(),
    }
}
