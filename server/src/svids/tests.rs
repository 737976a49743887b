//! What is issued to whom, over a real store.

use std::sync::Arc;
use std::time::Duration;

use identity::clock::Clock;
use identity::dns_name::DnsName;
use identity::entry::{AdditionalAttributes, EntryId, RegistrationEntry};
use identity::secret::{KeyType, PrivateKey};
use identity::selector::Selector;
use identity::spiffe_id::SpiffeId;
use identity::x509::{CertificateInfo, generate_csr};
use raft_store::{AgentRecord, CreateEntries, Proposal};

use super::{IssueError, NewX509Svid, SigningRequest, Svids};
use crate::agents::Agents;
use crate::attest::{Attestation, Evidence, Origin};
use crate::ca::Ca;
use crate::testing::{HOUR, NOW, Silent, TestStore, policy, trust_domain};

struct World {
    test: TestStore,
    svids: Svids,
    agent: Arc<AgentRecord>,
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::from_parts(&trust_domain(), path).unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).unwrap()
}

fn entry(name: &str, parent: &SpiffeId) -> RegistrationEntry {
    RegistrationEntry {
        id: EntryId::parse(name).unwrap(),
        spiffe_id: id(&format!("/{name}")),
        parent_id: parent.clone(),
        selectors: std::iter::once(Selector::parse("unix:uid:1").unwrap()).collect(),
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
        created_at: NOW,
    }
}

/// An agent with the entries `web`, which has names and lifetimes, and `plain`; `foreign` belongs
/// to nobody.
async fn world() -> World {
    let test = TestStore::create().await;
    let (ca, authorities) = Ca::open(test.store.clone(), test.clock(), policy());
    authorities.settle().await.unwrap();
    let agents = Agents::new(test.store.clone(), test.clock(), trust_domain());
    let token = agents.create_join_token(None, HOUR, None).await.unwrap();
    let attestation = Attestation::new(test.store.clone(), ca.clone(), test.clock());
    let csr = generate_csr(&key(), None, &[]).unwrap();
    let evidence = Evidence {
        kind: "join_token",
        payload: token.value.as_bytes(),
        csr: &csr,
        origin: &Origin::default(),
    };
    let agent = attestation.attest(evidence, &mut Silent).await;
    let agent = agent.unwrap().spiffe_id;
    let web = RegistrationEntry {
        x509_svid_ttl_s: 600,
        jwt_svid_ttl_s: 120,
        dns_names: ["a.example.org", "b.example.org"]
            .map(|name| DnsName::parse(name).unwrap())
            .to_vec(),
        additional_attributes: Some(AdditionalAttributes {
            disable_x509_svid_prefetch: false,
            jwt_svid_include_jti: true,
        }),
        ..entry("web", &agent)
    };
    let entries = vec![
        web,
        entry("plain", &agent),
        entry("foreign", &id("/somebody-else")),
    ];
    test.store
        .propose(CreateEntries { entries }, Proposal::new(NOW))
        .await
        .unwrap();
    let agent = agents.agent(&agent).unwrap();
    World {
        svids: Svids::new(test.store.clone(), ca),
        agent,
        test,
    }
}

fn request(entry_id: &str, csr: &[u8]) -> SigningRequest {
    SigningRequest {
        entry_id: entry_id.to_owned(),
        csr: csr.to_vec(),
    }
}

fn shown(outcome: &Result<NewX509Svid, IssueError>) -> String {
    match outcome {
        Ok(svid) => svid.spiffe_id.path().to_owned(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_signing_request_only_the_key_counts() {
    let world = world().await;
    let holder = key();
    let name = DnsName::parse("ignored.example.org").unwrap();
    let csr = generate_csr(&holder, Some(&id("/ignored")), &[name]).unwrap();
    let signed = world
        .svids
        .x509_for_agent(&world.agent, vec![request("web", &csr)])
        .await;
    let svid = signed.unwrap().remove(0).unwrap();
    let leaf = CertificateInfo::parse(&svid.issued.chain[0]).unwrap();
    assert_eq!(leaf.uri_sans, ["spiffe://example.org/web"]);
    assert_eq!(leaf.dns_names, ["a.example.org", "b.example.org"]);
    assert_eq!(leaf.subject, "C=US, O=SPIRE, CN=a.example.org");
    assert_eq!(leaf.public_key_der, holder.public_key_der());
    assert_eq!(
        leaf.not_after,
        world
            .test
            .clock
            .now()
            .saturating_add(Duration::from_secs(600))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_in_order_each_item_for_itself() {
    let world = world().await;
    let csr = generate_csr(&key(), None, &[]).unwrap();
    let mut forged = csr.clone();
    *forged.last_mut().unwrap() ^= 1;
    let requests = vec![
        request("plain", &csr),
        request("nope", &csr),
        request("foreign", &csr),
        request("not/an/id", &csr),
        request("plain", b"no"),
        request("plain", &forged),
        request("web", &csr),
    ];
    let signed = world
        .svids
        .x509_for_agent(&world.agent, requests)
        .await
        .unwrap();
    let expected = [
        "/plain",
        "entry not found or not authorized",
        "entry not found or not authorized",
        "entry not found or not authorized",
        "signing request cannot be read",
        "signature of the signing request does not verify",
        "/web",
    ];
    assert_eq!(signed.iter().map(shown).collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_lets_others_run() {
    let world = world().await;
    let csr = generate_csr(&key(), None, &[]).unwrap();
    let requests = vec![request("plain", &csr); 500];
    let signing = world.svids.x509_for_agent(&world.agent, requests);
    let mut turns = 0_u32;
    let counting = async {
        loop {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    let signed = tokio::select! {
        biased;
        signed = signing => signed.unwrap(),
        () = counting => unreachable!("counts for ever"),
    };
    assert_eq!(signed.iter().filter(|outcome| outcome.is_ok()).count(), 500);
    // Half a millisecond a turn, 0.05 ms at least for each.
    assert!(turns > 10, "{turns}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jwt_svids_follow_their_entry() {
    let world = world().await;
    let audience = || vec!["one".to_owned(), String::new(), "two".to_owned()];
    let web = world
        .svids
        .jwt_for_agent(&world.agent, "web", audience())
        .await
        .unwrap();
    let now = world.test.clock.now();
    assert_eq!(*web.spiffe_id(), id("/web"));
    assert_eq!(web.audience(), ["one", "two"]);
    assert_eq!(web.issued_at(), Some(now));
    assert_eq!(
        web.expires_at(),
        now.saturating_add(Duration::from_secs(120))
    );
    let plain = world
        .svids
        .jwt_for_agent(&world.agent, "plain", audience())
        .await
        .unwrap();
    assert_eq!(
        plain.expires_at(),
        now.saturating_add(Duration::from_secs(300))
    );

    let refused = |entry_id: &'static str, audience: Vec<String>| {
        let world = &world;
        async move {
            let refused = world
                .svids
                .jwt_for_agent(&world.agent, entry_id, audience)
                .await;
            refused
                .map(|svid| svid.expires_at())
                .unwrap_err()
                .to_string()
        }
    };
    assert_eq!(
        refused("foreign", Vec::new()).await,
        "entry not found or not authorized"
    );
    assert_eq!(
        refused("web", Vec::new()).await,
        "at least one audience is required"
    );
    assert_eq!(
        refused("web", vec![String::new()]).await,
        "could not be signed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn minting_takes_the_one_name_of_a_workload() {
    let world = world().await;
    let mint = |spiffe_id: Option<&str>| {
        let spiffe_id = spiffe_id.map(|text| SpiffeId::parse(text).unwrap());
        let csr = generate_csr(&key(), spiffe_id.as_ref(), &[]).unwrap();
        shown(&world.svids.mint_x509(&csr, None))
    };
    assert_eq!(mint(Some("spiffe://example.org/minted")), "/minted");
    assert_eq!(mint(None), "signing request without a URI name");
    for other in [
        "spiffe://other.test/x",
        "spiffe://example.org",
        "spiffe://example.org/spire/server",
    ] {
        assert_eq!(mint(Some(other)), "SPIFFE ID is not that of a workload");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_downstream_server_gets_an_authority_and_the_roots() {
    let world = world().await;
    let holder = key();
    let csr = generate_csr(&holder, None, &[]).unwrap();
    let issued = world.svids.downstream_authority(&csr, Some(HOUR)).unwrap();
    assert_eq!((issued.chain.len(), issued.roots.len()), (2, 1));
    let authority = CertificateInfo::parse(&issued.chain[0]).unwrap();
    assert!(authority.is_ca);
    assert_eq!(authority.public_key_der, holder.public_key_der());
    assert_eq!(
        authority.not_after,
        world.test.clock.now().saturating_add(HOUR)
    );
    let intermediate = CertificateInfo::parse(&issued.chain[1]).unwrap();
    assert_eq!(authority.authority_key_id, intermediate.subject_key_id);
    let root = CertificateInfo::parse(&issued.roots[0]).unwrap();
    assert_eq!(intermediate.authority_key_id, root.subject_key_id);
}
