//! What streams are told, held against what the state gives an agent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use identity::bundle::Bundle;
use identity::clock::UnixTime;
use identity::entry::{EntryId, RegistrationEntry};
use identity::selector::Selector;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use raft_store::{
    AttestAgent, BanAgent, CreateEntries, DeleteAgent, DeleteBundleMode, DeleteEntries,
    DeleteFederatedBundle, EntryChange, Operation, Proposal, Revision, SetBundleMode,
    SetFederatedBundle, State, UpdateEntries,
};

use super::{Batch, Ended, Sync, Watch};
use crate::endpoints::AgentRefusal;
use crate::entries::authorized;
use crate::entries::testing::entry;
use crate::testing::{NOW, TestStore, trust_domain};

const SERVER: &str = "/spire/server";
const SERIAL: &str = "1";

/// A member with streams, whose task is the test's own steps.
struct Member {
    test: TestStore,
    sync: Sync,
}

/// What an agent holds that does as it is told.
#[derive(Default)]
struct Held {
    revision: Revision,
    entries: BTreeMap<EntryId, Arc<RegistrationEntry>>,
    bundles: BTreeMap<TrustDomain, Arc<Bundle>>,
}

impl Member {
    async fn start() -> Self {
        Self::of(TestStore::create().await)
    }

    fn of(test: TestStore) -> Self {
        let (sync, _task) = Sync::new(test.store.clone(), trust_domain());
        Self { test, sync }
    }

    async fn propose<O: Operation>(&self, operation: O) -> O::Outcome {
        let proposal = Proposal::new(NOW);
        self.test.store.propose(operation, proposal).await.unwrap()
    }

    async fn attest(&self, number: usize, serial: &str, selectors: &[&str]) {
        let selectors = selectors.iter().map(|text| Selector::parse(text).unwrap());
        let attest = AttestAgent {
            spiffe_id: agent_id(number),
            attestation_type: "x".into(),
            serial: serial.into(),
            not_after: UnixTime::from_secs(i64::MAX),
            can_reattest: true,
            selectors: selectors.collect(),
            redeem: None,
        };
        self.propose(attest).await;
    }

    async fn create(&self, path: &str, parent: &str, selectors: &[&str]) -> EntryId {
        let entry = entry(path, parent, selectors);
        let id = entry.id.clone();
        let entries = vec![entry];
        self.propose(CreateEntries { entries }).await;
        id
    }

    async fn watch(&self, number: usize, after: Revision) -> Watch {
        let agent = agent_id(number);
        self.sync.watch(&agent, SERIAL, after).await.unwrap()
    }

    /// Lets the agent take what there is for it now.
    async fn drain(&self, watch: &mut Watch, held: &mut Held) -> Result<usize, Ended> {
        self.sync.0.hub.lock().catch_up(&self.test.store);
        let mut records = 0;
        loop {
            let batch = watch.next(Duration::ZERO).await?;
            let told = batch.entries.len() + batch.removed_entries.len() + batch.bundles.len();
            let is_reset = batch.is_reset;
            held.apply(batch);
            if told == 0 && !is_reset {
                return Ok(records);
            }
            records += told;
        }
    }

    fn assert_up_to_date(&self, number: usize, held: &Held, seed: u64) {
        self.test.store.read(|state: &State| {
            let agent = state.agent(&agent_id(number)).unwrap();
            let expected: BTreeMap<_, _> = authorized(state, agent)
                .into_iter()
                .map(|entry| (entry.id.clone(), entry))
                .collect();
            assert_eq!(held.entries, expected, "agent {number}, seed {seed}");
            let mut needed: Vec<&TrustDomain> = expected
                .values()
                .flat_map(|entry| &entry.federates_with)
                .collect();
            needed.sort();
            needed.dedup();
            let bundles: BTreeMap<_, _> = needed
                .into_iter()
                .filter_map(|name| Some((name.clone(), Arc::clone(state.bundle(name)?))))
                .collect();
            assert_eq!(held.bundles, bundles, "agent {number}, seed {seed}");
        });
    }
}

impl Held {
    fn apply(&mut self, batch: Batch) {
        assert!(batch.revision >= self.revision);
        self.revision = batch.revision;
        if batch.is_reset {
            self.entries.clear();
            self.bundles.clear();
        }
        for id in batch.removed_entries {
            self.entries.remove(&id);
        }
        for entry in batch.entries {
            self.entries.insert(entry.id.clone(), entry);
        }
        for name in batch.removed_bundles {
            self.bundles.remove(&name);
        }
        for bundle in batch.bundles {
            self.bundles.insert(bundle.trust_domain.clone(), bundle);
        }
    }
}

fn agent_id(number: usize) -> SpiffeId {
    SpiffeId::from_parts(&trust_domain(), &agent_path(number)).unwrap()
}

fn agent_path(number: usize) -> String {
    format!("/spire/agent/x/{number}")
}

#[tokio::test(flavor = "multi_thread")]
async fn change_is_told_to_those_whom_it_concerns_and_to_nobody_else() {
    let member = Member::start().await;
    member.attest(1, SERIAL, &[]).await;
    member.attest(2, SERIAL, &[]).await;
    let (mut one, mut held) = (member.watch(1, Revision::default()).await, Held::default());
    let (mut two, mut other) = (member.watch(2, Revision::default()).await, Held::default());
    member.drain(&mut one, &mut held).await.unwrap();
    member.drain(&mut two, &mut other).await.unwrap();

    member.create("/web", &agent_path(1), &["a:1"]).await;
    assert_eq!(member.drain(&mut one, &mut held).await, Ok(1));
    assert_eq!(member.drain(&mut two, &mut other).await, Ok(0));
    assert_eq!(held.entries.len(), 1);
    assert!(other.revision >= held.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_when_its_agent_may_not_call_any_more() {
    let member = Member::start().await;
    let ended = async |number: usize| {
        let mut held = Held::default();
        member.attest(number, SERIAL, &[]).await;
        let mut watch = member.watch(number, Revision::default()).await;
        member.drain(&mut watch, &mut held).await.unwrap();
        let spiffe_id = agent_id(number);
        match number {
            1 => drop(member.propose(BanAgent { spiffe_id }).await),
            2 => drop(member.propose(DeleteAgent { spiffe_id }).await),
            _ => member.attest(number, "2", &[]).await,
        }
        member.drain(&mut watch, &mut held).await
    };
    let refused = |refusal| Err(Ended::Refused(refusal));
    assert_eq!(ended(1).await, refused(AgentRefusal::Banned));
    assert_eq!(ended(2).await, refused(AgentRefusal::NotAttested));
    assert_eq!(ended(3).await, refused(AgentRefusal::NotActive));
    assert!(member.sync.0.hub.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifth_stream_of_an_agent_ends_the_first() {
    let member = Member::start().await;
    member.attest(1, SERIAL, &[]).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(member.watch(1, Revision::default()).await);
    }
    let mut held = Held::default();
    for (place, watch) in streams.iter_mut().enumerate() {
        let end = member.drain(watch, &mut held).await;
        assert_eq!(end == Err(Ended::Superseded), place == 0, "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_lags_far_behind_is_told_everything_anew() {
    let member = Member::start().await;
    member.attest(1, SERIAL, &[]).await;
    let (mut watch, mut held) = (member.watch(1, Revision::default()).await, Held::default());
    member.drain(&mut watch, &mut held).await.unwrap();
    for batch in 0..10 {
        let entries = (0..1_000)
            .map(|number| entry(&format!("/w{batch}-{number}"), &agent_path(1), &["a:1"]))
            .collect();
        member.propose(CreateEntries { entries }).await;
        member.sync.0.hub.lock().catch_up(&member.test.store);
    }
    let batch = watch.next(Duration::ZERO).await.unwrap();
    assert!(batch.is_reset);
    held.apply(batch);
    member.assert_up_to_date(1, &held, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn revision_of_another_cluster_is_no_reason_to_wait() {
    let member = Member::start().await;
    member.attest(1, SERIAL, &[]).await;
    let mut watch = member.watch(1, Revision::new(1_000_000)).await;
    assert!(watch.next(Duration::ZERO).await.unwrap().is_reset);
}

/// Numbers that depend on the seed alone.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

const AGENTS: usize = 3;

/// Few names, so that entries are each other's parents, aliases meet and ways go round.
fn random_entry(numbers: &mut Numbers) -> RegistrationEntry {
    const PATHS: [&str; 6] = ["/a", "/b", "/c", "/d", "/e", "/f"];
    const SELECTORS: [&str; 3] = ["x:a", "x:b", "x:c"];
    let parent = match numbers.below(10) {
        0..=2 => agent_path(numbers.below(AGENTS)),
        3 => SERVER.to_owned(),
        _ => PATHS[numbers.below(PATHS.len())].to_owned(),
    };
    let path = PATHS[numbers.below(PATHS.len())];
    let mut entry = entry(path, &parent, &[SELECTORS[numbers.below(SELECTORS.len())]]);
    // Otherwise there are few that are not similar.
    entry.hint = "".into();
    if numbers.below(3) == 0 {
        entry.federates_with = vec![foreign(numbers)];
    }
    entry
}

fn foreign(numbers: &mut Numbers) -> TrustDomain {
    TrustDomain::parse(["one.test", "two.test"][numbers.below(2)]).unwrap()
}

/// Changes something; many a time, nothing.
async fn random_change(member: &Member, numbers: &mut Numbers) {
    let ids: Vec<EntryId> = member.test.store.read(|state| {
        let entries = state.entries_after(None);
        entries.map(|(_, entry)| entry.id.clone()).collect()
    });
    let some = (!ids.is_empty()).then(|| ids[numbers.below(ids.len().max(1))].clone());
    match (numbers.below(12), some) {
        (0, _) => {
            let selectors = [["x:a"].as_slice(), &["x:a", "x:b"], &["x:c"], &[]];
            let selectors = selectors[numbers.below(4)];
            member
                .attest(numbers.below(AGENTS), SERIAL, selectors)
                .await;
        }
        (1, _) => {
            let mut bundle = Bundle::empty(foreign(numbers));
            bundle.refresh_hint_s = i64::try_from(numbers.below(100)).unwrap();
            let mode = SetBundleMode::Set;
            member.propose(SetFederatedBundle { bundle, mode }).await;
        }
        (2, _) if numbers.below(3) == 0 => {
            let delete = DeleteFederatedBundle {
                trust_domain: foreign(numbers),
                mode: DeleteBundleMode::Dissociate,
            };
            member.propose(delete).await;
        }
        (3..=5, Some(id)) => {
            member.propose(DeleteEntries { ids: vec![id] }).await;
        }
        (6..=7, Some(id)) => {
            let wanted = random_entry(numbers);
            let change = EntryChange {
                id,
                spiffe_id: (numbers.below(2) == 0).then_some(wanted.spiffe_id),
                parent_id: (numbers.below(2) == 0).then_some(wanted.parent_id),
                selectors: None,
                x509_svid_ttl_s: Some(u32::try_from(numbers.below(1_000)).unwrap()),
                jwt_svid_ttl_s: None,
                federates_with: None,
                admin: None,
                downstream: None,
                expires_at: None,
                dns_names: None,
                store_svid: None,
                hint: None,
                additional_attributes: None,
            };
            let changes = vec![change];
            member.propose(UpdateEntries { changes }).await;
        }
        _ => {
            let entries = vec![random_entry(numbers)];
            member.propose(CreateEntries { entries }).await;
        }
    }
}

/// Agents are told at random moments, some streams are cut and resumed, here or on a member that
/// has only just started to follow.
async fn wander(seed: u64, mut member: Member) {
    let mut numbers = Numbers(seed);
    for number in 0..AGENTS {
        member.attest(number, SERIAL, &["x:a"]).await;
    }
    let mut streams = Vec::new();
    for number in 0..AGENTS {
        streams.push((
            member.watch(number, Revision::default()).await,
            Held::default(),
        ));
    }
    for _ in 0..150 {
        for _ in 0..=numbers.below(4) {
            random_change(&member, &mut numbers).await;
        }
        if numbers.below(20) == 0 {
            let (sync, _task) = Sync::new(member.test.store.clone(), trust_domain());
            member.sync = sync;
        }
        for (number, (watch, held)) in streams.iter_mut().enumerate() {
            match numbers.below(4) {
                0 => {}
                1 => {
                    *watch = member.watch(number, held.revision).await;
                    member.drain(watch, held).await.unwrap();
                    member.assert_up_to_date(number, held, seed);
                }
                _ if Arc::ptr_eq(&watch.shared, &member.sync.0) => {
                    member.drain(watch, held).await.unwrap();
                    member.assert_up_to_date(number, held, seed);
                }
                _ => {}
            }
        }
    }
    streams.clear();
    assert!(member.sync.0.hub.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_hold_what_the_state_gives_them_whatever_happens() {
    for seed in 1..=8 {
        wander(seed, Member::start().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_hold_what_the_state_gives_them_where_changes_are_soon_forgotten() {
    for seed in 1..=4 {
        wander(seed, Member::of(TestStore::remembering(2).await)).await;
    }
}
