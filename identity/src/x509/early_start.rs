//! Certificates that are valid since before 1970, such as Go makes them when nobody says since when:
//! in the year 1.
//!
//! The library for paths reads no time before 1970. It is given such a certificate with its start
//! moved to 1970, which changes nothing for anyone alive, and everything in it is checked as ever.
//! The signature is checked over the bytes that were signed.

use std::ops::Range;

use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
};
use webpki::ALL_VERIFICATION_ALGS;

use crate::der::{SEQUENCE, split_first};
use crate::x509::CertificateInfo;

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The certificates of one chain that start too early to be read, and what is read in their place.
///
/// Invariant: a stand-in differs from its original in the start of validity only.
#[derive(Debug, Default)]
pub(super) struct EarlyStarts(Vec<Moved>);

#[derive(Debug)]
struct Moved {
    original: CertificateDer<'static>,
    stand_in: CertificateDer<'static>,
    /// Where the signed part is, in both.
    signed: Range<usize>,
}

impl EarlyStarts {
    /// What to give to the library for `certificate`.
    pub(super) fn readable<'a>(
        &mut self,
        certificate: &'a CertificateDer<'a>,
    ) -> CertificateDer<'a> {
        match Moved::from_early(certificate) {
            Some(moved) => {
                let stand_in = moved.stand_in.clone();
                self.0.push(moved);
                stand_in
            }
            None => CertificateDer::from(certificate.as_ref()),
        }
    }

    /// What the library was given `readable` for.
    pub(super) fn original(&self, readable: &CertificateDer<'_>) -> CertificateDer<'static> {
        let moved = self.0.iter().find(|moved| moved.stand_in == *readable);
        moved.map_or_else(
            || readable.clone().into_owned(),
            |moved| moved.original.clone(),
        )
    }

    /// Every algorithm that the library knows, verifying what was signed.
    pub(super) fn algorithms(&self) -> Vec<OverOriginal<'_>> {
        let over_original =
            |algorithm: &&'static dyn SignatureVerificationAlgorithm| OverOriginal {
                algorithm: *algorithm,
                early: self,
            };
        ALL_VERIFICATION_ALGS.iter().map(over_original).collect()
    }

    /// The signed bytes for those that the library has, where they differ.
    fn signed<'a>(&'a self, readable: &'a [u8]) -> &'a [u8] {
        let is_of = |moved: &&Moved| moved.stand_in.get(moved.signed.clone()) == Some(readable);
        let moved = self.0.iter().find(is_of);
        moved
            .and_then(|moved| moved.original.get(moved.signed.clone()))
            .unwrap_or(readable)
    }
}

impl Moved {
    /// `None` if the certificate starts in 1970 or later, or cannot be read.
    fn from_early(certificate: &CertificateDer<'_>) -> Option<Self> {
        let info = CertificateInfo::parse(certificate).ok()?;
        if info.not_before.as_secs() >= 0 {
            return None;
        }
        let (signed, not_before) = locate(certificate)?;
        let start_of_1970: &[u8] = match *certificate.get(not_before.start.checked_sub(2)?)? {
            UTC_TIME => b"700101000000Z",
            // RFC 5280 §4.1.2.5 has no certificate say it so, hence none looks like a stand-in.
            GENERALIZED_TIME => b"19700101000000Z",
            _ => return None,
        };
        let mut stand_in = certificate.to_vec();
        let place = stand_in.get_mut(not_before)?;
        if place.len() != start_of_1970.len() {
            return None;
        }
        place.copy_from_slice(start_of_1970);
        Some(Self {
            original: certificate.clone().into_owned(),
            stand_in: stand_in.into(),
            signed,
        })
    }
}

/// Where the signed part of a certificate is, header and all, and the text of its notBefore.
fn locate(certificate: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let outer = element_at(certificate, 0, Some(SEQUENCE))?;
    let signed = element_at(certificate, outer.start, Some(SEQUENCE))?;
    let mut at = signed.start;
    if certificate.get(at) == Some(&VERSION) {
        at = element_at(certificate, at, None)?.end;
    }
    for _serial_algorithm_issuer in 0..3 {
        at = element_at(certificate, at, None)?.end;
    }
    let validity = element_at(certificate, at, Some(SEQUENCE))?;
    let not_before = element_at(certificate, validity.start, None)?;
    Some((outer.start..signed.end, not_before))
}

/// Where the content of the element at `at` is.
fn element_at(document: &[u8], at: usize, tag: Option<u8>) -> Option<Range<usize>> {
    let (element, rest) = split_first(document.get(at..)?)?;
    if tag.is_some_and(|tag| tag != element.tag) {
        return None;
    }
    let end = document.len() - rest.len();
    Some(end - element.content.len()..end)
}

/// An algorithm that looks at the signed bytes in place of those that the library has.
#[derive(Debug)]
pub(super) struct OverOriginal<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    early: &'a EarlyStarts,
}

impl OverOriginal<'_> {
    /// As the library takes it.
    pub(super) fn as_dyn(&self) -> &dyn SignatureVerificationAlgorithm {
        self
    }
}

impl SignatureVerificationAlgorithm for OverOriginal<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let signed = self.early.signed(message);
        self.algorithm
            .verify_signature(public_key, signed, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, GeneralSubtree, IsCa,
        Issuer, KeyUsagePurpose, NameConstraints, SanType,
    };

    use super::*;
    use crate::clock::UnixTime;
    use crate::secret::{KeyType, PrivateKey};
    use crate::x509::{UntrustedChain, verified_issuers};

    /// Within the hour for which the certificates below are valid.
    const NOW: UnixTime = UnixTime::from_secs(1_795_918_500);
    // Made by Go's x509.CreateCertificate from templates without NotBefore, as SPIRE's integration
    // suites make them.
    const GO_AUTHORITY: &str = "\
        MIIBRzCB76ADAgECAgEBMAoGCCqGSM49BAMCMBMxETAPBgNVBAMTCEFnZW50IENBMCAYDzAwMDEwMTAxMDAwMDAw\
        WhcNMjYxMTI5MDMxNDU3WjATMREwDwYDVQQDEwhBZ2VudCBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKfE\
        /bUBETKJXKgf8euOqhbquVwrHT1usyUnJEiH3rBlFqMEJq3cJLLoTZ/TYvXkU+l6cPsn2mLcMB4Ba22g8oajMjAw\
        MA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFIPw4/a0+uytp+yMwVK/M1Qh4mxvMAoGCCqGSM49BAMCA0cAMEQC\
        IGgs/ikYV7FzO+kUfw0//flF4ixZLBXl4nIxSOwLZRVBAiA0cTk3QBw3BYDTUI5VIe+z8a9J0D/ihUpmuCJ0ER/4\
        nw==";
    const GO_LEAF: &str = "\
        MIIBQTCB6aADAgECAgEAMAoGCCqGSM49BAMCMBMxETAPBgNVBAMTCEFnZW50IENBMCAYDzAwMDEwMTAxMDAwMDAw\
        WhcNMjYxMTI5MDMxNDU3WjAMMQowCAYDVQQDEwFhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEvdQ/nHkUFQU0\
        Xyb1GnyFNmEJ5sc5mr2NPTznhyyAzmkGEIoDZSaJdBWiNn2Vsrqg9h6U8J3VjQ7vg+bu1Fn+xqMzMDEwDgYDVR0P\
        AQH/BAQDAgeAMB8GA1UdIwQYMBaAFIPw4/a0+uytp+yMwVK/M1Qh4mxvMAoGCCqGSM49BAMCA0cAMEQCIHFDoIfp\
        iXg3rl4zJGorGGVxkloelzJJiq1mJBEtYqGpAiB/Xv7/nV2Kq4WcjuST4ME8db0jKAqkLtKdEqQOJMi78w==";

    struct Signer {
        certificate: CertificateDer<'static>,
        issuer: Issuer<'static, PrivateKey>,
    }

    fn params(name: &str, year: i32) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(year, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        params
    }

    fn authority(name: &str, year: i32) -> CertificateParams {
        let mut params = params(name, year);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn key() -> PrivateKey {
        PrivateKey::generate(KeyType::EcP256).unwrap()
    }

    fn root(params: CertificateParams) -> Signer {
        let key = key();
        Signer {
            certificate: params.self_signed(&key).unwrap().der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    impl Signer {
        fn sign(&self, params: &CertificateParams) -> CertificateDer<'static> {
            params
                .signed_by(&key(), &self.issuer)
                .unwrap()
                .der()
                .clone()
        }

        fn below(&self, params: CertificateParams) -> Self {
            let key = key();
            Self {
                certificate: params.signed_by(&key, &self.issuer).unwrap().der().clone(),
                issuer: Issuer::new(params, key),
            }
        }
    }

    fn issuers(
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'static>],
        root: &CertificateDer<'static>,
    ) -> Result<Vec<CertificateDer<'static>>, String> {
        let chain = UntrustedChain {
            leaf,
            intermediates,
        };
        let roots = std::slice::from_ref(root);
        verified_issuers(chain, roots, NOW).map_err(|error| error.to_string())
    }

    fn decode(text: &str) -> CertificateDer<'static> {
        STANDARD.decode(text).unwrap().into()
    }

    #[test]
    fn what_go_makes_without_a_start_is_taken_until_it_ends() {
        let (leaf, authority) = (decode(GO_LEAF), decode(GO_AUTHORITY));
        assert_eq!(
            issuers(&leaf, &[], &authority).as_deref(),
            Ok(std::slice::from_ref(&authority))
        );
        let chain = UntrustedChain {
            leaf: &leaf,
            intermediates: &[],
        };
        let later = NOW.saturating_add(Duration::from_secs(3600));
        verified_issuers(chain, &[authority], later).unwrap_err();
    }

    #[test]
    fn every_start_before_1970_is_one_that_has_been() {
        // The first two are written as GeneralizedTime, the others as UTCTime.
        for year in [1, 1949, 1950, 1969] {
            let root = root(authority("root", year));
            let middle = root.below(authority("middle", year));
            let leaf = middle.sign(&params("leaf", year));
            let told = issuers(
                &leaf,
                std::slice::from_ref(&middle.certificate),
                &root.certificate,
            );
            assert_eq!(
                told.unwrap(),
                [middle.certificate, root.certificate],
                "{year}"
            );
        }
    }

    #[test]
    fn the_start_is_part_of_what_is_signed() {
        let top = root(authority("root", 1));
        let leaf = top.sign(&params("leaf", 1));
        let moved = Moved::from_early(&leaf).unwrap();
        let refusal = |leaf: &CertificateDer<'static>| issuers(leaf, &[], &top.certificate);
        let wrong = "InvalidSignatureForPublicKey";
        assert_eq!(refusal(&moved.stand_in).unwrap_err(), wrong);
        for at in moved.signed {
            let mut changed = leaf.to_vec();
            changed[at] ^= 1;
            refusal(&changed.into()).unwrap_err();
        }
        let (_, not_before) = locate(&leaf).unwrap();
        let mut changed = leaf.to_vec();
        changed[not_before].copy_from_slice(b"00020101000000Z");
        assert_eq!(refusal(&changed.into()).unwrap_err(), wrong);
        let stranger = root(authority("root", 1));
        let refused = issuers(&leaf, &[], &stranger.certificate).unwrap_err();
        assert_eq!(refused, wrong);
    }

    #[test]
    fn all_else_is_checked_as_ever() {
        let refused = |root: &Signer, middle: CertificateParams, leaf: CertificateParams| {
            let middle = root.below(middle);
            let leaf = middle.sign(&leaf);
            issuers(&leaf, &[middle.certificate], &root.certificate).unwrap_err()
        };
        let top = root(authority("root", 1));
        let leaf = || params("leaf", 1);
        assert_eq!(
            refused(&top, params("middle", 1), leaf()),
            "EndEntityUsedAsCa"
        );
        let mut no_signer = authority("middle", 1);
        no_signer.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        assert_eq!(refused(&top, no_signer, leaf()), "UnknownIssuer");
        let mut ended = authority("middle", 1);
        ended.not_after = rcgen::date_time_ymd(2026, 1, 1);
        assert!(refused(&top, ended, leaf()).starts_with("CertExpired"));
        let mut ended = leaf();
        ended.not_after = rcgen::date_time_ymd(1960, 1, 1);
        refused(&top, authority("middle", 1), ended);
        let mut elsewhere = authority("middle", 1);
        elsewhere.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.org".to_owned())],
            excluded_subtrees: Vec::new(),
        });
        let mut named = leaf();
        named.subject_alt_names = vec![SanType::DnsName("example.com".try_into().unwrap())];
        assert_eq!(refused(&top, elsewhere, named), "NameConstraintViolation");
        let short = Signer::below(&top, {
            let mut short = authority("short", 1);
            short.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            short
        });
        let middle = short.below(authority("middle", 1));
        let below = middle.sign(&leaf());
        let between = [middle.certificate, short.certificate];
        let refused = issuers(&below, &between, &top.certificate).unwrap_err();
        assert_eq!(refused, "PathLenConstraintViolated");
    }

    #[test]
    fn damaged_certificates_have_no_stand_in_that_differs_elsewhere() {
        let leaf = root(authority("root", 1)).sign(&params("leaf", 1));
        for bit in 0..leaf.len() * 8 {
            let mut flipped = leaf.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Some(moved) = Moved::from_early(&flipped.clone().into()) else {
                continue;
            };
            let (_, not_before) = locate(&flipped).unwrap();
            assert_eq!(
                moved.stand_in[..not_before.start],
                flipped[..not_before.start]
            );
            assert_eq!(moved.stand_in[not_before.end..], flipped[not_before.end..]);
        }
        for len in 0..leaf.len() {
            let cut = CertificateDer::from(leaf[..len].to_vec());
            assert!(Moved::from_early(&cut).is_none(), "{len} bytes");
        }
    }
}
