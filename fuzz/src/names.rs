//! SPIFFE IDs, trust domains, selectors, DNS names, ids of entries and Go's durations: text that becomes a
//! value is written as it came.

use daemon::duration::{format_go, parse_go};
use identity::dns_name::DnsName;
use identity::entry::EntryId;
use identity::selector::{Selector, SelectorSet};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

/// Names and durations, one a line.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for line in text.split('\n') {
        spiffe_id(line);
        trust_domain(line);
        if let Ok(selector) = Selector::parse(line) {
            assert_eq!(selector.to_string(), line);
            let parts = Selector::new(selector.kind(), selector.value());
            assert_eq!(parts.as_ref(), Ok(&selector));
        }
        if let Ok(id) = EntryId::parse(line) {
            assert_eq!(id.as_str(), line);
        }
        if let Ok(duration) = parse_go(line) {
            assert_eq!(parse_go(&format_go(duration)), Ok(duration), "{line}");
        }
    }
    dns_names(text);
    selectors(text);
}

fn spiffe_id(text: &str) {
    let Ok(id) = SpiffeId::parse(text) else {
        return;
    };
    assert_eq!(id.as_str(), text);
    assert_eq!(
        id.as_str(),
        format!("spiffe://{}{}", id.trust_domain(), id.path())
    );
    assert_eq!(
        SpiffeId::from_parts(id.trust_domain(), id.path()).as_ref(),
        Ok(&id)
    );
    assert_eq!(TrustDomain::parse(text).as_ref(), Ok(id.trust_domain()));
    assert!(id.as_str().len() <= SpiffeId::MAX_LEN_BYTES);
    assert!(id.path().is_empty() || id.path().starts_with('/'));
    for segment in id.path().split('/').skip(1) {
        assert!(!["", ".", ".."].contains(&segment), "{text:?}");
    }
    assert!(!(id.is_agent() || id.is_server()) || id.is_reserved());
}

fn trust_domain(text: &str) {
    let Ok(name) = TrustDomain::parse(text) else {
        return;
    };
    assert_eq!(TrustDomain::parse(name.as_str()).as_ref(), Ok(&name));
    assert_eq!(TrustDomain::parse(&name.id_string()).as_ref(), Ok(&name));
    // A token is a segment, so it cannot name an agent of another kind.
    if let Ok(id) = SpiffeId::join_token_agent(&name, text) {
        assert_eq!(id.path().split('/').count(), 5);
    }
}

fn dns_names(text: &str) {
    let names: Vec<DnsName> = text
        .split('\n')
        .filter_map(|line| {
            DnsName::parse(line)
                .ok()
                .inspect(|name| assert_eq!(name.as_str(), line))
        })
        .collect();
    DnsName::check_overlap(&names).ok();
}

fn selectors(text: &str) {
    let list: Vec<Selector> = text
        .split('\n')
        .filter_map(|line| Selector::parse(line).ok())
        .collect();
    let set: SelectorSet = list.iter().cloned().collect();
    assert!(list.iter().all(|one| set.contains(one)));
    if let Ok(distinct) = SelectorSet::try_from(list) {
        assert_eq!(distinct, set);
    }
    assert!(set.is_subset(&set) && set.union(&set) == set);
}

/// Each kind of name, and what is nearly one.
pub fn seeds() -> Vec<Vec<u8>> {
    [
        "spiffe://example.org/spire/agent/join_token/abc",
        "spiffe://example.org/spire/server",
        "spiffe://a_b-c.0/x/y/z\nspiffe://td/.a/a./..b\nspiffe://td/a//b",
        "example.org\ntd\nspiffe:/td\n",
        "unix:uid:1000\nk8s:ns:default\nunix:uid:1000\n:x\nx:",
        "*.example.org\na.example.org\nxn--a.b\na--b\na_b c.d\n",
        "1h30m0s\n1.5s\n100ms\n-5s\n0\n+3us\n2562047h47m16.854775807s\n1µs",
        "entry-1.A_b",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
