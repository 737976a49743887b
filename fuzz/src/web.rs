//! The web's side: certificates and keys in files, those that a discovery provider kept, and what callers ask for.
//!
//! Must hold: no certificate is shown with a key that is not its own, what cannot be used leaves the one before in
//! force, what was kept is kept when it is written again, and no document names a host that it is not for.

use std::sync::{Arc, LazyLock};

use acme::keeper::Keeper as _;
use daemon::web::{CertificateFiles, Origin, told};
use identity::bundle::KeyUse;
use identity::pem::{encode_certificates, encode_private_key};
use identity::secret::{KeyType, PrivateKey};
use identity::x509::CertificateInfo;
use oidc::discovery::Names;
use oidc::documents::{Parameters, PublicDocuments};
use oidc::domains::Domains;
use oidc::key_set::KeySet;
use oidc::web_certificates::WebCertificates;

use crate::input::{Input, join, plain};
use crate::world::{AUTHORITY, FOLDER, KEY, bundle, clock, in_time, written};

/// A byte that says what follows: two pairs of files, what was kept, or what a caller says.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => files(input),
        1 => kept(input),
        _ => asked(input),
    }
}

/// A certificate and its key, then those that take their place.
fn files(mut input: Input<'_>) {
    let first = [input.piece(), input.piece()];
    let second = [input.piece(), input.rest()];
    let write =
        |[certificate, key]: [&[u8]; 2]| (written("certificate", certificate), written("key", key));
    let (certificate, key) = write(first);
    let files = match CertificateFiles::load(certificate, key) {
        Ok(files) => files,
        Err(error) => {
            assert!(error.to_string().len() < 4096);
            return;
        }
    };
    is_pair(&files);
    let before = files.shown();
    write(second);
    if files.reloaded() {
        is_pair(&files);
    } else {
        assert!(Arc::ptr_eq(&before, &files.shown()));
    }
}

fn is_pair(files: &CertificateFiles) {
    let shown = files.shown();
    let leaf = CertificateInfo::parse(&shown.cert[0]);
    if let (Ok(leaf), Some(key)) = (leaf, shown.key.public_key()) {
        assert_eq!(leaf.public_key_der, key.as_ref());
    }
}

const DOMAIN: &str = "example.org";
const ACCOUNT: &str = "acme_account+key";

/// The key of the account, then the certificate of the domain with its key.
fn kept(mut input: Input<'_>) {
    written(ACCOUNT, input.piece());
    written(DOMAIN, input.rest());
    let open = || {
        let folder = Some(FOLDER.path().to_owned());
        WebCertificates::open(folder, "https://ca.test/").expect("the folder is there")
    };
    let (first, second) = (open(), open());
    in_time(async {
        if let Some(account) = first.account().await.expect("it can be read") {
            assert_eq!(account.key.key_type(), KeyType::EcP256);
            first.keep_account(account.clone()).await.expect("and kept");
            let again = second.account().await.expect("and read again");
            assert!(again.is_some_and(|again| again.key.pkcs8() == account.key.pkcs8()));
        }
        if let Some(certificate) = first.certificate(DOMAIN).await.expect("it can be read") {
            let _due = certificate.renew_at();
            let keeping = first.keep_certificate(DOMAIN, certificate.clone());
            keeping.await.expect("it is kept");
            let again = second.certificate(DOMAIN).await.expect("and read again");
            assert!(again.is_some_and(|again| again.chain() == certificate.chain()));
        }
    });
}

/// How the connection came, then all that is said on it.
fn asked(mut input: Input<'_>) {
    let is_tls = input.byte() % 2 == 1;
    let origin = Origin {
        remote: None,
        is_tls,
    };
    let documents = DOCUMENTS.clone();
    let told = in_time(told(input.rest(), origin, documents));
    let text = String::from_utf8_lossy(&told);
    for issuer in text.split("\"issuer\": \"").skip(1) {
        let (issuer, _) = issuer.split_once('"').expect("it ends");
        let host = issuer.split_once("://").map_or("", |(_, host)| host);
        let port = host.strip_prefix(DOMAIN).expect("it is of this domain");
        let port = port.strip_prefix(':').unwrap_or(port);
        assert!(port.bytes().all(|byte| byte.is_ascii_digit()), "{issuer}");
    }
}

static DOCUMENTS: LazyLock<Arc<PublicDocuments>> = LazyLock::new(|| {
    let keys = Arc::new(KeySet::new(clock(), KeyUse::Signature));
    keys.store(bundle().jwt_authorities);
    Arc::new(PublicDocuments::new(Parameters {
        names: Names {
            jwt_issuer: None,
            jwks_uri: None,
            path_prefix: "/".to_owned(),
        },
        domains: Domains::new(&[DOMAIN.to_owned()]).expect("it is a name"),
        keys,
        allow_insecure_scheme: true,
        log_requests: true,
    }))
});

/// A chain for a key, named as the domain is.
fn certificate(key: &PrivateKey) -> String {
    let params = rcgen::CertificateParams::new([DOMAIN.to_owned()]).expect("it is a name");
    encode_certificates(&AUTHORITY.sign(&params, key))
}

/// Good pairs, wrong ones, and a shipped request of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let other = PrivateKey::generate(KeyType::Rsa2048).expect("a key is made");
    let pem = |key: &PrivateKey| {
        let pem = encode_private_key(key);
        String::from_utf8(pem.expose().to_vec()).expect("PEM is text")
    };
    let (own, foreign) = (
        [certificate(&KEY), pem(&KEY)],
        [certificate(&other), pem(&other)],
    );
    let pair = |first: &[String; 2], second: [&String; 2]| {
        let start = join(&[0], [&first[0], &first[1], second[0]]);
        plain(&start, second[1])
    };
    let mut seeds = vec![
        pair(&own, [&foreign[0], &foreign[1]]),
        pair(&foreign, [&own[0], &foreign[1]]),
        pair(&own, [&own[1], &own[0]]),
        plain(&join(&[1], [&own[1]]), own[1].clone() + &own[0]),
        plain(&join(&[1], [&foreign[1]]), foreign[1].clone() + &foreign[0]),
    ];
    for said in [
        "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: example.org:8080\r\nForwarded: proto=https\r\n\r\n",
        "GET /keys HTTP/1.1\r\nHost: example.org\r\nIf-None-Match: \"x\"\r\nIf-Modified-Since: Fri, 15 Jan 2027 08:00:10 GMT\r\n\r\n",
        "GET http://example.org/keys HTTP/1.1\r\nHost: evil.test\r\nX-Forwarded-Proto: https\r\n\r\nHEAD /keys HTTP/1.1\r\nHost: example.org\r\n\r\n",
        "POST /keys HTTP/1.1\r\nHost: example.org\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        seeds.push(plain(&[2, 0], said));
        seeds.push(plain(&[2, 1], said));
    }
    seeds
}
