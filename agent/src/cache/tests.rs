//! What the cache gives out, signs ahead, and drops.

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::Shutdown;
use identity::bundle::Bundle;
use identity::clock::UnixTime;
use identity::entry::{AdditionalAttributes, EntryId};
use identity::selector::{Selector, SelectorSet};
use identity::testing::TestAuthority;
use identity::trust_domain::TrustDomain;
use proto::convert::entry::AuthorizedEntry;
use tokio::sync::watch::Receiver;

use super::{Cache, CachedSvid, State, WorkloadView, signed};

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_secs(3600);

struct Fixture {
    authority: TestAuthority,
    state: State,
    entries: Vec<Arc<AuthorizedEntry>>,
}

impl Fixture {
    fn new(max_svids: usize) -> Self {
        let authority = TestAuthority::at("example.org", NOW);
        let mut state = State::new(authority.trust_domain().clone(), max_svids);
        state.set_bundles(vec![authority.bundle()]);
        Self {
            authority,
            state,
            entries: Vec::new(),
        }
    }

    /// Adds an entry for workloads that have all of `selectors`.
    fn add(&mut self, id: &str, selectors: &str) {
        self.change(id, selectors, |_| {});
    }

    /// Adds or replaces an entry.
    fn change(&mut self, id: &str, selectors: &str, change: impl Fn(&mut AuthorizedEntry)) {
        let mut entry = AuthorizedEntry {
            id: EntryId::parse(id).unwrap(),
            spiffe_id: self.authority.spiffe_id(&format!("/{id}")),
            selectors: set(selectors),
            federates_with: Vec::new(),
            admin: false,
            downstream: false,
            revision: 0,
            store_svid: false,
            hint: "".into(),
            additional_attributes: None,
            created_at: NOW,
        };
        change(&mut entry);
        self.entries.retain(|held| held.id != entry.id);
        self.entries.push(Arc::new(entry));
        self.state.set_entries(&self.entries);
    }

    fn remove(&mut self, id: &str) {
        self.entries.retain(|held| held.id.as_str() != id);
        self.state.set_entries(&self.entries);
    }

    /// Signs what is wanted now, and says for which entries.
    fn sign(&mut self) -> Vec<String> {
        let wanted = self.state.wanted(NOW);
        let ids: Vec<String> = wanted.iter().map(|one| one.entry.id.to_string()).collect();
        for one in wanted {
            let svid = self.authority.x509_svid(one.entry.spiffe_id.path());
            let rotate_at = NOW.saturating_add(HOUR / 2);
            let svid = CachedSvid::new(&svid, rotate_at, one.entry.revision);
            self.state.set_svids(vec![(one.entry.id.clone(), svid)]);
        }
        ids
    }
}

fn set(selectors: &str) -> SelectorSet {
    let selectors = selectors.split_whitespace();
    selectors.map(|one| Selector::parse(one).unwrap()).collect()
}

/// The entries of a view, with a `?` where the SVID is missing.
fn shown(view: &Receiver<Arc<WorkloadView>>) -> String {
    let view = view.borrow();
    let shown = view.identities().iter().map(|one| {
        let mark = if one.svid.is_none() { "?" } else { "" };
        format!("{}{mark}", one.entry.id)
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn workload_matches_entries_all_of_whose_selectors_it_has() {
    let mut fixture = Fixture::new(10);
    fixture.add("c", "unix:uid:1");
    fixture.add("a", "unix:uid:1 unix:gid:2");
    fixture.add("b", "unix:uid:1 unix:gid:3");
    let view = fixture.state.subscribe(&set("unix:uid:1 unix:gid:2"));
    assert_eq!(shown(&view), "a? c?");
    assert_eq!(shown(&fixture.state.subscribe(&set("unix:gid:2"))), "");
    assert_eq!(shown(&fixture.state.subscribe(&SelectorSet::default())), "");
}

#[test]
fn view_changes_with_what_is_in_it_and_with_nothing_else() {
    let mut fixture = Fixture::new(10);
    fixture.add("a", "unix:uid:1");
    let mut view = fixture.state.subscribe(&set("unix:uid:1"));
    let changed = |view: &mut Receiver<Arc<WorkloadView>>| {
        let changed = view.has_changed().unwrap();
        view.borrow_and_update();
        changed
    };
    fixture.add("other", "unix:uid:2");
    assert!(!changed(&mut view));
    fixture.state.set_entries(&fixture.entries);
    fixture.state.set_bundles(vec![fixture.authority.bundle()]);
    assert!(!changed(&mut view));
    fixture.sign();
    assert!(changed(&mut view));
    assert_eq!(shown(&view), "a");
    fixture.add("b", "unix:uid:1");
    assert!(changed(&mut view));
    fixture.remove("a");
    assert!(changed(&mut view));
    assert_eq!(shown(&view), "b?");
    let mut bundle = fixture.authority.bundle();
    bundle.sequence += 1;
    fixture.state.set_bundles(vec![bundle]);
    assert!(changed(&mut view));
}

#[test]
fn change_leaves_alone_what_it_does_not_name() {
    let mut fixture = Fixture::new(10);
    fixture.add("a", "unix:uid:1");
    fixture.add("b", "unix:uid:1");
    fixture.add("c", "unix:uid:1");
    let view = fixture.state.subscribe(&set("unix:uid:1"));
    fixture.sign();
    let changed = |id: &str, change: &dyn Fn(&mut AuthorizedEntry)| {
        let held = fixture.entries.iter().find(|one| one.id.as_str() == id);
        let mut entry = AuthorizedEntry::clone(held.unwrap());
        change(&mut entry);
        Arc::new(entry)
    };
    let new = changed("a", &|entry| entry.id = EntryId::parse("d").unwrap());
    let elsewhere = changed("b", &|entry| entry.selectors = set("unix:uid:2"));
    let stored = changed("a", &|entry| entry.store_svid = true);
    let gone = [
        EntryId::parse("c").unwrap(),
        EntryId::parse("never").unwrap(),
    ];
    fixture.state.change_entries(&[new, elsewhere], &gone);
    assert_eq!(shown(&view), "a d?");
    fixture.state.change_entries(&[stored], &[]);
    assert_eq!(shown(&view), "d?");
    assert_eq!(shown(&fixture.state.subscribe(&set("unix:uid:2"))), "b");
}

#[test]
fn oldest_entry_keeps_a_hint_and_a_tie_goes_to_the_smaller_id() {
    let mut fixture = Fixture::new(10);
    let hinted = |created_at: i64| {
        move |entry: &mut AuthorizedEntry| {
            entry.hint = "h".into();
            entry.created_at = UnixTime::from_secs(created_at);
        }
    };
    fixture.change("a", "unix:uid:1", hinted(2));
    fixture.change("b", "unix:uid:1", hinted(1));
    fixture.change("c", "unix:uid:1", hinted(1));
    fixture.add("d", "unix:uid:1");
    let view = fixture.state.subscribe(&set("unix:uid:1"));
    // Only the Workload API tells workloads of hints.
    assert_eq!(shown(&view), "a? b? c? d?");
    let view = view.borrow();
    let told = view.distinctly_hinted().map(|one| one.entry.id.as_str());
    assert_eq!(told.collect::<Vec<_>>(), ["b", "d"]);
}

#[test]
fn svids_that_a_workload_waits_for_are_signed_first() {
    let mut fixture = Fixture::new(10);
    fixture.add("a", "unix:uid:1");
    fixture.add("b", "unix:uid:2");
    let _view = fixture.state.subscribe(&set("unix:uid:2"));
    assert_eq!(fixture.sign(), ["b", "a"]);
    assert_eq!(fixture.sign(), Vec::<String>::new());
}

#[test]
fn limit_holds_for_svids_that_nobody_listens_for() {
    let mut fixture = Fixture::new(2);
    for (id, uid) in [("a", 1), ("b", 2), ("c", 3), ("d", 3), ("e", 3)] {
        fixture.add(id, &format!("unix:uid:{uid}"));
    }
    assert_eq!(fixture.sign().len(), 2);
    assert_eq!(fixture.state.counts().x509_svids, 2);
    // A workload gets all of its identities, and the others make room.
    let view = fixture.state.subscribe(&set("unix:uid:3"));
    fixture.sign();
    assert_eq!(shown(&view), "c d e");
    assert_eq!(fixture.state.counts().x509_svids, 3);
    drop(view);
    let view = fixture.state.subscribe(&set("unix:uid:1"));
    fixture.sign();
    assert_eq!(shown(&view), "a");
    assert_eq!(fixture.state.counts().x509_svids, 2);
}

#[tokio::test(start_paused = true)]
async fn svids_beyond_the_limit_leave_with_those_who_listened() {
    let cache = Cache::new(TrustDomain::parse("example.org").unwrap(), 2);
    let fixture = {
        let mut fixture = Fixture::new(2);
        for id in ["a", "b", "c"] {
            fixture.add(id, "unix:uid:1");
        }
        fixture
    };
    cache.set_entries(&fixture.entries);
    let view = cache.subscribe(&set("unix:uid:1"));
    let svids = cache.wanted(NOW).into_iter().map(|one| {
        let svid = fixture.authority.x509_svid(one.entry.spiffe_id.path());
        let rotate_at = NOW.saturating_add(HOUR / 2);
        (one.entry.id.clone(), CachedSvid::new(&svid, rotate_at, 0))
    });
    cache.set_svids(svids.collect());
    let kept_for = async |seconds| {
        let kept = cache.keep_small(Shutdown::new());
        tokio::time::timeout(Duration::from_secs(seconds), kept)
            .await
            .unwrap_err();
        cache.counts().x509_svids
    };
    assert_eq!(kept_for(60).await, 3);
    drop(view);
    assert_eq!(kept_for(6).await, 2);
}

#[test]
fn svid_without_prefetch_is_signed_when_a_workload_asks() {
    let mut fixture = Fixture::new(10);
    fixture.change("a", "unix:uid:1", |entry| {
        entry.additional_attributes = Some(AdditionalAttributes {
            disable_x509_svid_prefetch: true,
            ..AdditionalAttributes::default()
        });
    });
    assert_eq!(fixture.sign(), Vec::<String>::new());
    let _view = fixture.state.subscribe(&set("unix:uid:1"));
    assert_eq!(fixture.sign(), ["a"]);
}

#[test]
fn entry_whose_svid_goes_to_a_store_is_not_for_workloads() {
    let mut fixture = Fixture::new(10);
    fixture.change("a", "unix:uid:1", |entry| entry.store_svid = true);
    assert_eq!(shown(&fixture.state.subscribe(&set("unix:uid:1"))), "");
    assert_eq!(fixture.sign(), Vec::<String>::new());
}

#[test]
fn svid_is_signed_again_when_due_outdated_or_tainted() {
    let mut fixture = Fixture::new(10);
    fixture.add("a", "unix:uid:1");
    fixture.sign();
    let due = NOW.saturating_add(HOUR / 2);
    assert_eq!(fixture.state.next_rotation(), Some(due));
    assert_eq!(fixture.state.wanted(due).len(), 1);

    fixture.change("a", "unix:uid:1", |entry| entry.revision = 1);
    assert_eq!(fixture.sign(), ["a"]);

    let mut bundle = fixture.authority.bundle();
    bundle.x509_authorities[0].tainted = true;
    fixture.state.set_bundles(vec![bundle]);
    let wanted = fixture.state.wanted(NOW);
    assert_eq!(wanted.len(), 1);
    assert!(wanted[0].expires_at.is_some());
}

#[test]
fn ended_svid_is_not_given_out() {
    let mut fixture = Fixture::new(10);
    fixture.add("a", "unix:uid:1");
    fixture.sign();
    let view = fixture.state.subscribe(&set("unix:uid:1"));
    let view = view.borrow();
    let ids = view.identities();
    assert_eq!(signed(ids, NOW).unwrap().len(), 1);
    assert!(signed(ids, NOW.saturating_add(HOUR)).is_none());
}

#[test]
fn own_bundle_stays_and_federated_ones_come_and_go() {
    let mut fixture = Fixture::new(10);
    let partner = TestAuthority::at("partner.example", NOW).bundle();
    let partner_name = partner.trust_domain.clone();
    let federated = partner_name.clone();
    fixture.change("a", "unix:uid:1", move |entry| {
        entry.federates_with = vec![federated.clone()];
    });
    let view = fixture.state.subscribe(&set("unix:uid:1"));
    let names = |view: &Receiver<Arc<WorkloadView>>| -> Vec<TrustDomain> {
        let view = view.borrow();
        let bundles = view
            .own_bundle()
            .into_iter()
            .chain(view.federated_bundles());
        bundles
            .map(|one| one.bundle().trust_domain.clone())
            .collect()
    };
    let own_name = fixture.authority.trust_domain().clone();
    assert_eq!(names(&view), std::slice::from_ref(&own_name));
    fixture
        .state
        .set_bundles(vec![partner, fixture.authority.bundle()]);
    assert_eq!(names(&view), [own_name.clone(), partner_name]);
    fixture.state.set_bundles(Vec::<Bundle>::new());
    assert_eq!(names(&view), [own_name]);
}
