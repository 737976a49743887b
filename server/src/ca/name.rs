//! X.501 names in the shape that SPIRE gives them: the nine attributes that Go's `pkix.Name` knows,
//! in its order, so that a subject taken from a CSR or a parent comes out as SPIRE writes it.

use identity::x509::Csr;

use crate::ca::der::{self, DerError, DerReader, DerWriter};

/// A certificate's subject or issuer.
///
/// Invariant: attributes stand in the order of `Attribute`; equal attributes share one RDN.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DistinguishedName(Vec<(Attribute, Vec<u8>)>);

/// A name that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed name")]
pub struct NameError(#[source] DerError);

/// The attribute types that are kept, in the order in which they are written.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Attribute {
    Country,
    Organization,
    OrganizationalUnit,
    Locality,
    Province,
    Street,
    PostalCode,
    CommonName,
    SerialNumber,
}

impl DistinguishedName {
    /// A name of countries, organizations and, if it is not empty, a common name.
    pub fn new(country: &[String], organization: &[String], common_name: &str) -> Self {
        let mut name = Self::default();
        for value in country {
            name.push(Attribute::Country, string(value));
        }
        for value in organization {
            name.push(Attribute::Organization, string(value));
        }
        if !common_name.is_empty() {
            name.push(Attribute::CommonName, string(common_name));
        }
        name
    }

    /// The subject of every X.509-SVID that nothing else is asked for: `C=US, O=SPIRE`.
    pub fn svid_default() -> Self {
        Self::new(&["US".to_owned()], &["SPIRE".to_owned()], "")
    }

    /// The subject that a signing request asks for.
    ///
    /// # Errors
    /// It is not a name.
    pub fn from_request(csr: &Csr) -> Result<Self, NameError> {
        Self::from_der(csr.subject_der()).map_err(NameError)
    }

    /// Reads an encoded name. Attributes of other types are dropped.
    pub(super) fn from_der(encoded: &[u8]) -> Result<Self, DerError> {
        let mut name = Self::default();
        let mut outer = DerReader::new(encoded);
        let mut relative_names = outer.enter(der::SEQUENCE)?;
        while !relative_names.is_empty() {
            let mut attributes = relative_names.enter(der::SET)?;
            while !attributes.is_empty() {
                let mut pair = attributes.enter(der::SEQUENCE)?;
                let identifier = pair.expect(der::OBJECT_IDENTIFIER)?;
                let value = pair.element()?;
                if let Some(attribute) = Attribute::from_identifier(identifier) {
                    name.push(attribute, value.whole.to_vec());
                }
            }
        }
        if outer.is_empty() {
            Ok(name)
        } else {
            Err(DerError)
        }
    }

    /// The encoded name.
    pub(super) fn to_der(&self) -> Vec<u8> {
        let mut writer = DerWriter::with_capacity(64);
        writer.nested(der::SEQUENCE, |writer| {
            for same in self.0.chunk_by(|(left, _), (right, _)| left == right) {
                let mut members: Vec<Vec<u8>> = same.iter().map(encode_attribute).collect();
                // The members of a SET OF are sorted by their encoding (X.690 §11.6).
                members.sort();
                writer.nested(der::SET, |writer| {
                    members.iter().for_each(|member| writer.raw(member));
                });
            }
        });
        writer.into_bytes()
    }

    /// Whether no attribute is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same name with this common name instead of any other.
    #[must_use]
    pub fn with_common_name(self, value: &str) -> Self {
        self.with(Attribute::CommonName, value)
    }

    /// The same name with this organizational unit instead of any other.
    #[must_use]
    pub(super) fn with_organizational_unit(self, value: &str) -> Self {
        self.with(Attribute::OrganizationalUnit, value)
    }

    /// The same name with this serial number attribute (2.5.4.5), unless it has one.
    #[must_use]
    pub(super) fn with_default_serial_number(self, value: &str) -> Self {
        if self
            .0
            .iter()
            .any(|(present, _)| *present == Attribute::SerialNumber)
        {
            return self;
        }
        self.with(Attribute::SerialNumber, value)
    }

    fn with(mut self, attribute: Attribute, value: &str) -> Self {
        self.0.retain(|(present, _)| *present != attribute);
        self.push(attribute, string(value));
        self
    }

    fn push(&mut self, attribute: Attribute, value: Vec<u8>) {
        let at = self.0.partition_point(|(present, _)| *present <= attribute);
        self.0.insert(at, (attribute, value));
    }
}

impl Attribute {
    const ALL: [Self; 9] = [
        Self::Country,
        Self::Organization,
        Self::OrganizationalUnit,
        Self::Locality,
        Self::Province,
        Self::Street,
        Self::PostalCode,
        Self::CommonName,
        Self::SerialNumber,
    ];

    fn from_identifier(identifier: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|attribute| attribute.identifier() == identifier)
    }

    /// The content of the OBJECT IDENTIFIER, 2.5.4.n.
    const fn identifier(self) -> [u8; 3] {
        let last = match self {
            Self::CommonName => 3,
            Self::SerialNumber => 5,
            Self::Country => 6,
            Self::Locality => 7,
            Self::Province => 8,
            Self::Street => 9,
            Self::Organization => 10,
            Self::OrganizationalUnit => 11,
            Self::PostalCode => 17,
        };
        [0x55, 0x04, last]
    }
}

fn encode_attribute((attribute, value): &(Attribute, Vec<u8>)) -> Vec<u8> {
    let mut writer = DerWriter::with_capacity(value.len() + 8);
    writer.nested(der::SEQUENCE, |writer| {
        writer.element(der::OBJECT_IDENTIFIER, &attribute.identifier());
        writer.raw(value);
    });
    writer.into_bytes()
}

/// A DirectoryString: PrintableString where its alphabet allows, else UTF8String (as Go encodes).
fn string(value: &str) -> Vec<u8> {
    let printable = |byte: u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte);
    let tag = if value.bytes().all(printable) {
        der::PRINTABLE_STRING
    } else {
        der::UTF8_STRING
    };
    let mut writer = DerWriter::with_capacity(value.len() + 4);
    writer.element(tag, value.as_bytes());
    writer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &DistinguishedName) -> String {
        let der = name.to_der();
        let (rest, parsed) =
            <x509_parser::x509::X509Name<'_> as x509_parser::prelude::FromDer<_>>::from_der(&der)
                .expect("a name that another parser reads");
        assert!(rest.is_empty());
        parsed.to_string()
    }

    #[test]
    fn attributes_are_written_in_the_order_of_go() {
        let name = DistinguishedName::new(&["US".to_owned()], &["SPIFFE".to_owned()], "authority")
            .with_default_serial_number("42")
            .with_default_serial_number("43")
            .with_organizational_unit("DOWNSTREAM-1");
        assert_eq!(
            shown(&name),
            "C=US, O=SPIFFE, OU=DOWNSTREAM-1, CN=authority, serialNumber=42"
        );
    }

    #[test]
    fn a_name_survives_encoding_and_reading() {
        let name = DistinguishedName::new(
            &["NO".to_owned()],
            &["B".to_owned(), "A".to_owned()],
            "snømann.example.org",
        );
        let read = DistinguishedName::from_der(&name.to_der()).expect("own encoding");
        assert_eq!(read.to_der(), name.to_der());
        assert_eq!(shown(&name), "C=NO, O=A + O=B, CN=snømann.example.org");
    }

    #[test]
    fn replacing_the_common_name_leaves_one() {
        let name = DistinguishedName::svid_default()
            .with_common_name("one")
            .with_common_name("two");
        assert_eq!(shown(&name), "C=US, O=SPIRE, CN=two");
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut encoded = DistinguishedName::svid_default().to_der();
        encoded.push(0);
        assert_eq!(DistinguishedName::from_der(&encoded), Err(DerError));
    }
}
