//! Bundles and their authorities on the wire.
//!
//! Marks of taint are the server's to give: they are dropped from what administrators send, and kept
//! in what an agent gets from its server. WIT authorities are dropped from both.

use identity::bundle::{Bundle, JwtAuthority, X509Authority};
use identity::clock::UnixTime;
use identity::trust_domain::TrustDomain;
use identity::x509::{PublicKey, split_certificates};

use crate::convert::ConvertError;
use crate::convert::error::InPart as _;
use crate::spire::api::types;

/// The longest key id of a JWT authority.
pub const MAX_KEY_ID_LEN_BYTES: usize = 255;

/// The mask that chooses every field.
pub const EVERY_FIELD: types::BundleMask = types::BundleMask {
    x509_authorities: true,
    jwt_authorities: true,
    refresh_hint: true,
    sequence_number: true,
    wit_authorities: true,
};

/// A change of a bundle: what is `None` stays as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BundleUpdate {
    /// Whose bundle.
    pub trust_domain: TrustDomain,
    /// New X.509 authorities, all of them.
    pub x509_authorities: Option<Vec<X509Authority>>,
    /// New JWT authorities, all of them.
    pub jwt_authorities: Option<Vec<JwtAuthority>>,
    /// New refresh hint in seconds.
    pub refresh_hint_s: Option<i64>,
    /// New sequence number.
    pub sequence: Option<u64>,
}

/// The trust domain that a request names, as a name or in the `spiffe://` form.
pub fn trust_domain(name: &str) -> Result<TrustDomain, ConvertError> {
    TrustDomain::parse(name).in_part("trust domain argument is not valid")
}

/// A bundle from an administrator.
pub fn new(wire: &types::Bundle) -> Result<Bundle, ConvertError> {
    let BundleUpdate {
        trust_domain,
        x509_authorities,
        jwt_authorities,
        refresh_hint_s,
        sequence,
    } = update(wire, None)?;
    Ok(Bundle {
        trust_domain,
        x509_authorities: x509_authorities.unwrap_or_default(),
        jwt_authorities: jwt_authorities.unwrap_or_default(),
        refresh_hint_s: refresh_hint_s.unwrap_or_default(),
        sequence: sequence.unwrap_or_default(),
    })
}

/// A change of the fields that the mask chooses, from an administrator. The authorities are checked
/// even where the mask leaves them out.
pub fn update(
    wire: &types::Bundle,
    mask: Option<&types::BundleMask>,
) -> Result<BundleUpdate, ConvertError> {
    let mask = mask.unwrap_or(&EVERY_FIELD);
    let trust_domain = trust_domain(&wire.trust_domain)?;
    let (x509, jwt) = authorities(wire).in_part("failed to convert bundle")?;
    Ok(BundleUpdate {
        trust_domain,
        x509_authorities: mask.x509_authorities.then(|| without_taint(x509)),
        jwt_authorities: mask.jwt_authorities.then(|| without_jwt_taint(jwt)),
        refresh_hint_s: mask.refresh_hint.then_some(wire.refresh_hint),
        sequence: mask.sequence_number.then_some(wire.sequence_number),
    })
}

/// A bundle from the server, for an agent: with its marks of taint.
pub fn received(wire: &types::Bundle) -> Result<Bundle, ConvertError> {
    let (x509_authorities, jwt_authorities) = authorities(wire)?;
    Ok(Bundle {
        trust_domain: TrustDomain::parse(&wire.trust_domain)?,
        x509_authorities,
        jwt_authorities,
        refresh_hint_s: wire.refresh_hint,
        sequence: wire.sequence_number,
    })
}

/// A bundle from an administrator, as a part of something else.
pub(super) fn administered(wire: &types::Bundle) -> Result<Bundle, ConvertError> {
    let bundle = received(wire)?;
    Ok(Bundle {
        x509_authorities: without_taint(bundle.x509_authorities),
        jwt_authorities: without_jwt_taint(bundle.jwt_authorities),
        ..bundle
    })
}

/// X.509 authorities from an administrator, to be added to the own bundle.
pub fn x509_authorities(
    wire: &[types::X509Certificate],
) -> Result<Vec<X509Authority>, ConvertError> {
    let authorities = x509_list(wire).in_part("failed to convert X.509 authority")?;
    Ok(without_taint(authorities))
}

/// JWT authorities from an administrator or a downstream server, to be added to the own bundle.
pub fn jwt_authorities(wire: &[types::JwtKey]) -> Result<Vec<JwtAuthority>, ConvertError> {
    let authorities = jwt_list(wire).in_part("failed to convert JWT authority")?;
    Ok(without_jwt_taint(authorities))
}

/// The wire form, cut to the fields of the mask; the trust domain is always there.
pub fn to_wire(bundle: &Bundle, mask: Option<&types::BundleMask>) -> types::Bundle {
    let mask = mask.unwrap_or(&EVERY_FIELD);
    let mut wire = types::Bundle {
        trust_domain: bundle.trust_domain.as_str().to_owned(),
        ..types::Bundle::default()
    };
    if mask.x509_authorities {
        wire.x509_authorities = bundle.x509_authorities.iter().map(x509_to_wire).collect();
    }
    if mask.jwt_authorities {
        wire.jwt_authorities = jwt_authorities_to_wire(&bundle.jwt_authorities);
    }
    if mask.refresh_hint {
        wire.refresh_hint = bundle.refresh_hint_s;
    }
    if mask.sequence_number {
        wire.sequence_number = bundle.sequence;
    }
    wire
}

/// The wire form of JWT authorities.
pub fn jwt_authorities_to_wire(authorities: &[JwtAuthority]) -> Vec<types::JwtKey> {
    authorities.iter().map(jwt_to_wire).collect()
}

type Authorities = (Vec<X509Authority>, Vec<JwtAuthority>);

fn authorities(wire: &types::Bundle) -> Result<Authorities, ConvertError> {
    let x509 = x509_list(&wire.x509_authorities).in_part("unable to parse X.509 authority")?;
    let jwt = jwt_list(&wire.jwt_authorities).in_part("unable to parse JWT authority")?;
    Ok((x509, jwt))
}

pub(super) fn x509_list(
    wire: &[types::X509Certificate],
) -> Result<Vec<X509Authority>, ConvertError> {
    let mut authorities = Vec::with_capacity(wire.len());
    for authority in wire {
        let certificates = split_certificates(&authority.asn1)
            .map_err(|_detail| ConvertError::MalformedCertificate)?;
        authorities.extend(certificates.into_iter().map(|certificate| X509Authority {
            certificate,
            tainted: authority.tainted,
        }));
    }
    Ok(authorities)
}

pub(super) fn jwt_list(wire: &[types::JwtKey]) -> Result<Vec<JwtAuthority>, ConvertError> {
    wire.iter().map(jwt_authority).collect()
}

fn jwt_authority(wire: &types::JwtKey) -> Result<JwtAuthority, ConvertError> {
    let limit = MAX_KEY_ID_LEN_BYTES;
    if !PublicKey::parse(&wire.public_key).is_ok_and(|key| key.is_supported()) {
        return Err(ConvertError::MalformedPublicKey);
    }
    if wire.key_id.is_empty() {
        return Err(ConvertError::MissingKeyId);
    }
    if wire.key_id.len() > limit {
        return Err(ConvertError::KeyIdTooLong { limit });
    }
    Ok(JwtAuthority {
        key_id: wire.key_id.as_str().into(),
        public_key: wire.public_key.clone(),
        expires_at: (wire.expires_at != 0).then(|| UnixTime::from_secs(wire.expires_at)),
        tainted: wire.tainted,
    })
}

fn without_taint(mut authorities: Vec<X509Authority>) -> Vec<X509Authority> {
    for authority in &mut authorities {
        authority.tainted = false;
    }
    authorities
}

fn without_jwt_taint(mut authorities: Vec<JwtAuthority>) -> Vec<JwtAuthority> {
    for authority in &mut authorities {
        authority.tainted = false;
    }
    authorities
}

fn x509_to_wire(authority: &X509Authority) -> types::X509Certificate {
    types::X509Certificate {
        asn1: authority.certificate.to_vec(),
        tainted: authority.tainted,
    }
}

fn jwt_to_wire(authority: &JwtAuthority) -> types::JwtKey {
    types::JwtKey {
        public_key: authority.public_key.clone(),
        key_id: authority.key_id.to_string(),
        expires_at: authority.expires_at.map_or(0, |time| time.as_secs()),
        tainted: authority.tainted,
    }
}

#[cfg(test)]
mod tests;
