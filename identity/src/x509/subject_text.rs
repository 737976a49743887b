//! The name of a subject as Go's `pkix.Name` prints it, which SPIRE's answers have.

use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_LOCALITY_NAME,
    OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, OID_X509_POSTAL_CODE,
    OID_X509_SERIALNUMBER, OID_X509_STATE_OR_PROVINCE_NAME, OID_X509_STREET_ADDRESS, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

/// The attributes that are printed, last first; those of one kind stand together, joined by `+`.
const ATTRIBUTES: [(Oid<'_>, &str); 9] = [
    (OID_X509_SERIALNUMBER, "SERIALNUMBER"),
    (OID_X509_COMMON_NAME, "CN"),
    (OID_X509_POSTAL_CODE, "POSTALCODE"),
    (OID_X509_STREET_ADDRESS, "STREET"),
    (OID_X509_STATE_OR_PROVINCE_NAME, "ST"),
    (OID_X509_LOCALITY_NAME, "L"),
    (OID_X509_ORGANIZATIONAL_UNIT, "OU"),
    (OID_X509_ORGANIZATION_NAME, "O"),
    (OID_X509_COUNTRY_NAME, "C"),
];

/// Prints a name in DER, as in RFC 4514; one that cannot be read is empty.
pub(super) fn subject_text(name_der: &[u8]) -> String {
    let Ok((_, name)) = X509Name::from_der(name_der) else {
        return String::new();
    };
    let parts: Vec<String> = ATTRIBUTES
        .iter()
        .filter_map(|(kind, label)| part(&name, kind, label))
        .collect();
    parts.join(",")
}

fn part(name: &X509Name<'_>, kind: &Oid<'_>, label: &str) -> Option<String> {
    let values: Vec<String> = name
        .iter_by_oid(kind)
        .filter_map(|attribute| attribute.as_str().ok())
        .map(|value| format!("{label}={}", escaped(value)))
        .collect();
    (!values.is_empty()).then(|| values.join("+"))
}

/// As RFC 4514 §2.4 has it.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (place, character) in value.chars().enumerate() {
        let is_special = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            '#' => place == 0,
            ' ' => place == 0 || place == last,
            _ => false,
        };
        if is_special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType};

    use super::*;
    use crate::secret::{KeyType, PrivateKey};
    use crate::x509::CertificateInfo;

    fn check(attributes: &[(DnType, &str)], expected: &str) {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in attributes {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let certificate = params.self_signed(&key).unwrap();
        let info = CertificateInfo::parse(certificate.der()).unwrap();
        assert_eq!(info.subject_text(), expected);
    }

    #[test]
    fn names_are_printed_in_the_order_of_go() {
        let serial = DnType::CustomDnType(vec![2, 5, 4, 5]);
        check(
            &[
                (DnType::CountryName, "US"),
                (DnType::OrganizationName, "SPIRE"),
            ],
            "O=SPIRE,C=US",
        );
        check(
            &[
                (serial, "42"),
                (DnType::CommonName, "w.example.org"),
                (DnType::OrganizationName, "SPIFFE"),
                (DnType::CountryName, "US"),
            ],
            "SERIALNUMBER=42,CN=w.example.org,O=SPIFFE,C=US",
        );
        check(&[], "");
    }

    #[test]
    fn what_separates_parts_is_escaped_in_values() {
        check(
            &[(DnType::CommonName, " #a, \"b\"+c\\ ")],
            "CN=\\ #a\\, \\\"b\\\"\\+c\\\\\\ ",
        );
        check(&[(DnType::CommonName, "#a")], "CN=\\#a");
    }

    #[test]
    fn garbage_has_no_name() {
        assert_eq!(subject_text(b"garbage"), "");
    }
}
