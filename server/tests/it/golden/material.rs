//! Keys, requests and authorities that scripts ask for.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use time::{Duration, OffsetDateTime};

/// A fresh P-256 key.
pub(crate) fn key() -> anyhow::Result<KeyPair> {
    Ok(KeyPair::generate()?)
}

/// A signing request for names that are separated by commas: SPIFFE IDs and other URIs, DNS names.
pub(crate) fn request(key: &KeyPair, names: &str) -> anyhow::Result<Vec<u8>> {
    Ok(params(names)?.serialize_request(key)?.der().to_vec())
}

/// A request whose last byte, which is part of the signature, is not what it was.
pub(crate) fn request_with_bad_signature(names: &str) -> anyhow::Result<Vec<u8>> {
    let mut request = request(&key()?, names)?;
    if let Some(last) = request.last_mut() {
        *last ^= 1;
    }
    Ok(request)
}

/// A fresh public key, as a SubjectPublicKeyInfo in DER.
pub(crate) fn public_key() -> anyhow::Result<Vec<u8>> {
    Ok(key()?.subject_public_key_info())
}

/// A self-signed authority of the trust domain `name`, in DER.
pub(crate) fn authority(name: &str) -> anyhow::Result<Vec<u8>> {
    Ok(self_signed_authority(name)?.0)
}

/// A client certificate for `id`, signed by an authority that nobody knows, and its key.
pub(crate) fn foreign_certificate(
    trust_domain: &str,
    id: &str,
) -> anyhow::Result<(Vec<u8>, KeyPair)> {
    let (_, issuer) = self_signed_authority(trust_domain)?;
    let key = key()?;
    let mut params = params(id)?;
    params.serial_number = Some(2_u64.into());
    params.not_before = OffsetDateTime::now_utc() - Duration::MINUTE;
    params.not_after = OffsetDateTime::now_utc() + Duration::HOUR;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    Ok((params.signed_by(&key, &issuer)?.der().to_vec(), key))
}

/// Standard base64, as JSON has it.
pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn self_signed_authority(name: &str) -> anyhow::Result<(Vec<u8>, Issuer<'static, KeyPair>)> {
    let key = key()?;
    let mut params = params(&format!("spiffe://{name}"))?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(1_u64.into());
    params.not_before = OffsetDateTime::now_utc() - Duration::MINUTE;
    params.not_after = OffsetDateTime::now_utc() + Duration::DAY;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?.der().to_vec();
    Ok((certificate, Issuer::new(params, key)))
}

fn params(names: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for name in names.split(',').filter(|name| !name.is_empty()) {
        params.subject_alt_names.push(if name.contains("://") {
            SanType::URI(name.try_into()?)
        } else {
            SanType::DnsName(name.try_into()?)
        });
    }
    Ok(params)
}
