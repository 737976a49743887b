//! What goes, and what stays.

use std::time::Duration;

use identity::bundle::{Bundle, JwtAuthority};
use identity::clock::{Clock, UnixTime};
use identity::entry::{EntryId, RegistrationEntry};
use identity::secret::{KeyType, PrivateKey};
use identity::selector::Selector;
use identity::spiffe_id::SpiffeId;
use raft_store::{
    AppendAuthorities, AttestAgent, AttestOutcome, BanAgent, CreateEntries, Operation, Proposal,
};

use super::{Kind, Options, Pruning};
use crate::agents::Agents;
use crate::ca::Ca;
use crate::testing::{DAY, HOUR, NOW, TestStore, policy, trust_domain};

fn pruning(world: &TestStore, agents_expired_for: Option<Duration>) -> Pruning {
    let options = Options {
        trust_domain: trust_domain(),
        agents_expired_for,
        include_non_reattestable: false,
        agent_batch: 2,
    };
    Pruning::new(world.store.clone(), world.clock(), options)
}

async fn propose<O: Operation>(world: &TestStore, operation: O) -> O::Outcome {
    world
        .store
        .propose(operation, Proposal::new(world.clock.now()))
        .await
        .unwrap()
}

fn entry(id: &str, expires_at: Option<UnixTime>) -> RegistrationEntry {
    RegistrationEntry {
        id: EntryId::parse(id).unwrap(),
        spiffe_id: SpiffeId::parse(&format!("spiffe://example.org/{id}")).unwrap(),
        parent_id: SpiffeId::parse("spiffe://example.org/spire/agent/a").unwrap(),
        selectors: std::iter::once(Selector::parse("a:1").unwrap()).collect(),
        x509_svid_ttl_s: 0,
        jwt_svid_ttl_s: 0,
        federates_with: Vec::new(),
        admin: false,
        downstream: false,
        expires_at,
        dns_names: Vec::new(),
        revision: 0,
        store_svid: false,
        hint: "".into(),
        additional_attributes: None,
        created_at: NOW,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_entries_go() {
    let world = TestStore::create().await;
    let end = NOW.saturating_add(HOUR);
    let entries = vec![
        entry("ends", Some(end)),
        entry("later", Some(end.saturating_add(HOUR))),
        entry("stays", None),
    ];
    propose(&world, CreateEntries { entries }).await;
    let pruning = pruning(&world, None);
    world.clock.set(end);
    assert_eq!(pruning.prune(Kind::Entries).await.unwrap(), 0);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(pruning.prune(Kind::Entries).await.unwrap(), 1);
    let left = world.store.read(|state| {
        state
            .entries_after(None)
            .map(|(_, entry)| entry.id.to_string())
            .collect::<Vec<_>>()
    });
    assert_eq!(left, ["later", "stays"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_go_when_asked_for_but_banned_and_unrepeatable_ones_stay() {
    let world = TestStore::create().await;
    for (name, can_reattest) in [
        ("a", true),
        ("banned", true),
        ("tofu", false),
        ("b", true),
        ("c", true),
    ] {
        let agent = AttestAgent {
            spiffe_id: SpiffeId::parse(&format!("spiffe://example.org/spire/agent/x/{name}"))
                .unwrap(),
            attestation_type: "x".into(),
            serial: "1".into(),
            not_after: NOW.saturating_add(HOUR),
            can_reattest,
            selectors: std::iter::empty().collect(),
            redeem: None,
        };
        let id = agent.spiffe_id.clone();
        assert_eq!(propose(&world, agent).await, AttestOutcome::Attested);
        if name == "banned" {
            assert!(propose(&world, BanAgent { spiffe_id: id }).await);
        }
    }
    world.clock.advance(DAY);
    assert_eq!(
        pruning(&world, None).prune(Kind::Agents).await.unwrap(),
        0,
        "off by default"
    );
    assert_eq!(
        pruning(&world, Some(2 * DAY))
            .prune(Kind::Agents)
            .await
            .unwrap(),
        0
    );
    let asked_for = pruning(&world, Some(HOUR));
    assert_eq!(
        asked_for.prune(Kind::Agents).await.unwrap(),
        2,
        "a batch at a time"
    );
    assert_eq!(asked_for.prune(Kind::Agents).await.unwrap(), 1);
    assert_eq!(asked_for.prune(Kind::Agents).await.unwrap(), 0);
    let left = world.store.read(|state| {
        state
            .agents_after(None)
            .map(|(_, agent)| agent.spiffe_id.path().to_owned())
            .collect::<Vec<_>>()
    });
    assert_eq!(left, ["/spire/agent/x/banned", "/spire/agent/x/tofu"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn join_tokens_go_when_nobody_used_them_in_time() {
    let world = TestStore::create().await;
    let agents = Agents::new(world.store.clone(), world.clock(), trust_domain());
    agents.create_join_token(None, HOUR, None).await.unwrap();
    agents
        .create_join_token(None, 3 * HOUR, None)
        .await
        .unwrap();
    world.clock.advance(2 * HOUR);
    assert_eq!(
        pruning(&world, None).prune(Kind::JoinTokens).await.unwrap(),
        1
    );
    assert_eq!(world.store.read(|state| state.join_token_count()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_leave_the_bundle_a_day_after_their_end() {
    let world = TestStore::create().await;
    let (_ca, authorities) = Ca::open(world.store.clone(), world.clock(), policy());
    authorities.settle().await.unwrap();
    // As a downstream server would publish it.
    let foreign = JwtAuthority {
        key_id: "theirs".into(),
        public_key: PrivateKey::generate(KeyType::EcP256)
            .unwrap()
            .public_key_der()
            .to_vec(),
        expires_at: Some(NOW.saturating_add(HOUR)),
        tainted: false,
    };
    let append = AppendAuthorities {
        trust_domain: trust_domain(),
        x509: Vec::new(),
        jwt: vec![foreign],
    };
    let before = propose(&world, append).await;
    let holds = |bundle: &Bundle| {
        bundle
            .jwt_authorities
            .iter()
            .any(|key| &*key.key_id == "theirs")
    };
    assert!(holds(&before));
    let pruning = pruning(&world, None);
    world.clock.advance(HOUR + DAY);
    assert_eq!(pruning.prune(Kind::Bundle).await.unwrap(), 0);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(pruning.prune(Kind::Bundle).await.unwrap(), 1);
    let after = world
        .store
        .read(|state| state.bundle(&trust_domain()).cloned())
        .unwrap();
    assert!(!holds(&after));
    assert_eq!(after.sequence, before.sequence + 1);
    assert_eq!(after.x509_authorities.len(), 1);
}
