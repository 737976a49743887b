//! Attestation and what becomes of agents, over a real store.

use std::sync::Arc;
use std::time::Duration;

use identity::clock::Clock;
use identity::secret::{KeyType, PrivateKey};
use identity::spiffe_id::SpiffeId;
use identity::x509::generate_csr;
use proto::convert::agent::AgentFilter;
use raft_store::{AgentRecord, PromoteAgentSerial, PromoteOutcome, Proposal};
use tokio::task::JoinSet;

use super::{AgentSvid, AttestError, Attestation, Evidence, Origin, RenewError};
use crate::agents::{Agents, JoinTokenError};
use crate::ca::Ca;
use crate::testing::{HOUR, Silent, TestStore, policy, trust_domain};

struct World {
    test: TestStore,
    agents: Agents,
    attestation: Attestation,
}

async fn world() -> World {
    world_on(TestStore::create().await).await
}

async fn world_on(test: TestStore) -> World {
    let (ca, authorities) = Ca::open(test.store.clone(), test.clock(), policy());
    authorities.settle().await.unwrap();
    World {
        agents: Agents::new(test.store.clone(), test.clock(), trust_domain()),
        attestation: Attestation::new(test.store.clone(), ca, test.clock()),
        test,
    }
}

fn csr() -> Vec<u8> {
    csr_of(&PrivateKey::generate(KeyType::EcP256).unwrap())
}

fn csr_of(key: &PrivateKey) -> Vec<u8> {
    generate_csr(key, None, &[]).unwrap()
}

impl World {
    async fn token(&self, name: &str) {
        let made = self
            .agents
            .create_join_token(Some(name.to_owned()), HOUR, None)
            .await;
        assert_eq!(made.unwrap().value, name);
    }

    async fn attest(&self, token: &str) -> Result<AgentSvid, AttestError> {
        self.attest_with(token, &csr()).await
    }

    async fn attest_with(&self, token: &str, csr: &[u8]) -> Result<AgentSvid, AttestError> {
        let evidence = Evidence {
            kind: "join_token",
            payload: token.as_bytes(),
            csr,
            origin: &Origin::default(),
        };
        self.attestation.attest(evidence, &mut Silent).await
    }

    fn record(&self, agent: &AgentSvid) -> Arc<AgentRecord> {
        self.agents.agent(&agent.spiffe_id).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_admits_its_agent() {
    let world = world().await;
    world.token("t").await;
    let agent = world.attest("t").await.unwrap();
    assert_eq!(
        agent.spiffe_id.as_str(),
        "spiffe://example.org/spire/agent/join_token/t"
    );
    assert_eq!(agent.not_after, world.test.clock.now().saturating_add(HOUR));
    assert_eq!((agent.chain.len(), agent.can_reattest), (2, false));
    let record = world.record(&agent);
    assert_eq!(&*record.attestation_type, "join_token");
    assert_eq!(record.not_after, agent.not_after);
    assert!(record.selectors.is_empty() && record.new_serial.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_attestations_with_one_token_exactly_one_succeeds() {
    let world = Arc::new(world().await);
    world.token("t").await;
    let mut running = JoinSet::new();
    for _ in 0..50 {
        let world = Arc::clone(&world);
        running.spawn(async move { world.attest("t").await });
    }
    let mut serials = Vec::new();
    while let Some(ended) = running.join_next().await {
        match ended.unwrap() {
            Ok(agent) => serials.push(agent),
            Err(error) => assert!(
                matches!(error, AttestError::TokenNotRedeemable),
                "{error:?}"
            ),
        }
    }
    assert_eq!(serials.len(), 1);
    assert_eq!(world.agents.count(&AgentFilter::default()).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_without_an_answer_is_given_again_to_its_key() {
    let world = world().await;
    world.token("t").await;
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let lost = world.attest_with("t", &csr_of(&key)).await.unwrap();
    let current = world.record(&lost).serial.clone();
    let refused = world.attest("t").await;
    assert!(
        matches!(refused, Err(AttestError::TokenNotRedeemable)),
        "{refused:?}"
    );
    let again = world.attest_with("t", &csr_of(&key)).await.unwrap();
    assert_eq!(again.spiffe_id, lost.spiffe_id);
    let record = world.record(&again);
    assert_eq!(record.serial, current, "the first answer may have come");
    let shown = PromoteAgentSerial {
        spiffe_id: again.spiffe_id.clone(),
        serial: record.new_serial.clone(),
    };
    let promoted = world
        .test
        .store
        .propose(shown, Proposal::new(world.test.clock.now()));
    assert_eq!(promoted.await.unwrap(), PromoteOutcome::Promoted);
    let before = world.test.store.status().unwrap().appended_entries;
    let refused = world.attest_with("t", &csr_of(&key)).await;
    assert!(
        matches!(refused, Err(AttestError::TokenNotRedeemable)),
        "{refused:?}"
    );
    assert_eq!(world.test.store.status().unwrap().appended_entries, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_is_not_given_again_after_the_end_of_its_token() {
    let world = world().await;
    world.token("t").await;
    let request = csr();
    world.attest_with("t", &request).await.unwrap();
    world.test.clock.advance(HOUR);
    world.attest_with("t", &request).await.unwrap();
    world.test.clock.advance(Duration::from_secs(1));
    let refused = world.attest_with("t", &request).await;
    assert!(
        matches!(refused, Err(AttestError::TokenNotRedeemable)),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_on_its_way_from_the_first_format_admits_once_and_never_again() {
    let world = world_on(TestStore::understanding(1..=1).await).await;
    world.token("t").await;
    let request = csr();
    let agent = world.attest_with("t", &request).await.unwrap();
    assert_eq!(world.record(&agent).admission, None);
    let refused = world.attest_with("t", &request).await;
    assert!(
        matches!(refused, Err(AttestError::TokenNotRedeemable)),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_tokens_are_refused_without_a_write() {
    let world = world().await;
    let before = world.test.store.status().unwrap().appended_entries;
    for token in ["nope", "no/such", "\u{fffd}"] {
        let refused = world.attest(token).await;
        assert!(
            matches!(refused, Err(AttestError::TokenNotRedeemable)),
            "{refused:?}"
        );
    }
    assert_eq!(world.test.store.status().unwrap().appended_entries, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_gone_after_it_was_tried() {
    let world = world().await;
    world.token("t").await;
    world.test.clock.advance(HOUR + Duration::from_secs(1));
    let refused = world.attest("t").await;
    assert!(
        matches!(refused, Err(AttestError::TokenExpired)),
        "{refused:?}"
    );
    let refused = world.attest("t").await;
    assert!(
        matches!(refused, Err(AttestError::TokenNotRedeemable)),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_signing_request_uses_up_the_token() {
    let world = world().await;
    world.token("t").await;
    let evidence = Evidence {
        kind: "join_token",
        payload: b"t",
        csr: b"not a csr",
        origin: &Origin::default(),
    };
    let refused = world.attestation.attest(evidence, &mut Silent).await;
    assert!(matches!(refused, Err(AttestError::Csr(_))), "{refused:?}");
    let refused = world.attest("t").await;
    assert!(
        matches!(refused, Err(AttestError::TokenNotRedeemable)),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_kinds_of_attestation_are_named() {
    let world = world().await;
    let evidence = Evidence {
        kind: "nope",
        payload: b"x",
        csr: &csr(),
        origin: &Origin::default(),
    };
    let error = world
        .attestation
        .attest(evidence, &mut Silent)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"could not find node attestor type "nope""#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_replaces_the_old_one_when_it_is_shown() {
    let world = world().await;
    world.token("t").await;
    let first = world.attest("t").await.unwrap();
    let before = world.record(&first);
    world.test.clock.advance(HOUR / 2);
    let second = world.attestation.renew(&before, &csr()).await.unwrap();
    let pending = world.record(&first);
    assert_eq!(
        pending.serial, before.serial,
        "the old certificate stays good"
    );
    assert_eq!(pending.new_not_after, Some(second.not_after));
    assert!(!pending.new_serial.is_empty());

    let shown = PromoteAgentSerial {
        spiffe_id: first.spiffe_id.clone(),
        serial: pending.new_serial.clone(),
    };
    let now = world.test.clock.now();
    let outcome = world
        .test
        .store
        .propose(shown, Proposal::new(now))
        .await
        .unwrap();
    assert_eq!(outcome, PromoteOutcome::Promoted);
    let promoted = world.record(&first);
    assert_eq!(
        (&promoted.serial, promoted.not_after),
        (&pending.new_serial, second.not_after)
    );
    assert!(promoted.new_serial.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_agent_stays_away_until_it_is_deleted() {
    let world = world().await;
    world.token("t").await;
    let agent = world.attest("t").await.unwrap();
    let record = world.record(&agent);
    assert!(world.agents.ban(&agent.spiffe_id).await.unwrap());
    assert!(world.record(&agent).is_banned());

    let refused = world.attestation.renew(&record, &csr()).await;
    assert!(matches!(refused, Err(RenewError::Banned)), "{refused:?}");
    world.token("t").await;
    let refused = world.attest("t").await;
    assert!(matches!(refused, Err(AttestError::Banned)), "{refused:?}");

    assert!(world.agents.delete(&agent.spiffe_id).await.unwrap());
    assert!(!world.agents.delete(&agent.spiffe_id).await.unwrap());
    let refused = world.attestation.renew(&record, &csr()).await;
    assert!(matches!(refused, Err(RenewError::NotFound)), "{refused:?}");
    world.token("t").await;
    world.attest("t").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_give_its_agent_a_second_name() {
    let world = world().await;
    let alias = SpiffeId::parse("spiffe://example.org/host").unwrap();
    let create = |token: &str| {
        world
            .agents
            .create_join_token(Some(token.to_owned()), HOUR, Some(alias.clone()))
    };
    create("t").await.unwrap();
    assert!(matches!(create("t").await, Err(JoinTokenError::Exists)));
    assert!(matches!(
        create("a b").await,
        Err(JoinTokenError::Unusable(_))
    ));
    let parent = SpiffeId::join_token_agent(&trust_domain(), "t").unwrap();
    let entries = || {
        world.test.store.read(|state| {
            state
                .entries_by_spiffe_id(&alias, None)
                .map(|(_, entry)| Arc::clone(entry))
                .collect::<Vec<_>>()
        })
    };
    let [entry] = entries().try_into().unwrap();
    assert_eq!(entry.parent_id, parent);
    let selectors: Vec<String> = entry.selectors.iter().map(ToString::to_string).collect();
    assert_eq!(selectors, [format!("spiffe_id:{parent}")]);

    let agent = world.attest("t").await.unwrap();
    assert!(world.agents.delete(&agent.spiffe_id).await.unwrap());
    assert!(entries().is_empty(), "the alias goes with its agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_stored_when_it_changes() {
    let world = world().await;
    world.token("t").await;
    let agent = world.attest("t").await.unwrap();
    let writes = || world.test.store.status().unwrap().appended_entries;
    world
        .agents
        .note_version(&world.record(&agent), "1.0")
        .await
        .unwrap();
    let written = writes();
    for unchanged in ["1.0", ""] {
        world
            .agents
            .note_version(&world.record(&agent), unchanged)
            .await
            .unwrap();
    }
    assert_eq!(
        (writes(), &*world.record(&agent).agent_version),
        (written, "1.0")
    );
}
