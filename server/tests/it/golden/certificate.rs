//! A certificate's profile in one line: everything that clients could depend on, nothing that varies
//! from run to run.

use identity::clock::{Clock as _, SystemClock};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

/// A name's attributes in the order in which Go prints them.
const ATTRIBUTES: [(&str, &str); 9] = [
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.3", "CN"),
    ("2.5.4.17", "POSTALCODE"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.8", "ST"),
    ("2.5.4.7", "L"),
    ("2.5.4.11", "OU"),
    ("2.5.4.10", "O"),
    ("2.5.4.6", "C"),
];

const EXTENSIONS: [(&str, &str); 7] = [
    ("2.5.29.15", "keyUsage"),
    ("2.5.29.37", "extKeyUsage"),
    ("2.5.29.19", "basicConstraints"),
    ("2.5.29.14", "subjectKeyId"),
    ("2.5.29.35", "authorityKeyId"),
    ("2.5.29.17", "subjectAltName"),
    ("2.5.29.36", "policyConstraints"),
];

/// The profile of a certificate in DER; `mask` is applied to its URIs.
pub(crate) fn profile(der: &[u8], mask: impl Fn(&str) -> String) -> anyhow::Result<String> {
    let (_, certificate) = X509Certificate::from_der(der)?;
    let mut parts = vec![
        kind(&certificate)?,
        format!("subject=({})", name(certificate.subject())),
        format!("issuer=({})", name(certificate.issuer())),
    ];
    parts.extend(names_and_usages(&certificate, mask)?);
    parts.push(format!("ext={}", extensions(&certificate)));
    parts.push(format!("key={}", key_type(&certificate)));
    parts.push(format!("sig={}", signature_type(&certificate)));
    if certificate.tbs_certificate.serial.bits() < 64 {
        parts.push(format!("serial={}", certificate.tbs_certificate.serial));
    }
    let now = SystemClock.now().as_secs();
    let age_s = now - certificate.validity().not_before.timestamp();
    if age_s < 17 && !certificate.is_ca() {
        parts.push("from=now-10s".to_owned());
    }
    let left_s = certificate.validity().not_after.timestamp() - now;
    parts.push(format!("to={}", from_now(left_s)));
    Ok(parts.join(" "))
}

/// A time in minutes from now, in tens of minutes when it is far.
pub(crate) fn from_now(seconds: i64) -> String {
    let step_s = if seconds > 2 * 3600 { 600 } else { 60 };
    let rounded = (seconds.abs() + step_s / 2) / step_s * step_s / 60;
    format!("now{:+}m", seconds.signum() * rounded)
}

fn kind(certificate: &X509Certificate<'_>) -> anyhow::Result<String> {
    let constraints = certificate.basic_constraints()?.map(|found| found.value);
    Ok(match constraints {
        Some(constraints) if constraints.ca => {
            let pathlen = constraints.path_len_constraint.map_or(-1, i64::from);
            format!("x509 ca pathlen={pathlen}")
        }
        _ => "x509 leaf".to_owned(),
    })
}

fn name(name: &X509Name<'_>) -> String {
    let mut found = Vec::new();
    for (oid, short) in ATTRIBUTES {
        let values: Vec<_> = name
            .iter_attributes()
            .filter(|attribute| attribute.attr_type().to_id_string() == oid)
            .map(|attribute| {
                let value = attribute.as_str().unwrap_or("<not text>");
                let value = if short == "SERIALNUMBER" {
                    "<number>"
                } else {
                    value
                };
                format!("{short}={value}")
            })
            .collect();
        if !values.is_empty() {
            found.push(values.join("+"));
        }
    }
    found.join(",")
}

fn names_and_usages(
    certificate: &X509Certificate<'_>,
    mask: impl Fn(&str) -> String,
) -> anyhow::Result<Vec<String>> {
    let mut parts = Vec::new();
    let names = certificate.subject_alternative_name()?;
    let names = names.iter().flat_map(|found| &found.value.general_names);
    let mut dns_names = Vec::new();
    for name in names {
        match name {
            GeneralName::URI(uri) => parts.push(format!("uri={}", mask(uri))),
            GeneralName::DNSName(name) => dns_names.push(format!("dns={name}")),
            _ => {}
        }
    }
    parts.append(&mut dns_names);
    let usage = certificate.key_usage()?.map(|found| *found.value);
    let usages = usage.map_or_else(Vec::new, |usage| {
        [
            (usage.digital_signature(), "digitalSignature"),
            (usage.non_repudiation(), "contentCommitment"),
            (usage.key_encipherment(), "keyEncipherment"),
            (usage.data_encipherment(), "dataEncipherment"),
            (usage.key_agreement(), "keyAgreement"),
            (usage.key_cert_sign(), "keyCertSign"),
            (usage.crl_sign(), "cRLSign"),
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect()
    });
    parts.push(format!("ku={}", usages.join("+")));
    parts.extend(extended_usages(certificate));
    Ok(parts)
}

/// The extended usages in the order of the certificate's DER, which the two known ones keep.
fn extended_usages(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut parts = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::ExtendedKeyUsage(usage) = extension.parsed_extension() {
            if usage.server_auth {
                parts.push("eku=serverAuth".to_owned());
            }
            if usage.client_auth {
                parts.push("eku=clientAuth".to_owned());
            }
        }
    }
    parts
}

fn extensions(certificate: &X509Certificate<'_>) -> String {
    let mut found: Vec<_> = certificate
        .extensions()
        .iter()
        .map(|extension| {
            let oid = extension.oid.to_id_string();
            let name = EXTENSIONS
                .iter()
                .find(|(known, _)| *known == oid)
                .map_or(oid.as_str(), |(_, name)| name)
                .to_owned();
            if extension.critical { name + "!" } else { name }
        })
        .collect();
    found.sort();
    found.join("+")
}

fn key_type(certificate: &X509Certificate<'_>) -> &'static str {
    key_type_name(&certificate.public_key().algorithm.algorithm.to_id_string())
}

/// What Go calls the key of an algorithm.
pub(crate) fn key_type_name(algorithm: &str) -> &'static str {
    match algorithm {
        "1.2.840.10045.2.1" => "ecdsa.PublicKey",
        "1.2.840.113549.1.1.1" => "rsa.PublicKey",
        _ => "unknown",
    }
}

fn signature_type(certificate: &X509Certificate<'_>) -> &'static str {
    match certificate
        .signature_algorithm
        .algorithm
        .to_id_string()
        .as_str()
    {
        "1.2.840.10045.4.3.2" => "ECDSA-SHA256",
        "1.2.840.10045.4.3.3" => "ECDSA-SHA384",
        "1.2.840.113549.1.1.11" => "SHA256-RSA",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::{from_now, profile};
    use crate::golden::material;

    #[test]
    fn authority_of_a_script_has_the_recorded_profile() {
        let der = material::authority("other.test").unwrap();
        assert_eq!(
            profile(&der, str::to_owned).unwrap(),
            "x509 ca pathlen=-1 subject=(CN=other.test) issuer=(CN=other.test) \
             uri=spiffe://other.test ku=keyCertSign+cRLSign \
             ext=basicConstraints!+keyUsage!+subjectAltName+subjectKeyId key=ecdsa.PublicKey \
             sig=ECDSA-SHA256 serial=1 to=now+1440m"
        );
    }

    #[test]
    fn times_are_told_in_minutes_and_far_ones_in_tens_of_minutes() {
        assert_eq!(from_now(0), "now+0m");
        assert_eq!(from_now(-29), "now+0m");
        assert_eq!(from_now(-61), "now-1m");
        assert_eq!(from_now(3590), "now+60m");
        assert_eq!(from_now(86_395), "now+1440m");
    }
}
