//! Small decoders at the edges: PROXY headers and networks, deadlines, page tokens, hosts and URLs, `/proc`, accounts,
//! operators' documents.

use std::net::SocketAddr;

use oidc::config::HttpUrl;
use oidc::domains::Domains;
use server::api::page_token::Page;
use server::endpoints::{Network, told_origin, told_timeout};

use crate::input::{Input, plain};
use crate::world::alone;

/// A byte that says what follows.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 8 {
        0 => proxy(input.rest()),
        1 => {
            if let Some(timeout) = told_timeout(input.rest()) {
                // Eight digits of hours are what a client can say at most.
                assert!(timeout.as_secs() <= 99_999_999 * 3600);
            }
        }
        2 => page(input),
        3 => host(input),
        4 => network(input),
        5 => process(input.rest()),
        6 => accounts(input),
        _ => documents(input.rest()),
    }
}

fn proxy(bytes: &[u8]) {
    let Ok((told, left)) = alone(told_origin(bytes)) else {
        return;
    };
    let header = &bytes[..bytes.len() - left];
    assert!(header.len() <= 16 + 2048);
    // What follows the header is the client's, and is not looked at.
    let alone_told = alone(told_origin(header)).expect("the header is whole");
    assert_eq!(alone_told, (told, 0));
    if let Some(origin) = told {
        assert_eq!(origin.to_string().parse::<SocketAddr>().ok(), Some(origin));
    }
}

fn page(mut input: Input<'_>) {
    let size = i32::from_be_bytes(input.number().to_be_bytes());
    let Some(token) = input.text() else {
        return;
    };
    match Page::parse(size, token) {
        Ok(page) => {
            if let Some(after) = page.after() {
                let next = page.next_token(Some(after));
                assert_eq!(Page::parse(size, &next).ok(), Some(page));
            }
            assert!(page.limit() > 0);
        }
        Err(error) => assert!(error.to_string().len() < 400),
    }
}

fn host(input: Input<'_>) {
    let Some(text) = input.text() else {
        return;
    };
    let domains = Domains::new(&["example.org".to_owned()]).expect("it is a name");
    match domains.check_host(text) {
        Ok(()) => assert!(text.starts_with("example.org")),
        Err(error) => assert!(error.to_string().len() < 4096),
    }
    if let Ok(url) = HttpUrl::parse(text) {
        assert_eq!(HttpUrl::parse(url.as_str()).ok().as_ref(), Some(&url));
        assert!(url.as_str().starts_with(url.origin()));
    }
}

fn network(input: Input<'_>) {
    if let Some(text) = input.text()
        && let Ok(network) = text.parse::<Network>()
    {
        assert_eq!(text.parse::<Network>(), Ok(network));
    }
}

/// What the kernel tells of a process, in which the process chose its own name.
fn process(file: &[u8]) {
    let text = String::from_utf8_lossy(file);
    let (ids, _) = daemon::unix::told_by_proc(&text);
    let attested = agent::attestor::told_by_status(&text);
    assert_eq!(attested.map(|(uid, gid, _)| (uid, gid)), ids);
}

fn accounts(input: Input<'_>) {
    for line in input.text().unwrap_or_default().lines() {
        if let Some((_, name)) = agent::attestor::told_by_account(line) {
            assert!(!name.is_empty() && line.starts_with(name));
        }
    }
}

/// What operators hand to the command line.
fn documents(document: &[u8]) {
    server::cli::reads_as_documents(document);
}

/// Both versions of the header with what may follow, and a good one of everything else.
pub fn seeds() -> Vec<Vec<u8>> {
    let v2 = b"\r\n\r\n\0\r\nQUIT\n";
    let v4 = b"\x21\x11\x00\x0c\x0a\0\0\x01\x0a\0\0\x02\x1f\x90\x1f\x91\x16\x03";
    let v6 = [b"\x21\x21\x00\x24".as_slice(), &[1; 32], &[0, 80, 1, 187]].concat();
    vec![
        plain(&[0], "PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n\u{16}"),
        plain(&[0], "PROXY TCP6 2001:db8::1 ::1 1 2\r\n"),
        plain(&[0], "PROXY UNKNOWN some thing\r\n"),
        plain(&[0], [v2.as_slice(), v4].concat()),
        plain(&[0], [v2.as_slice(), &v6].concat()),
        plain(&[0], [v2.as_slice(), b"\x20\x00\x00\x00"].concat()),
        plain(&[1], "99999999H"),
        plain(&[2, 0, 0, 0, 10], "c1-ff"),
        plain(&[3], "example.org:443"),
        plain(&[3], "https://issuer.example.org:8443/path"),
        plain(&[4], "10.0.0.0/8"),
        plain(&[4], "::/0"),
        plain(
            &[5],
            "Name:\ta) S (b\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 20 \n",
        ),
        plain(
            &[5],
            "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20",
        ),
        plain(&[6], "root:x:0:0::/root:/bin/sh\n+nis::1\napp:x:1000:\n"),
        plain(&[7], ENTRIES),
        plain(&[7], br#"{"ids":["a",null]}"#),
        plain(&[7], RELATIONSHIPS),
    ]
}

const ENTRIES: &str = r#"{"entries":[{"spiffe_id":"spiffe://example.org/w","parent_id":"spiffe://example.org/p",
    "selectors":[{"type":"unix","value":"uid:1"}],"ttl":60,"federates_with":["other.org"],"entryExpiry":1,
    "dns_names":["a.b"],"additional_attributes":{"disable_x509_svid_prefetch":true}}]}"#;

const RELATIONSHIPS: &str = r#"{"federationRelationships":[{"trustDomain":"other.org",
    "bundleEndpointURL":"https://other.org/b","bundleEndpointProfile":"https_spiffe",
    "endpointSPIFFEID":"spiffe://other.org/e","trustDomainBundle":{"keys":[]},"trustDomainBundleFormat":"spiffe"}]}"#;
