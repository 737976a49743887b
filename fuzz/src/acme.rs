//! What ACME servers say, from the directory to the chain.
//!
//! Must hold: no conversation stops the process or goes on for longer than it has answers, and what is issued for a key
//! that nobody else has is no certificate of anybody's.

use std::sync::LazyLock;

use acme::fuzzing::ordered;
use acme::settings::Settings;
use bytes::Bytes;
use http::{Response, StatusCode};
use identity::pem::encode_certificates;

use crate::input::{Input, join};
use crate::world::{AUTHORITY, patiently};

/// One answer a piece: its status, which headers it has, and its body.
pub fn run(data: &[u8]) {
    let answers = Input::new(data).pieces(MAX_ANSWERS);
    let answers = answers.into_iter().map(answer).collect();
    let ordered = patiently(ordered(&SETTINGS, DOMAIN, answers));
    match ordered {
        Ok(_) => panic!("nobody can issue for a key that was made a moment ago"),
        Err(error) => assert!(error.to_string().len() < 400),
    }
}

const MAX_ANSWERS: usize = 24;
const DOMAIN: &str = "example.org";

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let settings = Settings::new("https://ca.test/directory", "a@example.org", true);
    settings.expect("they are good")
});

/// A status, and bits for headers, of which some have a value of the input.
fn answer(piece: &[u8]) -> Response<Bytes> {
    let mut input = Input::new(piece);
    // From 100 on; what HTTP has no status for is a success.
    let status = StatusCode::from_u16(u16::from(input.byte()) + 100).unwrap_or_default();
    let headers = input.byte();
    let (value, body) = match headers & 8 {
        0 => (&b""[..], input.rest()),
        _ => (input.piece(), input.rest()),
    };
    let mut answer = Response::builder().status(status);
    if headers & 1 != 0 {
        answer = answer.header("replay-nonce", "bm9uY2U");
    }
    if headers & 2 != 0 {
        answer = answer.header("location", "https://ca.test/it");
    }
    for (bit, name) in [(4, "retry-after"), (16, "location"), (32, "replay-nonce")] {
        if headers & bit != 0 {
            answer = answer.header(name, value);
        }
    }
    let answer = answer.body(Bytes::copy_from_slice(body));
    answer.unwrap_or_else(|_unfit_value| Response::new(Bytes::new()))
}

/// A whole order; one whose domain is known; one whose proof is not found; problems.
pub fn seeds() -> Vec<Vec<u8>> {
    let directory = said(200, 0, DIRECTORY);
    let nonce = said(200, 1, "");
    let account = said(
        201,
        3,
        r#"{"status":"valid","orders":"https://ca.test/orders"}"#,
    );
    let begun = [
        directory.clone(),
        nonce.clone(),
        account,
        nonce,
        said(201, 3, &order("pending")),
    ];
    let challenge = r#"{"type":"tls-alpn-01","url":"https://ca.test/ch","status":"processing","token":"dG9rZW4"}"#;
    let chain = encode_certificates(AUTHORITY.x509_svid("/w").chain());
    let whole = [
        said(200, 1, &authorization("pending")),
        said(200, 1, challenge),
        said(200, 1, &order("pending")),
        said(200, 1, &order("ready")),
        said(200, 1, &order("processing")),
        said(200, 1, &order("valid")),
        said(200, 1, &chain),
    ];
    let known = [
        said(200, 1, &authorization("valid")),
        said(200, 1, &order("ready")),
        said(200, 1, &order("processing")),
        said(200, 1, &order("valid")),
        said(200, 1, &chain),
    ];
    let failed = [
        said(200, 1, &authorization("pending")),
        said(200, 1, challenge),
        said(200, 1, &order("invalid")),
        said(200, 1, &authorization("invalid")),
    ];
    let refused = [said(
        230,
        1,
        r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"slow","status":429,"subproblems":[]}"#,
    )];
    let mut seeds: Vec<_> = [&whole[..], &known, &failed, &refused]
        .into_iter()
        .map(|rest| join(&[], begun.iter().chain(rest)))
        .collect();
    // Seconds and a date to wait, and a nonce of its own.
    for (bits, value) in [
        (12, "3"),
        (12, "Fri, 15 Jan 2027 08:00:10 GMT"),
        (40, "AAAA"),
    ] {
        let waits = join(&[100, bits], [value]);
        seeds.push(join(&[], [&directory, &waits, &waits]));
    }
    seeds
}

fn said(status: u8, headers: u8, body: &str) -> Vec<u8> {
    let start = [status - 100, headers];
    [&start, body.as_bytes()].concat()
}

fn order(status: &str) -> String {
    format!(
        r#"{{"status":"{status}","expires":"2027-01-20T00:00:00Z","identifiers":[{{"type":"dns","value":"{DOMAIN}"}}],
        "authorizations":["https://ca.test/authz"],"finalize":"https://ca.test/fin","certificate":"https://ca.test/cert"}}"#
    )
}

fn authorization(status: &str) -> String {
    format!(
        r#"{{"status":"{status}","identifier":{{"type":"dns","value":"{DOMAIN}"}},"wildcard":false,
        "challenges":[{{"type":"tls-alpn-01","url":"https://ca.test/ch","status":"pending","token":"dG9rZW4"}}]}}"#
    )
}

const DIRECTORY: &str = r#"{"newNonce":"https://ca.test/nonce","newAccount":"https://ca.test/account",
    "newOrder":"https://ca.test/order","newAuthz":null,"revokeCert":"https://ca.test/revoke",
    "keyChange":"https://ca.test/key","renewalInfo":"https://ca.test/ari","meta":{"termsOfService":"https://ca.test/tos"}}"#;
