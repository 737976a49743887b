//! What records cost in memory. `RAFT_STORE_FIGURES=1 … --nocapture memory` prints it.
#![expect(clippy::print_stderr, reason = "figures are to be seen")]

use identity::clock::UnixTime;
use identity::entry::{EntryId, RegistrationEntry};
use identity::selector::{Selector, SelectorSet};
use identity::spiffe_id::SpiffeId;

use crate::command::{CreateEntries, Envelope, RequestId};
use crate::state::{Loader, State};

const FIGURES: &str = "RAFT_STORE_FIGURES";

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn entry(number: u64) -> RegistrationEntry {
    let id = |path: String| SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap();
    let name = format!("seed-{number}");
    let selector = |kind, value: &str| Selector::new(kind, value).unwrap();
    RegistrationEntry {
        id: EntryId::random(),
        spiffe_id: id(format!("load/{name}")),
        parent_id: id(format!("spire/agent/load/host-{}", number / 100)),
        selectors: SelectorSet::from_iter([selector("unix", "uid:0"), selector("load", &name)]),
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
        created_at: UnixTime::from_secs(1_800_000_000),
    }
}

fn batch(number: u64) -> Envelope {
    Envelope {
        request_id: RequestId::from_bytes(u128::from(number).to_be_bytes()),
        at: UnixTime::from_secs(1_800_000_000),
        command: CreateEntries {
            entries: (number * 500..(number + 1) * 500).map(entry).collect(),
        }
        .into(),
    }
}

#[test]
fn entries_in_figures() {
    if std::env::var_os(FIGURES).is_none() {
        return;
    }
    eprintln!("entry: {} bytes", size_of::<RegistrationEntry>());
    let before = resident_kib();
    let mut state = State::default();
    let mut rows = Vec::new();
    for number in 0..200 {
        rows.push(state.apply(number, &batch(number)).rows.len());
    }
    let after = resident_kib();
    eprintln!("100,000 entries applied: {} KiB", after - before);
    drop((rows, Loader::default()));
}
