//! Whom agents and discovery providers believe, as programs of the same host or files tell it: bundles and keys.
//!
//! Must hold: whoever tells it, a question ends in time, what is believed is of the trust domain that was asked for, and
//! nobody is believed who is told of not at all.

use std::path::PathBuf;
use std::sync::LazyLock;

use agent::bootstrap::{Occasion, TrustSource};
use agent::client::ServerAddress;
use agent::config::{Bootstrap, BundleFormat};
use bytes::Bytes;
use oidc::config::Source;
use oidc::source::poll_once;
use prost::Message as _;
use proto::convert;
use proto::workload::{JwtBundlesResponse, X509BundlesResponse};

use crate::foreign::{Answer, Stranger, refused, said};
use crate::input::{Input, plain};
use crate::world::{AUTHORITY, NOW, OWN, in_time, written};

/// A byte that says who is asked, then what he says.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte() % 8;
    let format = match kind % 2 {
        0 => BundleFormat::Pem,
        _ => BundleFormat::Spiffe,
    };
    match kind {
        0 => keys(Source::ServerApi {
            socket: answering(input),
        }),
        1 => keys(Source::WorkloadApi {
            socket: answering(input),
            trust_domain: OWN.clone(),
        }),
        2 => keys(Source::File {
            path: written("bundle", input.rest()),
        }),
        3 => bundle(Bootstrap::WorkloadApi {
            socket: answering(input),
        }),
        4 | 5 => bundle(Bootstrap::BundleFile {
            path: written("bundle", input.rest()),
            format,
        }),
        _ => {
            BABBLER.says.set([Bytes::copy_from_slice(input.rest())]);
            bundle(Bootstrap::BundleSocket {
                socket: BABBLER.socket(),
                url: "http://localhost/bundle".to_owned(),
                format,
            });
        }
    }
}

static STRANGER: LazyLock<Stranger<Answer>> = LazyLock::new(Stranger::answering);

static BABBLER: LazyLock<Stranger<Bytes>> = LazyLock::new(Stranger::babbling);

/// The socket at which the input is said.
fn answering(input: Input<'_>) -> PathBuf {
    STRANGER.says.set([Answer::of(input)]);
    STRANGER.socket()
}

fn keys(source: Source) {
    match in_time(poll_once(&source)) {
        Ok(authorities) => assert!(authorities.iter().all(|key| !key.public_key.is_empty())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn bundle(bootstrap: Bootstrap) {
    let source = TrustSource {
        bootstrap,
        trust_domain: OWN.clone(),
        server: ServerAddress {
            host: "server".to_owned(),
            port: 8081,
        },
    };
    let occasion = Occasion {
        is_rebootstrap: true,
        attempt: 2,
        since: NOW,
    };
    if let Ok(told) = in_time(source.bundle(&occasion)) {
        let told = told.expect("nobody is believed without a bundle");
        assert_eq!(told.trust_domain, *OWN);
        assert!(!told.x509_authorities.is_empty());
    }
}

/// What each of them says when all is well, and a refusal.
pub fn seeds() -> Vec<Vec<u8>> {
    let own = AUTHORITY.bundle();
    let (pem, json) = (own.to_pem(), own.to_spiffe_jwks());
    let answer = |kind: u8, message: Vec<u8>| plain(&[kind], said([message]));
    let http = |body: &str| {
        let len = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}")
    };
    let id = "spiffe://example.org".to_owned();
    let jwt = JwtBundlesResponse {
        bundles: [(id.clone(), own.jwt_jwks())].into(),
    };
    let x509 = X509BundlesResponse {
        bundles: [(id, own.x509_authorities[0].certificate.to_vec())].into(),
        ..X509BundlesResponse::default()
    };
    vec![
        answer(0, convert::bundle::to_wire(&own, None).encode_to_vec()),
        answer(1, jwt.encode_to_vec()),
        plain(&[2], &json),
        answer(3, x509.encode_to_vec()),
        plain(&[4], &pem),
        plain(&[5], &json),
        plain(&[6], http(&pem)),
        plain(&[7], http(&json)),
        plain(&[7], "HTTP/1.1 404 Not Found\r\n\r\n"),
        plain(&[1], refused(7, "no identity issued")),
    ]
}
