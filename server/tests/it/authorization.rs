//! Who may call what, and what those are told who may not.

use prost::Message as _;
use proto::grpc::health::v1::HealthCheckRequest;
use proto::grpc::health::v1::health_client::HealthClient;
use proto::spire::api::server::agent::v1::agent_client::AgentClient;
use proto::spire::api::server::agent::v1::{BanAgentRequest, DeleteAgentRequest};
use proto::spire::api::server::bundle::v1::GetBundleRequest;
use proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use proto::spire::api::server::entry::v1::entry_client::EntryClient;
use proto::spire::api::server::entry::v1::{
    BatchDeleteEntryRequest, CountEntriesRequest, GetAuthorizedEntriesRequest,
};
use proto::spire::api::server::trustdomain::v1::ListFederationRelationshipsRequest;
use proto::spire::api::server::trustdomain::v1::trust_domain_client::TrustDomainClient;
use proto::spire::api::types;
use proto::spire::api::types::permission_denied_details::Reason;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::world::{World, entry, id, wire_id};

async fn count_entries(channel: &Channel) -> Result<i32, Status> {
    let response = EntryClient::new(channel.clone())
        .count_entries(CountEntriesRequest::default())
        .await?;
    Ok(response.into_inner().count)
}

async fn authorized_entries(channel: &Channel) -> Result<usize, Status> {
    let response = EntryClient::new(channel.clone())
        .get_authorized_entries(GetAuthorizedEntriesRequest::default())
        .await?;
    Ok(response.into_inner().entries.len())
}

fn assert_denied(result: Result<impl std::fmt::Debug, Status>, method: &str) -> Option<Reason> {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(
        status.message(),
        format!("authorization denied for method /spire.api.server.{method}")
    );
    if status.details().is_empty() {
        return None;
    }
    let details = proto::google::rpc::Status::decode(status.details()).unwrap();
    let detail = details.details.first().unwrap();
    let detail = types::PermissionDeniedDetails::decode(detail.value.as_slice()).unwrap();
    Some(detail.reason())
}

const COUNT_ENTRIES: &str = "entry.v1.Entry/CountEntries";
const GET_AUTHORIZED_ENTRIES: &str = "entry.v1.Entry/GetAuthorizedEntries";

#[tokio::test]
async fn caller_without_a_certificate_may_only_do_what_everyone_may() {
    let world = World::start().await;
    let anonymous = world.anonymous().await;
    assert_eq!(
        assert_denied(count_entries(&anonymous).await, COUNT_ENTRIES),
        None
    );
    assert_eq!(
        assert_denied(authorized_entries(&anonymous).await, GET_AUTHORIZED_ENTRIES),
        None
    );
    let bundle = BundleClient::new(anonymous)
        .get_bundle(GetBundleRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(bundle.trust_domain, "example.org");
    assert_eq!(bundle.x509_authorities.len(), 1);
}

#[tokio::test]
async fn local_caller_is_administrator_but_no_agent() {
    let world = World::start().await;
    let admin = world.admin().await;
    assert_eq!(count_entries(&admin).await.unwrap(), 0);
    assert_eq!(
        assert_denied(authorized_entries(&admin).await, GET_AUTHORIZED_ENTRIES),
        None
    );
}

#[tokio::test]
async fn holder_of_an_admin_entry_is_administrator_until_the_entry_goes() {
    let world = World::start().await;
    let boss = world.minted("/boss").await;
    assert_eq!(
        assert_denied(count_entries(&boss).await, COUNT_ENTRIES),
        None
    );
    let admin_entry = types::Entry {
        admin: true,
        ..entry("/boss", "/p")
    };
    let ids = world.create(vec![admin_entry]).await;
    assert_eq!(count_entries(&boss).await.unwrap(), 1);
    world
        .entries()
        .await
        .batch_delete_entry(BatchDeleteEntryRequest { ids })
        .await
        .unwrap();
    assert_eq!(
        assert_denied(count_entries(&boss).await, COUNT_ENTRIES),
        None
    );
}

#[tokio::test]
async fn configured_admin_is_administrator() {
    let world = World::start_with(|config| config.admin_ids = vec![id("/boss")]).await;
    let boss = world.minted("/boss").await;
    assert_eq!(count_entries(&boss).await.unwrap(), 0);
}

#[tokio::test]
async fn agents_are_told_why_they_are_refused() {
    let world = World::start().await;
    let nobody = world.minted("/nobody").await;
    assert_eq!(
        assert_denied(authorized_entries(&nobody).await, GET_AUTHORIZED_ENTRIES),
        Some(Reason::AgentNotAttested)
    );

    let agent = world.agent().await;
    assert_eq!(authorized_entries(&agent.channel).await.unwrap(), 0);
    assert_eq!(
        assert_denied(count_entries(&agent.channel).await, COUNT_ENTRIES),
        None
    );

    let mut admin = AgentClient::new(world.admin().await);
    admin
        .ban_agent(BanAgentRequest {
            id: Some(wire_id(agent.id.path())),
        })
        .await
        .unwrap();
    assert_eq!(
        assert_denied(
            authorized_entries(&agent.channel).await,
            GET_AUTHORIZED_ENTRIES
        ),
        Some(Reason::AgentBanned)
    );
    admin
        .delete_agent(DeleteAgentRequest {
            id: Some(wire_id(agent.id.path())),
        })
        .await
        .unwrap();
    assert_eq!(
        assert_denied(
            authorized_entries(&agent.channel).await,
            GET_AUTHORIZED_ENTRIES
        ),
        Some(Reason::AgentNotAttested)
    );
}

#[tokio::test]
async fn services_of_the_unix_socket_are_unknown_over_tls() {
    let world = World::start().await;
    let check = async |channel| {
        HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await
    };
    let status = check(world.anonymous().await).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "unknown service grpc.health.v1.Health");
    let answer = check(world.admin().await).await.unwrap().into_inner();
    assert_eq!(answer.status, 1);
}

#[tokio::test]
async fn federation_relationships_are_for_administrators() {
    let world = World::start().await;
    let list = async |channel| {
        TrustDomainClient::new(channel)
            .list_federation_relationships(ListFederationRelationshipsRequest::default())
            .await
    };
    assert_eq!(
        assert_denied(
            list(world.anonymous().await).await,
            "trustdomain.v1.TrustDomain/ListFederationRelationships"
        ),
        None
    );
    list(world.admin().await).await.unwrap();
}

#[tokio::test]
async fn oversized_request_is_refused_and_changes_nothing() {
    let world = World::start().await;
    let huge = types::Entry {
        hint: "x".repeat(5 << 20),
        ..entry("/huge", "/p")
    };
    let status = world
        .entries()
        .await
        .batch_create_entry(
            proto::spire::api::server::entry::v1::BatchCreateEntryRequest {
                entries: vec![huge],
                output_mask: None,
            },
        )
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(count_entries(&world.admin().await).await.unwrap(), 0);
}

#[tokio::test]
async fn open_stream_ends_as_unavailable_when_the_server_stops() {
    use proto::spire::api::server::entry::v1::SyncAuthorizedEntriesRequest;
    let mut world = World::start().await;
    let agent = world.agent().await;
    let entries: Vec<_> = (0..501)
        .map(|number| entry(&format!("/w{number}"), agent.id.path()))
        .collect();
    world.create(entries).await;
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    requests
        .send(SyncAuthorizedEntriesRequest::default())
        .await
        .unwrap();
    let mut answers = EntryClient::new(agent.channel.clone())
        .sync_authorized_entries(tokio_stream::wrappers::ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    while answers.message().await.unwrap().unwrap().more {}
    let (stopped, end) = tokio::join!(world.stop(), answers.message());
    stopped.unwrap();
    let status = end.unwrap_err();
    assert!(
        !matches!(status.code(), Code::Ok | Code::Cancelled),
        "{status:?}"
    );
}
