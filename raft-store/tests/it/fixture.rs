//! A store in a directory of its own.

use std::path::Path;

use identity::clock::UnixTime;
use identity::entry::{EntryId, RegistrationEntry};
use identity::selector::{Selector, SelectorSet};
use identity::spiffe_id::SpiffeId;
use raft_store::{
    CreateEntries, CreateEntryOutcome, Driver, FileSeal, OpenError, Options, Proposal, Store,
};

/// How long a store may take to start.
pub(crate) const STARTS: std::time::Duration = std::time::Duration::from_secs(60);

/// The time at which all test commands are proposed.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// Opens the store below `path`.
pub(crate) async fn open(path: &Path) -> Result<(Store, Driver), OpenError> {
    Store::start(options(path), STARTS).await
}

/// Options of the store below `path`.
pub(crate) fn options(path: &Path) -> Options {
    let seal = FileSeal::at(&path.join("seal.key"));
    Options::new(path.join("store"), Box::new(seal))
}

/// Closes the store and waits until its directory is free.
pub(crate) async fn close(store: Store, driver: Driver) {
    store.close().await.expect("orderly end");
    driver.run().await.expect("orderly end");
}

/// A new intent.
pub(crate) fn proposal() -> Proposal {
    Proposal::new(NOW)
}

/// An entry whose id and path are `name`.
pub(crate) fn entry(name: &str) -> RegistrationEntry {
    let id = |path: &str| SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap();
    RegistrationEntry {
        id: EntryId::parse(name).unwrap(),
        spiffe_id: id(name),
        parent_id: id("spire/agent/join_token/host"),
        selectors: SelectorSet::from_iter([Selector::new("unix", "uid:1000").unwrap()]),
        x509_svid_ttl_s: 0,
        jwt_svid_ttl_s: 0,
        federates_with: Vec::new(),
        admin: false,
        downstream: false,
        expires_at: None,
        dns_names: Vec::new(),
        revision: 0,
        store_svid: false,
        hint: Box::default(),
        additional_attributes: None,
        created_at: NOW,
    }
}

/// An entry of three million bytes.
pub(crate) fn large_entry(name: &str) -> RegistrationEntry {
    let value = "x".repeat(30_000);
    let selectors = (0..100).map(|number| {
        let value = format!("{number}:{value}");
        Selector::new("large", &value).unwrap()
    });
    RegistrationEntry {
        selectors: selectors.collect(),
        ..entry(name)
    }
}

/// Creates one entry; it must be new.
pub(crate) async fn create(store: &Store, name: &str) {
    let entries = vec![entry(name)];
    let outcome = store.propose(CreateEntries { entries }, proposal()).await;
    assert!(matches!(
        outcome.unwrap().as_slice(),
        [CreateEntryOutcome::Created(_)]
    ));
}
