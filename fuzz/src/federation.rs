//! What other trust domains publish: the answers of their bundle endpoints, the addresses of these, and relationships
//! on the wire.

use daemon::https::answered;
use identity::bundle::{Bundle, MAX_JWKS_LEN_BYTES};
use identity::federation::BundleEndpointUrl;
use prost::Message as _;
use proto::convert;
use proto::spire::api::types::federation_relationship::BundleEndpointProfile;
use proto::spire::api::types::{FederationRelationship, HttpsWebProfile, HttpsspiffeProfile};

use crate::input::{Input, join, plain};
use crate::world::{AUTHORITY, OWN, alone};

/// A byte that says what follows.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => {
            let url = std::str::from_utf8(input.piece()).unwrap_or(URL);
            answer(url, input.rest());
        }
        1 => address(input),
        _ => relationship(input.rest()),
    }
}

/// What a host says on a connection, as far as it gets with us.
fn answer(url: &str, bytes: &[u8]) {
    let document = match alone(answered(url, bytes, LIMIT_BYTES)) {
        Ok(document) => document,
        Err(error) => {
            // A byte has six digits and signs at worst, as in `\u{7f}`.
            assert!(error.to_string().len() < 6 * url.len() + 64);
            return;
        }
    };
    assert!(!matches!(
        document.status.as_u16(),
        301 | 302 | 303 | 307 | 308
    ));
    assert!(document.body.len() <= LIMIT_BYTES && document.body.len() <= bytes.len());
    if let Ok(bundle) = Bundle::from_spiffe_jwks(&OWN, &document.body) {
        assert_eq!(bundle.trust_domain, *OWN);
    }
}

/// Less than an input can have, so that the limit is met.
const LIMIT_BYTES: usize = 8 << 10;
const _: () = assert!(LIMIT_BYTES < MAX_JWKS_LEN_BYTES);

const URL: &str = "https://other.org/bundle";

fn address(input: Input<'_>) {
    let Some(text) = input.text() else {
        return;
    };
    match BundleEndpointUrl::parse(text) {
        Ok(url) => {
            assert_eq!(url.as_str(), text);
            // What is stored can be asked, or is refused when it is.
            alone(answered(text, OK, LIMIT_BYTES)).ok();
        }
        // Each byte of it escaped at worst.
        Err(error) => {
            assert!(error.to_string().len() < 10 * BundleEndpointUrl::MAX_LEN_BYTES + 200)
        }
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn relationship(bytes: &[u8]) {
    let Ok(wire) = FederationRelationship::decode(bytes) else {
        return;
    };
    let Ok((relationship, bundle)) = convert::federation::new(&wire) else {
        return;
    };
    if let Some(bundle) = &bundle {
        assert_eq!(bundle.trust_domain, relationship.trust_domain);
    }
    let written = convert::federation::to_wire(&relationship, bundle.as_ref(), None);
    let again = convert::federation::new(&written);
    assert_eq!(again.ok(), Some((relationship, bundle)));
}

/// A bundle in one piece and in chunks, a redirection, a lie about the length; an address; relationships.
pub fn seeds() -> Vec<Vec<u8>> {
    let json = AUTHORITY.bundle().to_spiffe_jwks();
    let len = json.len();
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{json}");
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{len:x}\r\n{json}\r\n0\r\n\r\n"
    );
    let moved = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    let lie = "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{}";
    let answers = [
        &whole,
        &chunked,
        moved,
        lie,
        "HTTP/1.1 100 Continue\r\n\r\n",
    ];
    let mut seeds: Vec<_> = answers
        .iter()
        .map(|answer| plain(&join(&[0], [URL]), answer))
        .collect();
    seeds.push(plain(&[1], "https://[::1]:8443/b?c"));
    let web = BundleEndpointProfile::HttpsWeb(HttpsWebProfile {});
    let spiffe = BundleEndpointProfile::HttpsSpiffe(HttpsspiffeProfile {
        endpoint_spiffe_id: "spiffe://other.org/e".to_owned(),
    });
    for profile in [web, spiffe] {
        let wire = FederationRelationship {
            trust_domain: OWN.as_str().to_owned(),
            bundle_endpoint_url: URL.to_owned(),
            bundle_endpoint_profile: Some(profile),
            trust_domain_bundle: Some(convert::bundle::to_wire(&AUTHORITY.bundle(), None)),
        };
        seeds.push(plain(&[2], wire.encode_to_vec()));
    }
    seeds
}
