//! The parts of a distinguished name that people refer to.

use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_LOCALITY_NAME,
    OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, OID_X509_POSTAL_CODE,
    OID_X509_SERIALNUMBER, OID_X509_STATE_OR_PROVINCE_NAME, OID_X509_STREET_ADDRESS, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::x509::{X509Error, malformed};

/// The attributes of a subject or issuer, those of one kind in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DistinguishedName {
    /// C
    pub country: Vec<String>,
    /// O
    pub organization: Vec<String>,
    /// OU
    pub organizational_unit: Vec<String>,
    /// L
    pub locality: Vec<String>,
    /// ST
    pub province: Vec<String>,
    /// STREET
    pub street_address: Vec<String>,
    /// Postal codes.
    pub postal_code: Vec<String>,
    /// The last serial number, empty for none.
    pub serial_number: String,
    /// The last CN, empty for none.
    pub common_name: String,
}

impl DistinguishedName {
    /// Reads a name in DER. Attributes of other kinds, or whose values are no text, are skipped.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(name_der: &[u8]) -> Result<Self, X509Error> {
        let (rest, parsed) =
            X509Name::from_der(name_der).map_err(|_cause| malformed(WHAT, "not in DER"))?;
        if !rest.is_empty() {
            return Err(malformed(WHAT, "trailing data"));
        }
        let mut name = Self::default();
        for attribute in parsed.iter_attributes() {
            if let Ok(value) = attribute.as_str() {
                name.take(attribute.attr_type(), value.to_owned());
            }
        }
        Ok(name)
    }

    fn take(&mut self, kind: &Oid<'_>, value: String) {
        for (known, list) in [
            (OID_X509_COUNTRY_NAME, &mut self.country),
            (OID_X509_ORGANIZATION_NAME, &mut self.organization),
            (OID_X509_ORGANIZATIONAL_UNIT, &mut self.organizational_unit),
            (OID_X509_LOCALITY_NAME, &mut self.locality),
            (OID_X509_STATE_OR_PROVINCE_NAME, &mut self.province),
            (OID_X509_STREET_ADDRESS, &mut self.street_address),
            (OID_X509_POSTAL_CODE, &mut self.postal_code),
        ] {
            if *kind == known {
                list.push(value);
                return;
            }
        }
        if *kind == OID_X509_COMMON_NAME {
            self.common_name = value;
        } else if *kind == OID_X509_SERIALNUMBER {
            self.serial_number = value;
        }
    }
}

const WHAT: &str = "distinguished name";

#[cfg(test)]
mod tests {
    use rcgen::{DnType, DnValue};

    use super::*;
    use crate::secret::{KeyType, PrivateKey};
    use crate::x509::CertificateInfo;

    #[test]
    fn attributes_are_found_by_their_kind() {
        let mut name = rcgen::DistinguishedName::new();
        name.push(DnType::CountryName, "US");
        name.push(DnType::OrganizationName, "Example");
        name.push(DnType::CommonName, DnValue::Utf8String("host ü".to_owned()));
        name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), "4711");
        name.push(DnType::CustomDnType(vec![1, 2, 3]), "skipped");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = name;
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let info = CertificateInfo::parse(certificate.der()).unwrap();
        let expected = DistinguishedName {
            country: vec!["US".to_owned()],
            organization: vec!["Example".to_owned()],
            common_name: "host ü".to_owned(),
            serial_number: "4711".to_owned(),
            ..DistinguishedName::default()
        };
        assert_eq!(
            DistinguishedName::parse(&info.subject_der).unwrap(),
            expected
        );
        assert_eq!(info.issuer_der, info.subject_der);
        for len in 0..info.subject_der.len() {
            let cut = DistinguishedName::parse(&info.subject_der[..len]);
            assert!(cut.is_err(), "{len}");
        }
    }
}
