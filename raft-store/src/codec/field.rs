//! Identity values in stored fields.

use identity::clock::UnixTime;
use identity::dns_name::DnsName;
use identity::entry::{AdditionalAttributes, EntryId};
use identity::selector::{Selector, SelectorSet};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

use super::{DecodeError, wire};
use crate::command::RequestId;
use crate::record::{JoinTokenHash, PublicKeyHash};

pub(super) fn spiffe_id(text: &str) -> Result<SpiffeId, DecodeError> {
    SpiffeId::parse(text)
        .ok()
        .ok_or(DecodeError::Field("SPIFFE ID"))
}

pub(super) fn trust_domain(text: &str) -> Result<TrustDomain, DecodeError> {
    TrustDomain::parse(text)
        .ok()
        .ok_or(DecodeError::Field("trust domain"))
}

pub(super) fn trust_domains(names: &[String]) -> Result<Vec<TrustDomain>, DecodeError> {
    names.iter().map(|name| trust_domain(name)).collect()
}

pub(super) fn trust_domains_to_wire(names: &[TrustDomain]) -> Vec<String> {
    names.iter().map(|name| name.as_str().to_owned()).collect()
}

pub(super) fn entry_id(text: &str) -> Result<EntryId, DecodeError> {
    EntryId::parse(text)
        .ok()
        .ok_or(DecodeError::Field("entry id"))
}

pub(super) fn dns_names(names: &[String]) -> Result<Vec<DnsName>, DecodeError> {
    let parse = |name: &String| DnsName::parse(name).ok();
    let parsed: Option<Vec<DnsName>> = names.iter().map(parse).collect();
    parsed.ok_or(DecodeError::Field("DNS name"))
}

pub(super) fn dns_names_to_wire(names: &[DnsName]) -> Vec<String> {
    names.iter().map(|name| name.as_str().to_owned()).collect()
}

pub(super) fn token_hash(bytes: &[u8]) -> Result<JoinTokenHash, DecodeError> {
    array(bytes, "join token hash").map(JoinTokenHash::from_bytes)
}

pub(super) fn public_key_hash(bytes: &[u8]) -> Result<PublicKeyHash, DecodeError> {
    array(bytes, "public key hash").map(PublicKeyHash::from_bytes)
}

pub(super) fn request_id(bytes: &[u8]) -> Result<RequestId, DecodeError> {
    array(bytes, "request id").map(RequestId::from_bytes)
}

/// Bytes of which there must be so many.
fn array<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], DecodeError> {
    bytes.try_into().ok().ok_or(DecodeError::Field(what))
}

pub(super) fn selectors(selectors: &[wire::Selector]) -> Result<SelectorSet, DecodeError> {
    let parse = |selector: &wire::Selector| Selector::new(&selector.kind, &selector.value).ok();
    let parsed: Option<Vec<Selector>> = selectors.iter().map(parse).collect();
    parsed
        .and_then(|selectors| SelectorSet::try_from(selectors).ok())
        .ok_or(DecodeError::Field("selectors"))
}

pub(super) fn selectors_to_wire(selectors: &SelectorSet) -> Vec<wire::Selector> {
    selectors
        .iter()
        .map(|selector| wire::Selector {
            kind: selector.kind().to_owned(),
            value: selector.value().to_owned(),
        })
        .collect()
}

pub(super) fn time(secs: i64) -> UnixTime {
    UnixTime::from_secs(secs)
}

pub(super) const fn attributes(attributes: wire::AdditionalAttributes) -> AdditionalAttributes {
    AdditionalAttributes {
        disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
        jwt_svid_include_jti: attributes.jwt_svid_include_jti,
    }
}

pub(super) const fn attributes_to_wire(
    attributes: &AdditionalAttributes,
) -> wire::AdditionalAttributes {
    wire::AdditionalAttributes {
        disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
        jwt_svid_include_jti: attributes.jwt_svid_include_jti,
    }
}
