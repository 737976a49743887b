//! One test per rule of refusal: SPIRE's code and text, nothing changed, and the server goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use identity::clock::{Clock, FakeClock, SystemClock};
use identity::secret::{KeyType, PrivateKey};
use identity::testing::TestAuthority;
use identity::x509::generate_csr;
use identity::x509_svid::X509Svid;
use prost::Message as _;
use proto::spire::api::server::agent::v1 as agent_wire;
use proto::spire::api::server::agent::v1::agent_client::AgentClient;
use proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use proto::spire::api::server::bundle::v1::{
    AppendBundleRequest, BatchSetFederatedBundleRequest, GetBundleRequest,
};
use proto::spire::api::server::entry::v1::entry_client::EntryClient;
use proto::spire::api::server::entry::v1::{
    BatchCreateEntryRequest, CountEntriesRequest, GetAuthorizedEntriesRequest,
    SyncAuthorizedEntriesRequest,
};
use proto::spire::api::server::svid::v1::svid_client::SvidClient;
use proto::spire::api::server::svid::v1::{
    BatchNewX509svidRequest, MintX509svidRequest, NewJwtsvidRequest, NewX509svidParams,
};
use proto::spire::api::types;
use proto::spire::api::types::permission_denied_details::Reason;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::world::{Agent, World, attest_request, entry, id, wire_id};

/// What must not change. Asking for it also shows that the server goes on.
#[derive(Debug, PartialEq)]
struct Snapshot {
    agents: BTreeMap<String, (bool, String)>,
    entries: i32,
    bundle: types::Bundle,
}

impl Snapshot {
    async fn of(world: &World) -> Self {
        let admin = world.admin().await;
        let agents = AgentClient::new(admin.clone())
            .list_agents(agent_wire::ListAgentsRequest::default())
            .await
            .unwrap()
            .into_inner()
            .agents;
        let agents = agents.into_iter().map(|agent| {
            (
                agent.id.unwrap().path,
                (agent.banned, agent.x509svid_serial_number),
            )
        });
        Self {
            agents: agents.collect(),
            entries: EntryClient::new(admin.clone())
                .count_entries(CountEntriesRequest::default())
                .await
                .unwrap()
                .into_inner()
                .count,
            bundle: BundleClient::new(admin)
                .get_bundle(GetBundleRequest::default())
                .await
                .unwrap()
                .into_inner(),
        }
    }
}

fn csr() -> Vec<u8> {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    generate_csr(&key, None, &[]).unwrap()
}

async fn authorized(channel: &Channel) -> Result<usize, Status> {
    let response = EntryClient::new(channel.clone())
        .get_authorized_entries(GetAuthorizedEntriesRequest::default())
        .await?;
    Ok(response.into_inner().entries.len())
}

async fn renew(channel: &Channel) -> Result<types::X509svid, Status> {
    let params = agent_wire::AgentX509svidParams { csr: csr() };
    let response = AgentClient::new(channel.clone())
        .renew_agent(agent_wire::RenewAgentRequest {
            params: Some(params),
        })
        .await?;
    Ok(response.into_inner().svid.unwrap())
}

async fn new_x509(channel: &Channel, entry_id: &str) -> Result<types::Status, Status> {
    let params = NewX509svidParams {
        entry_id: entry_id.to_owned(),
        csr: csr(),
    };
    let response = SvidClient::new(channel.clone())
        .batch_new_x509svid(BatchNewX509svidRequest {
            params: vec![params],
        })
        .await?;
    Ok(response.into_inner().results.remove(0).status.unwrap())
}

async fn new_jwt(channel: &Channel, entry_id: &str) -> Result<String, Status> {
    let response = SvidClient::new(channel.clone())
        .new_jwtsvid(NewJwtsvidRequest {
            entry_id: entry_id.to_owned(),
            audience: vec!["someone".to_owned()],
        })
        .await?;
    Ok(response.into_inner().svid.unwrap().token)
}

async fn attest(channel: &Channel, token: &str, csr: Vec<u8>) -> Result<(), Status> {
    let mut answers = AgentClient::new(channel.clone())
        .attest_agent(tokio_stream::once(attest_request(token, csr)))
        .await?
        .into_inner();
    let answer = answers.message().await?;
    assert!(answer.unwrap().step.is_some());
    Ok(())
}

async fn ban(world: &World, agent: &Agent) {
    let request = agent_wire::BanAgentRequest {
        id: Some(wire_id(agent.id.path())),
    };
    let mut admin = AgentClient::new(world.admin().await);
    admin.ban_agent(request).await.unwrap();
}

async fn evict(world: &World, agent: &Agent) {
    let request = agent_wire::DeleteAgentRequest {
        id: Some(wire_id(agent.id.path())),
    };
    let mut admin = AgentClient::new(world.admin().await);
    admin.delete_agent(request).await.unwrap();
}

/// Refused by the authorization of `method`, with the reason that agents act on.
fn assert_denied<T: std::fmt::Debug>(
    result: Result<T, Status>,
    method: &str,
    reason: Option<Reason>,
) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(
        status.message(),
        format!("authorization denied for method /spire.api.server.{method}")
    );
    let details = proto::google::rpc::Status::decode(status.details()).unwrap();
    let found = details.details.first().map(|detail| {
        types::PermissionDeniedDetails::decode(detail.value.as_slice())
            .unwrap()
            .reason()
    });
    assert_eq!(found, reason, "{method}");
}

/// Every call that only agents may make is refused for `reason`.
async fn assert_no_agent(channel: &Channel, reason: Option<Reason>) {
    assert_denied(renew(channel).await, "agent.v1.Agent/RenewAgent", reason);
    assert_denied(
        authorized(channel).await,
        "entry.v1.Entry/GetAuthorizedEntries",
        reason,
    );
    assert_denied(
        new_x509(channel, "e").await,
        "svid.v1.SVID/BatchNewX509SVID",
        reason,
    );
    assert_denied(
        new_jwt(channel, "e").await,
        "svid.v1.SVID/NewJWTSVID",
        reason,
    );
    let posted = AgentClient::new(channel.clone())
        .post_status(agent_wire::PostStatusRequest::default())
        .await;
    assert_denied(posted, "agent.v1.Agent/PostStatus", reason);
}

/// The handshake fails: the caller never gets to make a call.
async fn assert_no_connection(world: &World, svid: X509Svid) {
    let spiffe_id = svid.spiffe_id().clone();
    let Ok(channel) = world.try_holder(svid).await else {
        return;
    };
    // In TLS 1.3 the client is done first and learns of its refusal from the first call.
    let request = GetBundleRequest::default();
    let status = BundleClient::new(channel)
        .get_bundle(request)
        .await
        .unwrap_err();
    assert!(
        matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Internal
        ),
        "{spiffe_id}: {status:?}"
    );
}

#[tokio::test]
async fn caller_without_a_certificate_changes_nothing() {
    let world = World::start().await;
    let agent = world.agent().await;
    let before = Snapshot::of(&world).await;
    let anonymous = world.anonymous().await;
    assert_no_agent(&anonymous, None).await;

    let mut agents = AgentClient::new(anonymous.clone());
    let id = || Some(wire_id(agent.id.path()));
    let banned = agents
        .ban_agent(agent_wire::BanAgentRequest { id: id() })
        .await;
    assert_denied(banned, "agent.v1.Agent/BanAgent", None);
    let deleted = agents
        .delete_agent(agent_wire::DeleteAgentRequest { id: id() })
        .await;
    assert_denied(deleted, "agent.v1.Agent/DeleteAgent", None);
    let token = agents
        .create_join_token(agent_wire::CreateJoinTokenRequest {
            ttl: 60,
            ..agent_wire::CreateJoinTokenRequest::default()
        })
        .await;
    assert_denied(token, "agent.v1.Agent/CreateJoinToken", None);
    let created = EntryClient::new(anonymous.clone())
        .batch_create_entry(BatchCreateEntryRequest {
            entries: vec![entry("/w", agent.id.path())],
            output_mask: None,
        })
        .await;
    assert_denied(created, "entry.v1.Entry/BatchCreateEntry", None);
    let minted = SvidClient::new(anonymous.clone())
        .mint_x509svid(MintX509svidRequest { csr: csr(), ttl: 0 })
        .await;
    assert_denied(minted, "svid.v1.SVID/MintX509SVID", None);
    let appended = BundleClient::new(anonymous)
        .append_bundle(AppendBundleRequest::default())
        .await;
    assert_denied(appended, "bundle.v1.Bundle/AppendBundle", None);

    assert_eq!(Snapshot::of(&world).await, before);
}

#[tokio::test]
async fn workload_with_an_svid_is_no_agent_and_no_administrator() {
    let world = World::start().await;
    let before = Snapshot::of(&world).await;
    let workload = world.minted("/workload").await;
    assert_no_agent(&workload, Some(Reason::AgentNotAttested)).await;
    let created = EntryClient::new(workload)
        .batch_create_entry(BatchCreateEntryRequest::default())
        .await;
    assert_denied(created, "entry.v1.Entry/BatchCreateEntry", None);
    assert_eq!(Snapshot::of(&world).await, before);
}

#[tokio::test]
async fn banned_agent_is_refused_on_old_and_new_connections() {
    let world = World::start().await;
    let agent = world.agent().await;
    assert_eq!(authorized(&agent.channel).await.unwrap(), 0);
    ban(&world, &agent).await;
    let before = Snapshot::of(&world).await;
    assert_no_agent(&agent.channel, Some(Reason::AgentBanned)).await;
    let again = world.holder(agent.svid.clone()).await;
    assert_no_agent(&again, Some(Reason::AgentBanned)).await;
    assert_eq!(Snapshot::of(&world).await, before);
}

#[tokio::test]
async fn evicted_agent_is_refused_on_old_and_new_connections() {
    let world = World::start().await;
    let agent = world.agent().await;
    evict(&world, &agent).await;
    let before = Snapshot::of(&world).await;
    assert_no_agent(&agent.channel, Some(Reason::AgentNotAttested)).await;
    let again = world.holder(agent.svid.clone()).await;
    assert_no_agent(&again, Some(Reason::AgentNotAttested)).await;
    assert_eq!(Snapshot::of(&world).await, before);
    assert_eq!(before.agents, BTreeMap::new());
}

#[tokio::test]
async fn open_sync_ends_when_its_agent_is_banned() {
    let world = World::start().await;
    let agent = world.agent().await;
    // More than a page, so that the call waits for the agent to ask for entries.
    let entries = (0..501).map(|number| entry(&format!("/w{number}"), agent.id.path()));
    let ids = world.create(entries.collect()).await;
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    let first = SyncAuthorizedEntriesRequest::default();
    requests.send(first).await.unwrap();
    let mut answers = EntryClient::new(agent.channel.clone())
        .sync_authorized_entries(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    while answers.message().await.unwrap().unwrap().more {}
    let wanted = || SyncAuthorizedEntriesRequest {
        ids: ids[..1].to_vec(),
        output_mask: None,
    };
    requests.send(wanted()).await.unwrap();
    let page = answers.message().await.unwrap().unwrap();
    assert_eq!(page.entries.len(), 1);

    ban(&world, &agent).await;
    requests.send(wanted()).await.unwrap();
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_no_agent(&agent.channel, Some(Reason::AgentBanned)).await;
}

#[tokio::test]
async fn agent_with_an_older_svid_is_refused_once_the_newer_was_shown() {
    let world = World::start().await;
    let agent = world.agent().await;
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let params = agent_wire::AgentX509svidParams {
        csr: generate_csr(&key, None, &[]).unwrap(),
    };
    let renewed = AgentClient::new(agent.channel.clone())
        .renew_agent(agent_wire::RenewAgentRequest {
            params: Some(params),
        })
        .await
        .unwrap()
        .into_inner();
    // Until the new one is shown the old one holds: the answer might have been lost.
    assert_eq!(authorized(&agent.channel).await.unwrap(), 0);
    let chain = renewed.svid.unwrap().cert_chain;
    let newer = X509Svid::new(chain.into_iter().map(Into::into).collect(), key).unwrap();
    let newer = world.holder(newer).await;
    assert_eq!(authorized(&newer).await.unwrap(), 0);
    assert_no_agent(&agent.channel, Some(Reason::AgentNotActive)).await;
    assert_eq!(authorized(&newer).await.unwrap(), 0);
}

#[tokio::test]
async fn agent_with_an_expired_svid_is_refused() {
    let clock = Arc::new(FakeClock::new(SystemClock.now()));
    let world = World::start_at(Arc::clone(&clock) as Arc<dyn Clock>, |config| {
        config.agent_ttl = Duration::from_secs(60);
    })
    .await;
    let agent = world.agent().await;
    assert_eq!(authorized(&agent.channel).await.unwrap(), 0);
    let before = Snapshot::of(&world).await;
    clock.advance(Duration::from_secs(61));
    assert_no_agent(&agent.channel, Some(Reason::AgentExpired)).await;
    assert_no_connection(&world, agent.svid).await;
    assert_eq!(Snapshot::of(&world).await, before);
}

#[tokio::test]
async fn foreign_trust_domain_gets_no_connection() {
    let world = World::start().await;
    let foreign = TestAuthority::new("other.test");
    let before = Snapshot::of(&world).await;
    for path in ["/x", "/spire/agent/x", "/spire/server"] {
        assert_no_connection(&world, foreign.x509_svid(path)).await;
    }
    // To know the bundle of a domain is not to trust its members.
    set_bundle(&world, &foreign).await;
    assert_no_connection(&world, foreign.x509_svid("/x")).await;
    assert_eq!(Snapshot::of(&world).await, before);
}

async fn set_bundle(world: &World, foreign: &TestAuthority) {
    let bundle = proto::convert::bundle::to_wire(&foreign.bundle(), None);
    let request = BatchSetFederatedBundleRequest {
        bundle: vec![bundle],
        output_mask: None,
    };
    let mut bundles = world.bundles().await;
    let set = bundles.batch_set_federated_bundle(request).await.unwrap();
    let status = set.into_inner().results.remove(0).status.unwrap();
    assert_eq!(status.message, "OK");
}

#[tokio::test]
async fn foreign_administrator_is_believed_by_the_bundle_of_its_domain() {
    let foreign = TestAuthority::new("other.test");
    let boss = foreign.spiffe_id("/boss");
    let world = World::start_with(|config| config.admin_ids = vec![boss]).await;
    assert_no_connection(&world, foreign.x509_svid("/boss")).await;
    set_bundle(&world, &foreign).await;
    let admitted = async {
        // Handshakes know a new bundle soon after it is stored, not at once.
        loop {
            if let Ok(channel) = world.try_holder(foreign.x509_svid("/boss")).await {
                let request = CountEntriesRequest::default();
                if let Ok(count) = EntryClient::new(channel).count_entries(request).await {
                    return count.into_inner().count;
                }
            }
        }
    };
    let within = Duration::from_secs(10);
    assert_eq!(tokio::time::timeout(within, admitted).await.unwrap(), 0);
    let impostor = TestAuthority::new("other.test");
    assert_no_connection(&world, impostor.x509_svid("/boss")).await;
    assert_no_connection(&world, foreign.x509_svid("/somebody")).await;
}

#[tokio::test]
async fn other_authority_cannot_speak_for_the_trust_domain() {
    let world = World::start_with(|config| config.admin_ids = vec![id("/boss")]).await;
    let agent = world.agent().await;
    let before = Snapshot::of(&world).await;
    let impostor = TestAuthority::new("example.org");
    for path in ["/boss", agent.id.path(), "/spire/server"] {
        assert_no_connection(&world, impostor.x509_svid(path)).await;
    }
    assert_eq!(Snapshot::of(&world).await, before);
}

const NOT_REDEEMABLE: &str = "failed to attest: join token does not exist or has already been used";

fn assert_invalid(result: Result<(), Status>, message: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(status.message(), message);
}

#[tokio::test]
async fn join_token_admits_once() {
    let world = World::start().await;
    let anonymous = world.anonymous().await;
    let token = world.join_token().await;
    attest(&anonymous, &token, csr()).await.unwrap();
    let before = Snapshot::of(&world).await;
    assert_eq!(before.agents.len(), 1);
    assert_invalid(attest(&anonymous, &token, csr()).await, NOT_REDEEMABLE);
    assert_invalid(attest(&anonymous, "nope", csr()).await, NOT_REDEEMABLE);
    assert_invalid(attest(&anonymous, "../../x", csr()).await, NOT_REDEEMABLE);
    assert_eq!(Snapshot::of(&world).await, before);
}

#[tokio::test]
async fn join_token_shown_by_many_at_once_admits_one() {
    let world = World::start().await;
    let token = world.join_token().await;
    let mut attempts = JoinSet::new();
    for _ in 0..8 {
        let channel = world.anonymous().await;
        let token = token.clone();
        attempts.spawn(async move { attest(&channel, &token, csr()).await });
    }
    let outcomes = attempts.join_all().await;
    let (admitted, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((admitted.len(), refused.len()), (1, 7));
    for outcome in refused {
        assert_invalid(outcome, NOT_REDEEMABLE);
    }
    assert_eq!(Snapshot::of(&world).await.agents.len(), 1);
}

#[tokio::test]
async fn expired_join_token_is_refused_and_gone() {
    let clock = Arc::new(FakeClock::new(SystemClock.now()));
    let world = World::start_at(Arc::clone(&clock) as Arc<dyn Clock>, |_| {}).await;
    let anonymous = world.anonymous().await;
    let token = world.join_token().await;
    let before = Snapshot::of(&world).await;
    clock.advance(Duration::from_secs(61));
    assert_invalid(
        attest(&anonymous, &token, csr()).await,
        "join token expired",
    );
    assert_invalid(attest(&anonymous, &token, csr()).await, NOT_REDEEMABLE);
    assert_eq!(Snapshot::of(&world).await, before);
}

#[tokio::test]
async fn key_that_the_agent_does_not_hold_is_not_certified() {
    let world = World::start().await;
    let anonymous = world.anonymous().await;
    let token = world.join_token().await;
    let before = Snapshot::of(&world).await;
    let mut forged = csr();
    // The last byte belongs to the signature.
    *forged.last_mut().unwrap() ^= 1;
    let status = attest(&anonymous, &token, forged.clone())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(
        status.message().starts_with("failed to parse CSR: "),
        "{status:?}"
    );
    // As in SPIRE, the token is used up.
    assert_invalid(attest(&anonymous, &token, csr()).await, NOT_REDEEMABLE);
    assert_eq!(Snapshot::of(&world).await, before);

    let agent = world.agent().await;
    let before = Snapshot::of(&world).await;
    let renewed = AgentClient::new(agent.channel)
        .renew_agent(agent_wire::RenewAgentRequest {
            params: Some(agent_wire::AgentX509svidParams { csr: forged }),
        })
        .await;
    let status = renewed.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(
        status.message().starts_with("failed to parse CSR: "),
        "{status:?}"
    );
    assert_eq!(Snapshot::of(&world).await, before);
}

#[tokio::test]
async fn entries_of_another_agent_are_not_signed_for() {
    let world = World::start().await;
    let (one, other) = (world.agent().await, world.agent().await);
    let ids = world.create(vec![entry("/w", one.id.path())]).await;
    let signed = new_x509(&one.channel, &ids[0]).await.unwrap();
    assert_eq!(signed.message, "OK");
    for entry_id in [ids[0].as_str(), "nope", "not an id"] {
        let refused = new_x509(&other.channel, entry_id).await.unwrap();
        assert_eq!(refused.code, i32::from(Code::NotFound), "{entry_id}");
        assert_eq!(refused.message, "entry not found or not authorized");
        let status = new_jwt(&other.channel, entry_id).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
        assert_eq!(status.message(), "entry not found or not authorized");
    }
    assert_eq!(authorized(&one.channel).await.unwrap(), 1);
    assert_eq!(authorized(&other.channel).await.unwrap(), 0);
}

#[tokio::test]
async fn oversized_message_of_a_stranger_is_refused() {
    let world = World::start().await;
    let token = world.join_token().await;
    let before = Snapshot::of(&world).await;
    let anonymous = world.anonymous().await;
    let status = attest(&anonymous, &token, vec![0; 300 << 10])
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(
        status
            .message()
            .starts_with("grpc: received message larger than max"),
        "{status:?}"
    );
    assert_eq!(Snapshot::of(&world).await, before);
    // The connection and the token are as good as before.
    attest(&anonymous, &token, csr()).await.unwrap();
}
