//! What an attested certificate says about its node: the agent's name and its selectors.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use identity::hex;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use identity::x509::{CertificateInfo, DistinguishedName};
use rustls_pki_types::CertificateDer;

use super::{NAME, Settings, Trust, invalid};
use crate::attest::{AttestorError, NodeAttributes};
use crate::template::{Template, TemplateError, Value};

/// A certificate whose holder has proved to be that.
pub(super) struct Names<'a> {
    pub(super) trust_domain: &'a TrustDomain,
    pub(super) settings: &'a Settings,
    pub(super) leaf: &'a CertificateInfo,
    pub(super) leaf_der: &'a CertificateDer<'a>,
}

impl Names<'_> {
    /// Everything that is known of the node; `issuers` are the certificates above its own.
    pub(super) fn attributes(
        &self,
        issuers: &[CertificateDer<'static>],
    ) -> Result<NodeAttributes, AttestorError> {
        let svid_path = self.svid_path()?;
        let subject = DistinguishedName::parse(&self.leaf.subject_der)
            .map_err(|error| invalid("unable to parse leaf certificate", error))?;
        let sans = self.san_selectors();
        let mut selector_values = Vec::new();
        if !subject.common_name.is_empty() {
            selector_values.push(format!("subject:cn:{}", subject.common_name));
        }
        let fingerprints = issuers.iter().map(|one| fingerprint(one));
        selector_values.extend(fingerprints.map(|one| format!("ca:fingerprint:{one}")));
        selector_values.push(format!(
            "serialnumber:{}",
            serial_digits(&self.leaf.serial_bytes)
        ));
        selector_values.extend(sans.iter().map(|(key, value)| format!("san:{key}:{value}")));
        Ok(NodeAttributes {
            spiffe_id: self.spiffe_id(&subject, svid_path, &sans)?,
            selector_values,
            can_reattest: true,
        })
    }

    /// The part of the SVID's path that names the node; empty for a certificate of another PKI.
    fn svid_path(&self) -> Result<&str, AttestorError> {
        let Trust::Spiffe { path_prefix } = &self.settings.trust else {
            return Ok("");
        };
        let uris = self.leaf.uri_sans.iter();
        let uri = uris
            .filter_map(|uri| uri.strip_prefix("spiffe://"))
            .next()
            .ok_or_else(|| AttestorError::denied("valid SVID x509 cert not found"))?;
        let path = uri.find('/').map_or("", |at| &uri[at..]);
        path.strip_prefix(path_prefix.as_str())
            .ok_or_else(|| AttestorError::denied("x509 cert doesnt match SVID prefix"))
    }

    /// Selectors that the issuer wrote into the certificate: `x509pop://<own domain>/<key>/<value>`.
    fn san_selectors(&self) -> BTreeMap<String, String> {
        let prefix = format!("x509pop://{}/", self.trust_domain);
        let mut selectors = BTreeMap::new();
        for uri in &self.leaf.uri_sans {
            let Some(path) = uri.strip_prefix(&prefix) else {
                continue;
            };
            let path = path.split(['?', '#']).next().unwrap_or_default();
            let decoded = percent_decoded(path);
            match decoded
                .as_deref()
                .and_then(|path| path.trim_matches('/').split_once('/'))
            {
                Some((key, value)) => {
                    selectors.insert(key.to_owned(), value.to_owned());
                }
                None => tracing::warn!(
                    uri,
                    subsystem_name = "built-in_plugin.x509pop",
                    "Cannot extract x509pop SAN selector"
                ),
            }
        }
        selectors
    }

    fn spiffe_id(
        &self,
        subject: &DistinguishedName,
        svid_path: &str,
        sans: &BTreeMap<String, String>,
    ) -> Result<SpiffeId, AttestorError> {
        let path = match (&self.settings.agent_path_template, &self.settings.trust) {
            (Some(template), _) => {
                let issuer = DistinguishedName::parse(&self.leaf.issuer_der)
                    .map_err(|error| invalid("unable to parse leaf certificate", error))?;
                let facts = self.facts(subject, &issuer, svid_path, sans);
                template.render(&facts).map_err(|error| {
                    AttestorError::internal(format!("failed to make spiffe id: {error}"))
                })?
            }
            (None, Trust::ExternalPki(_)) => format!("/{NAME}/{}", fingerprint(self.leaf_der)),
            (None, Trust::Spiffe { .. }) => format!("/{NAME}/{svid_path}"),
        };
        // The path alone first: what is left out in it must not be made up by the prefix.
        SpiffeId::from_parts(self.trust_domain, &path)
            .and_then(|_suffix| {
                SpiffeId::from_parts(self.trust_domain, &format!("/spire/agent{path}"))
            })
            .ok()
            .filter(|_id| !path.is_empty())
            .ok_or_else(|| {
                AttestorError::internal(format!(
                    "failed to make spiffe id: invalid agent path suffix {path:?}"
                ))
            })
    }

    /// What a template can refer to: the names are those of SPIRE and of Go's certificates.
    fn facts(
        &self,
        subject: &DistinguishedName,
        issuer: &DistinguishedName,
        svid_path: &str,
        sans: &BTreeMap<String, String>,
    ) -> Value {
        let leaf = self.leaf;
        let ip_addresses = leaf.ip_addresses.iter().map(ToString::to_string);
        let facts = [
            ("PluginName", NAME.into()),
            ("TrustDomain", self.trust_domain.as_str().into()),
            ("Fingerprint", fingerprint(self.leaf_der).into()),
            ("SerialNumberHex", serial_digits(&leaf.serial_bytes).into()),
            ("SVIDPathTrimmed", svid_path.into()),
            ("URISanSelectors", Value::texts(sans.iter())),
            ("SerialNumber", leaf.serial.as_str().into()),
            ("Subject", name(subject)),
            ("Issuer", name(issuer)),
            (
                "DNSNames",
                Value::list(leaf.dns_names.iter().map(String::as_str)),
            ),
            (
                "EmailAddresses",
                Value::list(leaf.email_addresses.iter().map(String::as_str)),
            ),
            ("IPAddresses", Value::list(ip_addresses)),
            (
                "URIs",
                Value::list(leaf.uri_sans.iter().map(String::as_str)),
            ),
            ("IsCA", Value::Bool(leaf.is_ca)),
        ];
        Value::fields(facts)
    }
}

/// Reads the template of a config. What a certificate does not have is refused now.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse_path_template(text: &str) -> Result<Template, TemplateError> {
    Template::parse(text, &FIELDS)
}

/// What a template can refer to.
const FIELDS: [&str; 14] = [
    "DNSNames",
    "EmailAddresses",
    "Fingerprint",
    "IPAddresses",
    "IsCA",
    "Issuer",
    "PluginName",
    "SVIDPathTrimmed",
    "SerialNumber",
    "SerialNumberHex",
    "Subject",
    "TrustDomain",
    "URIs",
    "URISanSelectors",
];

fn name(name: &DistinguishedName) -> Value {
    let list = |values: &[String]| Value::list(values.iter().map(String::as_str));
    Value::fields([
        ("CommonName", name.common_name.as_str().into()),
        ("SerialNumber", name.serial_number.as_str().into()),
        ("Country", list(&name.country)),
        ("Organization", list(&name.organization)),
        ("OrganizationalUnit", list(&name.organizational_unit)),
        ("Locality", list(&name.locality)),
        ("Province", list(&name.province)),
        ("StreetAddress", list(&name.street_address)),
        ("PostalCode", list(&name.postal_code)),
    ])
}

/// SHA-1 of a certificate: it names one and protects nothing.
fn fingerprint(certificate: &[u8]) -> String {
    hex::lower(digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate).as_ref())
}

fn serial_digits(bytes: &[u8]) -> String {
    match bytes.is_empty() {
        true => "00".to_owned(),
        false => hex::lower(bytes),
    }
}

/// A path with its percent escapes replaced; `None` if one is broken.
fn percent_decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let [high, low] = [rest.next()?, rest.next()?].map(|digit| char::from(digit).to_digit(16));
        bytes.push(u8::try_from(high? << 4 | low?).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_digits_are_an_escape() {
        for (path, expected) in [
            ("a%2Fb/%c3%bc", Some("a/b/ü")),
            ("plain", Some("plain")),
            ("%", None),
            ("%4", None),
            ("%+4", None),
            ("% 4", None),
            ("%gg", None),
            ("%ff", None),
        ] {
            assert_eq!(percent_decoded(path).as_deref(), expected, "{path}");
        }
    }
}
