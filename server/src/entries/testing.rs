//! Entries for tests.

use identity::clock::UnixTime;
use identity::entry::{EntryId, RegistrationEntry};
use identity::selector::Selector;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

/// An entry of `example.org` with a random id.
pub(crate) fn entry(path: &str, parent_path: &str, selectors: &[&str]) -> RegistrationEntry {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    RegistrationEntry {
        id: EntryId::random(),
        spiffe_id: SpiffeId::from_parts(&trust_domain, path).unwrap(),
        parent_id: SpiffeId::from_parts(&trust_domain, parent_path).unwrap(),
        selectors: selectors
            .iter()
            .map(|selector| Selector::parse(selector).unwrap())
            .collect(),
        x509_svid_ttl_s: 0,
        jwt_svid_ttl_s: 0,
        federates_with: Vec::new(),
        admin: false,
        downstream: false,
        expires_at: None,
        dns_names: Vec::new(),
        revision: 0,
        store_svid: false,
        hint: "".into(),
        additional_attributes: None,
        created_at: UnixTime::from_secs(1_700_000_000),
    }
}
