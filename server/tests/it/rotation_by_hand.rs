//! Rotation of authorities by hand, as operators reach it: on any member, refused by name, and in
//! force on all members at once.

use std::time::Duration;

use proto::spire::api::server::bundle::v1::GetBundleRequest;
use proto::spire::api::server::localauthority::v1::local_authority_client::LocalAuthorityClient;
use proto::spire::api::server::localauthority::v1::{self as wire, AuthorityState};
use proto::spire::api::server::svid::v1::MintX509svidRequest;
use proto::spire::api::server::svid::v1::svid_client::SvidClient;
use proto::spire::api::types::Bundle;

use identity::hex;
use identity::secret::{KeyType, PrivateKey};
use identity::x509::{CertificateInfo, generate_csr};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::world::{World, id};

const PATIENCE: Duration = Duration::from_secs(20);

async fn client(world: &World) -> LocalAuthorityClient<Channel> {
    LocalAuthorityClient::new(world.admin().await)
}

async fn x509(world: &World) -> wire::GetX509AuthorityStateResponse {
    let state = client(world)
        .await
        .get_x509_authority_state(wire::GetX509AuthorityStateRequest {})
        .await;
    state.unwrap().into_inner()
}

async fn prepare(world: &World) -> AuthorityState {
    let prepared = client(world)
        .await
        .prepare_x509_authority(wire::PrepareX509AuthorityRequest {})
        .await;
    prepared.unwrap().into_inner().prepared_authority.unwrap()
}

async fn activate(world: &World, authority_id: String) -> Result<AuthorityState, Status> {
    let request = wire::ActivateX509AuthorityRequest { authority_id };
    let activated = client(world).await.activate_x509_authority(request).await?;
    Ok(activated.into_inner().activated_authority.unwrap())
}

async fn taint(world: &World, authority_id: String) -> Result<AuthorityState, Status> {
    let request = wire::TaintX509AuthorityRequest { authority_id };
    let tainted = client(world).await.taint_x509_authority(request).await?;
    Ok(tainted.into_inner().tainted_authority.unwrap())
}

async fn revoke(world: &World, authority_id: String) -> Result<AuthorityState, Status> {
    let request = wire::RevokeX509AuthorityRequest { authority_id };
    let revoked = client(world).await.revoke_x509_authority(request).await?;
    Ok(revoked.into_inner().revoked_authority.unwrap())
}

async fn own_bundle(world: &World) -> Bundle {
    let bundle = world
        .bundles()
        .await
        .get_bundle(GetBundleRequest::default())
        .await;
    bundle.unwrap().into_inner()
}

/// The id of the root that stands behind an SVID which this member signs now.
async fn signing_root(world: &World) -> String {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let csr = generate_csr(&key, Some(&id("/web")), &[]).unwrap();
    let minted = SvidClient::new(world.admin().await)
        .mint_x509svid(MintX509svidRequest { csr, ttl: 0 })
        .await;
    let svid = minted.unwrap().into_inner().svid.unwrap();
    let intermediate = CertificateInfo::parse(&svid.cert_chain[1]).unwrap();
    hex::lower(&intermediate.authority_key_id.unwrap())
}

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "it did not come to that");
        tokio::task::yield_now().await;
    }
}

fn refusal<T>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.err().expect("a refusal");
    (status.code(), status.message().to_owned())
}

fn is(code: Code, text: &str) -> (Code, String) {
    (code, text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_taken_by_any_member_and_is_in_force_on_all() {
    let members = World::cluster().await;
    let old = x509(&members[0]).await.active.unwrap().authority_id;
    let sequence = own_bundle(&members[0]).await.sequence_number;

    // Each call by another member, which must know what the one before did.
    let prepared = prepare(&members[1]).await.authority_id;
    assert_eq!(
        x509(&members[1]).await.prepared.unwrap().authority_id,
        prepared
    );
    activate(&members[2], prepared.clone()).await.unwrap();
    assert_eq!(signing_root(&members[2]).await, prepared);
    taint(&members[1], old.clone()).await.unwrap();
    let tainted = own_bundle(&members[1]).await.x509_authorities;
    let tainted: Vec<bool> = tainted.iter().map(|one| one.tainted).collect();
    assert_eq!(tainted, [true, false]);
    revoke(&members[2], old.clone()).await.unwrap();
    assert_eq!(own_bundle(&members[2]).await.x509_authorities.len(), 1);

    for member in &members {
        wait_until(async || own_bundle(member).await.sequence_number == sequence + 3).await;
        wait_until(async || signing_root(member).await == prepared).await;
        let state = x509(member).await;
        assert_eq!(state.active.unwrap().authority_id, prepared);
        assert_eq!(state.prepared, None);
        assert_eq!(state.old.unwrap().authority_id, old);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_goes_between_two_steps_takes_nothing_with_it() {
    let [mut first, second, third] = World::cluster().await;
    let old = x509(&first).await.active.unwrap().authority_id;
    let prepared = prepare(&first).await.authority_id;
    first.stop().await.unwrap();
    activate(&second, prepared.clone()).await.unwrap();
    for member in [&second, &third] {
        wait_until(async || signing_root(member).await == prepared).await;
    }
    taint(&third, old.clone()).await.unwrap();
    revoke(&second, old.clone()).await.unwrap();
    assert_eq!(own_bundle(&second).await.x509_authorities.len(), 1);
    // The automatic lifecycle has nothing to add.
    let state = x509(&third).await;
    assert_eq!(state.active.unwrap().authority_id, prepared);
    assert_eq!(state.prepared, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_about_x509_authorities_name_their_reason() {
    use Code::{Internal, InvalidArgument};
    let world = World::start().await;
    let old = x509(&world).await.active.unwrap().authority_id;
    let missing = "no authority ID provided";
    assert_eq!(
        refusal(activate(&world, String::new()).await),
        is(InvalidArgument, missing)
    );
    assert_eq!(
        refusal(taint(&world, String::new()).await),
        is(InvalidArgument, missing)
    );
    assert_eq!(
        refusal(revoke(&world, String::new()).await),
        is(
            InvalidArgument,
            "invalid authority ID: no authority ID provided"
        )
    );
    assert_eq!(
        refusal(revoke(&world, "nope".to_owned()).await),
        is(
            InvalidArgument,
            "invalid authority ID: only Old local authority can be revoked"
        )
    );
    let prepared = prepare(&world).await.authority_id;
    activate(&world, prepared).await.unwrap();
    assert_eq!(
        refusal(activate(&world, old.clone()).await),
        is(
            Internal,
            "only Prepared authorities can be activated: unsupported local authority status: OLD"
        )
    );
    taint(&world, old.clone()).await.unwrap();
    revoke(&world, old.clone()).await.unwrap();
    assert_eq!(
        refusal(taint(&world, old.clone()).await),
        is(
            Internal,
            "failed to taint X.509 authority: no ca found with provided subject key ID"
        )
    );
    assert_eq!(
        refusal(revoke(&world, old).await),
        is(
            Internal,
            "failed to revoke X.509 authority: no root CA found with provided subject key ID"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_fourth_x509_authority_as_long_as_somebody_believes_the_first() {
    let world = World::start().await;
    let first = x509(&world).await.active.unwrap().authority_id;
    for _ in 0..2 {
        let next = prepare(&world).await.authority_id;
        activate(&world, next).await.unwrap();
    }
    let full = client(&world)
        .await
        .prepare_x509_authority(wire::PrepareX509AuthorityRequest {})
        .await;
    assert_eq!(
        refusal(full),
        is(
            Code::FailedPrecondition,
            &format!(
                "failed to prepare X.509 authority: there are 3 authorities that are still \
                 believed; taint and revoke {first} first"
            )
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_about_jwt_authorities_name_their_reason() {
    use Code::{Internal, InvalidArgument};
    let world = World::start().await;
    let mut client = client(&world).await;
    let state = client
        .get_jwt_authority_state(wire::GetJwtAuthorityStateRequest {})
        .await;
    let old = state.unwrap().into_inner().active.unwrap().authority_id;
    let prepared = client
        .prepare_jwt_authority(wire::PrepareJwtAuthorityRequest {})
        .await
        .map(Response::into_inner);
    let prepared = prepared.unwrap().prepared_authority.unwrap().authority_id;
    let mut revoke = async |id: &str| {
        let request = wire::RevokeJwtAuthorityRequest {
            authority_id: id.to_owned(),
        };
        refusal(client.revoke_jwt_authority(request).await)
    };
    for (id, cause) in [
        ("", "no authority ID provided"),
        ("nope", "no JWT authority found with provided authority ID"),
        (&*old, "unable to use current authority"),
        (&*prepared, "unable to use a prepared key"),
    ] {
        let text = format!("invalid authority ID: {cause}");
        assert_eq!(revoke(id).await, is(InvalidArgument, &text));
    }
    let request = wire::ActivateJwtAuthorityRequest {
        authority_id: prepared,
    };
    client.activate_jwt_authority(request).await.unwrap();
    let request = wire::RevokeJwtAuthorityRequest {
        authority_id: old.clone(),
    };
    assert_eq!(
        refusal(client.revoke_jwt_authority(request).await),
        is(
            Internal,
            "failed to revoke JWT authority: it is not possible to revoke an untainted key"
        )
    );
    let request = wire::TaintJwtAuthorityRequest { authority_id: old };
    client.taint_jwt_authority(request.clone()).await.unwrap();
    assert_eq!(
        refusal(client.taint_jwt_authority(request).await),
        is(
            Internal,
            "failed to taint JWT authority: key is already tainted"
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_jwt_svids_has_no_jwt_authorities() {
    let world = World::start_with(|config| config.disable_jwt_svids = true).await;
    let mut client = client(&world).await;
    let disabled = is(Code::Unimplemented, "JWT functionality is disabled");
    let state = client
        .get_jwt_authority_state(wire::GetJwtAuthorityStateRequest {})
        .await;
    assert_eq!(refusal(state), disabled);
    let prepared = client
        .prepare_jwt_authority(wire::PrepareJwtAuthorityRequest {})
        .await;
    assert_eq!(refusal(prepared), disabled);
    let activated = client
        .activate_jwt_authority(wire::ActivateJwtAuthorityRequest::default())
        .await;
    assert_eq!(refusal(activated), disabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_move_authorities() {
    let world = World::start().await;
    let agent = world.agent().await;
    for channel in [world.anonymous().await, agent.channel.clone()] {
        let prepared = LocalAuthorityClient::new(channel)
            .prepare_x509_authority(wire::PrepareX509AuthorityRequest {})
            .await;
        assert_eq!(refusal(prepared).0, Code::PermissionDenied);
    }
    assert_eq!(x509(&world).await.prepared, None);
}
