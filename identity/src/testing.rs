//! A trust domain made on the spot, for tests of whoever needs SVIDs and bundles.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;

use crate::bundle::{Bundle, JwtAuthority, X509Authority};
use crate::clock::{Clock as _, SystemClock, UnixTime};
use crate::jwt_svid::{JwtClaims, JwtSvid, sign_jwt_svid};
use crate::secret::{KeyType, PrivateKey};
use crate::spiffe_id::SpiffeId;
use crate::trust_domain::TrustDomain;
use crate::x509::subject_key_id;
use crate::x509_svid::X509Svid;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A root, an intermediate that signs, and a JWT key; everything valid for a day around the time of
/// its making.
#[derive(Debug)]
pub struct TestAuthority {
    trust_domain: TrustDomain,
    now: UnixTime,
    root: CertificateDer<'static>,
    intermediate: CertificateDer<'static>,
    issuer: Signer,
    jwt_key: Key,
    jwt_key_id: String,
    /// Those that signed before.
    former: Bundle,
}

struct Signer(Issuer<'static, PrivateKey>);

struct Key(PrivateKey);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl TestAuthority {
    /// A new trust domain at the system's time.
    pub fn new(trust_domain: &str) -> Self {
        Self::at(trust_domain, SystemClock.now())
    }

    /// A new trust domain at `now`.
    pub fn at(trust_domain: &str, now: UnixTime) -> Self {
        let trust_domain = TrustDomain::parse(trust_domain).expect("tests name valid domains");
        let validity = (now.saturating_sub(DAY), now.saturating_add(DAY));
        let root_key = new_key();
        let root_params = ca_params(&trust_domain, "root", &root_key, validity);
        let root = root_params.self_signed(&root_key).expect("a root signs");
        let root_issuer = Issuer::new(root_params, root_key);
        let key = new_key();
        let params = ca_params(&trust_domain, "intermediate", &key, validity);
        let intermediate = params
            .signed_by(&key, &root_issuer)
            .expect("a root signs an intermediate");
        Self {
            now,
            root: root.der().clone(),
            intermediate: intermediate.der().clone(),
            issuer: Signer(Issuer::new(params, key)),
            jwt_key: Key(new_key()),
            jwt_key_id: "test-jwt-key".into(),
            former: Bundle::empty(trust_domain.clone()),
            trust_domain,
        }
    }

    /// Signs with a new root, intermediate and JWT key from now on. Those before stay in the bundle
    /// and are tainted.
    pub fn rotate_and_taint(&mut self) {
        let mut former = self.bundle();
        for root in &mut former.x509_authorities {
            root.tainted = true;
        }
        for key in &mut former.jwt_authorities {
            key.tainted = true;
        }
        let next = Self::at(self.trust_domain.as_str(), self.now);
        let jwt_key_id = format!("{}-{}", next.jwt_key_id, former.sequence);
        *self = Self {
            former,
            jwt_key_id,
            ..next
        };
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The id with `path` in the trust domain.
    pub fn spiffe_id(&self, path: &str) -> SpiffeId {
        SpiffeId::from_parts(&self.trust_domain, path).expect("tests name valid paths")
    }

    /// The root certificate and the JWT key, after those that signed before.
    pub fn bundle(&self) -> Bundle {
        let mut bundle = self.former.clone();
        bundle.x509_authorities.push(X509Authority {
            certificate: self.root.clone(),
            tainted: false,
        });
        bundle.jwt_authorities.push(JwtAuthority {
            key_id: self.jwt_key_id.as_str().into(),
            public_key: self.jwt_key.0.public_key_der().to_vec(),
            expires_at: None,
            tainted: false,
        });
        bundle.sequence += 1;
        bundle
    }

    /// The key that signs JWT-SVIDs, and its id.
    pub fn jwt_key(&self) -> (&PrivateKey, &str) {
        (&self.jwt_key.0, &self.jwt_key_id)
    }

    /// An SVID that is valid for an hour.
    pub fn x509_svid(&self, path: &str) -> X509Svid {
        let not_after = self.now.saturating_add(Duration::from_secs(3600));
        self.x509_svid_between(path, self.now, not_after)
    }

    /// An SVID that is valid from `not_before` to `not_after`.
    pub fn x509_svid_between(
        &self,
        path: &str,
        not_before: UnixTime,
        not_after: UnixTime,
    ) -> X509Svid {
        let key = new_key();
        let params = self.leaf_params(path, key.public_key_der(), (not_before, not_after));
        X509Svid::new(self.sign(&params, &key), key).expect("what was made here is an SVID")
    }

    /// A chain for the P-256 public key of somebody else, as a server makes one of a CSR.
    pub fn chain_for(
        &self,
        path: &str,
        public_key_der: &[u8],
        not_before: UnixTime,
        not_after: UnixTime,
    ) -> Vec<CertificateDer<'static>> {
        let params = self.leaf_params(path, public_key_der, (not_before, not_after));
        let key = P256Key(public_key_der);
        let leaf = params.signed_by(&key, &self.issuer.0);
        let leaf = leaf.expect("an intermediate signs");
        vec![leaf.der().clone(), self.intermediate.clone()]
    }

    fn leaf_params(
        &self,
        path: &str,
        public_key_der: &[u8],
        validity: (UnixTime, UnixTime),
    ) -> CertificateParams {
        let mut params = params(public_key_der, validity);
        params.subject_alt_names = vec![uri(&self.spiffe_id(path))];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyAgreement,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params
    }

    /// A token that is valid for five minutes.
    pub fn jwt_svid(&self, path: &str, audience: &[&str]) -> JwtSvid {
        let claims = JwtClaims {
            spiffe_id: self.spiffe_id(path),
            audience: audience.iter().map(|&text| text.into()).collect(),
            issued_at: self.now,
            expires_at: self.now.saturating_add(Duration::from_secs(300)),
            issuer: None,
            jti: None,
        };
        let (key, key_id) = self.jwt_key();
        sign_jwt_svid(key, key_id, &claims).expect("tests name an audience")
    }

    /// A chain for `key` as `params` says, with the intermediate behind it: for certificates that
    /// are no SVIDs.
    pub fn sign(
        &self,
        params: &CertificateParams,
        key: &PrivateKey,
    ) -> Vec<CertificateDer<'static>> {
        let leaf = params
            .signed_by(key, &self.issuer.0)
            .expect("an intermediate signs");
        vec![leaf.der().clone(), self.intermediate.clone()]
    }
}

/// An authority of some other PKI, as operators keep one in files to have a server's authorities
/// signed by it. It has no SPIFFE name.
pub struct TestPki {
    key: PrivateKey,
    certificate: CertificateDer<'static>,
    params: CertificateParams,
}

impl TestPki {
    /// A root that is valid for a year around `now`.
    pub fn root(name: &str, now: UnixTime) -> Self {
        let validity = (now.saturating_sub(182 * DAY), now.saturating_add(183 * DAY));
        Self::root_between(name, validity)
    }

    /// A root that is valid from one second to another.
    pub fn root_between(name: &str, validity: (UnixTime, UnixTime)) -> Self {
        let key = new_key();
        let params = Self::params(name, &key, validity);
        let certificate = params.self_signed(&key).expect("a root signs");
        Self {
            certificate: certificate.der().clone(),
            key,
            params,
        }
    }

    /// An authority below this one, valid for as long as it.
    pub fn below(&self, name: &str) -> Self {
        self.below_with(name, new_key())
    }

    /// The same with a key of the caller's.
    pub fn below_with(&self, name: &str, key: PrivateKey) -> Self {
        let validity = (self.params.not_before, self.params.not_after);
        let mut params = Self::params(name, &key, (UnixTime::default(), UnixTime::default()));
        (params.not_before, params.not_after) = validity;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).expect("a root signs");
        Self {
            certificate: certificate.der().clone(),
            key,
            params,
        }
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    fn params(name: &str, key: &PrivateKey, validity: (UnixTime, UnixTime)) -> CertificateParams {
        let mut params = params(key.public_key_der(), validity);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }
}

impl std::fmt::Debug for TestPki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestPki")
    }
}

/// A P-256 public key in the form of SubjectPublicKeyInfo.
struct P256Key<'a>(&'a [u8]);

impl rcgen::PublicKeyData for P256Key<'_> {
    fn der_bytes(&self) -> &[u8] {
        // An uncompressed point, which is the last part.
        let start = self.0.len().checked_sub(65).expect("the key has a point");
        &self.0[start..]
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

fn new_key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).expect("the library makes keys")
}

fn ca_params(
    trust_domain: &TrustDomain,
    name: &str,
    key: &PrivateKey,
    validity: (UnixTime, UnixTime),
) -> CertificateParams {
    let mut params = params(key.public_key_der(), validity);
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![uri(&SpiffeId::of_trust_domain(trust_domain))];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(
    public_key_der: &[u8],
    (not_before, not_after): (UnixTime, UnixTime),
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "SPIRE");
    params.not_before = date(not_before);
    params.not_after = date(not_after);
    let serial = uuid::Uuid::new_v4();
    params.serial_number = Some(serial.as_bytes().to_vec().into());
    params.use_authority_key_identifier_extension = true;
    let key_id = subject_key_id(public_key_der).expect("a key has an identifier");
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id.to_vec());
    params
}

fn uri(id: &SpiffeId) -> SanType {
    SanType::URI(id.as_str().try_into().expect("ids are ASCII"))
}

fn date(time: UnixTime) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(time.as_secs()).expect("tests live in our time")
}
