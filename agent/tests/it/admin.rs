//! What the admin socket tells, and what delegates get.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use identity::clock::{Clock as _, SystemClock};
use identity::secret::PrivateKey;
use identity::testing::TestAuthority;
use identity::x509_svid::X509Svid;
use proto::convert;
use proto::spire::agent::debug::v1::GetInfoRequest;
use proto::spire::agent::debug::v1::debug_client::DebugClient;
use proto::spire::api::agent::delegatedidentity::v1::delegated_identity_client::DelegatedIdentityClient;
use proto::spire::api::agent::delegatedidentity::v1::{
    FetchJwtsviDsRequest, SubscribeToJwtBundlesRequest, SubscribeToX509BundlesRequest,
    SubscribeToX509sviDsRequest,
};
use proto::spire::api::agent::logger::v1::logger_client::LoggerClient;
use proto::spire::api::agent::logger::v1::{
    GetLoggerRequest, ResetLogLevelRequest, SetLogLevelRequest,
};
use proto::spire::api::types::{LogLevel, Logger, Selector, Spiffeid};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::fake_server::FakeServer;
use crate::harness::{Agent, Home, entry, next, own_entry, wait_until};

const DELEGATES: &str = "authorized_delegates = [\"spiffe://example.org/delegate\"]";

fn selectors(value: &str) -> Vec<Selector> {
    vec![Selector {
        r#type: "unix".to_owned(),
        value: value.to_owned(),
    }]
}

fn of_selectors(value: &str) -> SubscribeToX509sviDsRequest {
    SubscribeToX509sviDsRequest {
        selectors: selectors(value),
        pid: 0,
    }
}

fn jwt_of(value: &str) -> FetchJwtsviDsRequest {
    FetchJwtsviDsRequest {
        audience: vec!["aud".to_owned()],
        selectors: selectors(value),
        pid: 0,
    }
}

/// This process as a delegate, and a workload `uid:4242` with an entry of each kind.
fn with_workload() -> FakeServer {
    let server = FakeServer::start();
    let partner = TestAuthority::new("partner.example").bundle();
    server.with(|registry| {
        let mut web = entry("w1", "/web", "uid:4242");
        web.federates_with = vec!["partner.example".to_owned()];
        web.hint = "internal".to_owned();
        let mut admin = entry("w2", "/admin", "uid:4242");
        admin.admin = true;
        let mut downstream = entry("w3", "/downstream", "uid:4242");
        downstream.downstream = true;
        let mut twin = entry("w4", "/twin", "uid:4242");
        twin.hint = "internal".to_owned();
        registry.entries = vec![own_entry("d", "/delegate"), web, admin, downstream, twin];
        registry.federated = vec![convert::bundle::to_wire(&partner, None)];
    });
    server
}

async fn delegated(agent: &Agent) -> DelegatedIdentityClient<Channel> {
    DelegatedIdentityClient::new(agent.admin().await)
}

/// The first message of a subscription by selectors.
async fn first_error(agent: &Agent) -> Status {
    let mut client = delegated(agent).await;
    match client
        .subscribe_to_x509svi_ds(of_selectors("uid:4242"))
        .await
    {
        Ok(stream) => next(&mut stream.into_inner()).await.unwrap_err(),
        Err(status) => status,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_socket_is_for_user_and_group_and_the_only_place_of_its_services() {
    let server = FakeServer::start();
    let agent = Home::new().start(&server).await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&agent.admin_socket_path), 0o770);
    assert_eq!(mode(&agent.socket_path), 0o777);
    let mut client = DebugClient::new(agent.connect().await.unwrap());
    let status = client.get_info(GetInfoRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(
        status.message(),
        "unknown service spire.agent.debug.v1.Debug"
    );
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_tells_about_itself() {
    let server = FakeServer::start();
    server.with(|registry| {
        registry.entries = vec![own_entry("e1", "/web"), entry("e2", "/other", "uid:4242")];
    });
    let agent = Home::new().start(&server).await;
    agent.fetch_x509().await.unwrap();
    agent.fetch_jwt(&["a"]).await.unwrap();
    let mut client = DebugClient::new(agent.admin().await);
    wait_until(async || {
        let info = client.get_info(GetInfoRequest {}).await.unwrap();
        info.into_inner().cached_x509_svids_count == 2
    })
    .await;
    let info = client
        .get_info(GetInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.cached_jwt_svids_count, 1);
    assert_eq!(info.cached_svidstore_x509_svids_count, 0);
    let now = SystemClock.now().as_secs();
    assert!(
        (now - 20..=now).contains(&info.last_sync_success),
        "{info:?}"
    );
    assert!((0..20).contains(&info.uptime), "{info:?}");
    let ids: Vec<_> = info.svid_chain.iter().map(|one| one.id.clone()).collect();
    let id = |path: &str| {
        Some(Spiffeid {
            trust_domain: "example.org".to_owned(),
            path: path.to_owned(),
        })
    };
    let agent_id = id("/spire/agent/join_token/token");
    assert_eq!(ids.first(), Some(&agent_id));
    assert_eq!(ids.last(), Some(&id("")), "the root is the last");
    assert!(info.svid_chain.iter().all(|one| one.expires_at > now));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_level_is_told_set_and_reset() {
    let server = FakeServer::start();
    let agent = Home::new().start(&server).await;
    let mut client = LoggerClient::new(agent.admin().await);
    let state = |current: LogLevel| Logger {
        current_level: current.into(),
        launch_level: LogLevel::Info.into(),
    };
    let answer = client.get_logger(GetLoggerRequest {}).await.unwrap();
    assert_eq!(answer.into_inner(), state(LogLevel::Info));
    let request = SetLogLevelRequest {
        new_level: LogLevel::Debug.into(),
    };
    let answer = client.set_log_level(request).await.unwrap();
    assert_eq!(answer.into_inner(), state(LogLevel::Debug));
    let refused = client.set_log_level(SetLogLevelRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let answer = client.get_logger(GetLoggerRequest {}).await.unwrap();
    assert_eq!(answer.into_inner(), state(LogLevel::Debug));
    let answer = client
        .reset_log_level(ResetLogLevelRequest {})
        .await
        .unwrap();
    assert_eq!(answer.into_inner(), state(LogLevel::Info));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_delegate_may_act_for_others() {
    let server = FakeServer::start();
    let home = Home::new().with(DELEGATES);
    let agent = home.start(&server).await;
    let status = first_error(&agent).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.message(), "no identity issued");

    server.with(|registry| registry.entries = vec![own_entry("d", "/somebody")]);
    agent.wait_for_x509().await;
    let status = first_error(&agent).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        "caller not configured as an authorized delegate"
    );
    let mut client = delegated(&agent).await;
    let status = client
        .fetch_jwtsvi_ds(jwt_of("uid:4242"))
        .await
        .unwrap_err();
    assert_eq!(
        status.message(),
        "caller not configured as an authorized delegate"
    );
    for status in [
        client
            .subscribe_to_x509_bundles(SubscribeToX509BundlesRequest {})
            .await
            .map(drop),
        client
            .subscribe_to_jwt_bundles(SubscribeToJwtBundlesRequest {})
            .await
            .map(drop),
    ] {
        assert_eq!(status.unwrap_err().code(), Code::PermissionDenied);
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delegate_gets_svids_of_workloads_but_not_of_administrators() {
    let server = with_workload();
    let agent = Home::new().with(DELEGATES).start(&server).await;
    agent.wait_for_x509().await;
    let mut client = delegated(&agent).await;
    let stream = client
        .subscribe_to_x509svi_ds(of_selectors("uid:4242"))
        .await;
    let mut stream = stream.unwrap().into_inner();
    let message = next(&mut stream).await.unwrap();
    assert_eq!(message.federates_with, ["spiffe://partner.example"]);
    let [web, twin] = message.x509_svids.try_into().unwrap();
    let svid = web.x509_svid.unwrap();
    assert_eq!(svid.hint, "internal");
    assert_eq!(twin.x509_svid.unwrap().hint, "internal");
    let chain = svid.cert_chain.into_iter().map(Into::into).collect();
    let key = PrivateKey::from_pkcs8(&web.x509_svid_key).unwrap();
    let checked = X509Svid::new(chain, key).unwrap();
    assert_eq!(checked.spiffe_id().as_str(), "spiffe://example.org/web");
    assert_eq!(checked.not_after().as_secs(), svid.expires_at);

    // What is pushed next is a change of the workload's, and the end of the delegate's right.
    server.with(|registry| registry.entries.retain(|one| one.id != "w4"));
    assert_eq!(next(&mut stream).await.unwrap().x509_svids.len(), 1);
    server.with(|registry| registry.entries.retain(|one| one.id != "d"));
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!(status.message(), "no identity issued");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription_that_matches_nothing_is_empty_and_stays() {
    let server = with_workload();
    let agent = Home::new().with(DELEGATES).start(&server).await;
    agent.wait_for_x509().await;
    let mut client = delegated(&agent).await;
    let stream = client.subscribe_to_x509svi_ds(of_selectors("uid:77")).await;
    let mut stream = stream.unwrap().into_inner();
    let message = next(&mut stream).await.unwrap();
    assert!(message.x509_svids.is_empty() && message.federates_with.is_empty());
    server.with(|registry| registry.entries.push(entry("l", "/late", "uid:77")));
    assert_eq!(next(&mut stream).await.unwrap().x509_svids.len(), 1);
    agent.stop().await;
}

/// A process of this user that waits until it is dropped.
struct Waiter(Child);

impl Waiter {
    fn start() -> Self {
        let mut command = Command::new("cat");
        Self(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn end(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.end();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_is_named_by_selectors_or_by_a_living_process() {
    let server = with_workload();
    let agent = Home::new().with(DELEGATES).start(&server).await;
    agent.wait_for_x509().await;
    let mut client = delegated(&agent).await;
    let mut process = Waiter::start();
    let by_pid = |pid| SubscribeToX509sviDsRequest {
        selectors: Vec::new(),
        pid,
    };
    let stream = client.subscribe_to_x509svi_ds(by_pid(process.pid())).await;
    let message = next(&mut stream.unwrap().into_inner()).await.unwrap();
    let id = message.x509_svids[0]
        .x509_svid
        .as_ref()
        .unwrap()
        .id
        .as_ref();
    assert_eq!(id.unwrap().path, "/delegate");

    process.end();
    for gone in [process.pid(), -1, i32::MIN] {
        let status = client.subscribe_to_x509svi_ds(by_pid(gone)).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{gone}");
        assert_eq!(status.message(), "workload attestation failed");
    }
    let both = SubscribeToX509sviDsRequest {
        pid: 1,
        ..of_selectors("uid:4242")
    };
    for request in [both, by_pid(0)] {
        let status = client.subscribe_to_x509svi_ds(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "must provide either selectors or non-zero PID, but not both"
        );
    }
    let mut broken = of_selectors("uid:1");
    broken.selectors[0].r#type = "a:b".to_owned();
    let status = client.subscribe_to_x509svi_ds(broken).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "could not parse provided selectors");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delegate_gets_tokens_and_is_told_when_there_are_none() {
    let server = with_workload();
    let agent = Home::new().with(DELEGATES).start(&server).await;
    agent.wait_for_x509().await;
    let mut client = delegated(&agent).await;
    let answer = client.fetch_jwtsvi_ds(jwt_of("uid:4242")).await.unwrap();
    let paths: Vec<_> = answer
        .into_inner()
        .svids
        .into_iter()
        .map(|svid| {
            assert!(svid.issued_at > 0 && svid.expires_at > svid.issued_at);
            assert_eq!(svid.token.split('.').count(), 3);
            (svid.id.unwrap().path, svid.hint)
        })
        .collect();
    let hinted = |path: &str| (path.to_owned(), "internal".to_owned());
    assert_eq!(paths, [hinted("/web"), hinted("/twin")]);
    let status = client.fetch_jwtsvi_ds(jwt_of("uid:77")).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status.message(), "no identity issued");
    let without_audience = FetchJwtsviDsRequest {
        audience: Vec::new(),
        ..jwt_of("uid:4242")
    };
    let status = client.fetch_jwtsvi_ds(without_audience).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "audience must be specified");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delegate_follows_all_bundles() {
    let server = with_workload();
    let agent = Home::new().with(DELEGATES).start(&server).await;
    agent.wait_for_x509().await;
    let mut client = delegated(&agent).await;
    let request = SubscribeToX509BundlesRequest {};
    let stream = client.subscribe_to_x509_bundles(request).await;
    let mut x509 = stream.unwrap().into_inner();
    let request = SubscribeToJwtBundlesRequest {};
    let stream = client.subscribe_to_jwt_bundles(request).await;
    let mut jwt = stream.unwrap().into_inner();
    let own = server.with(|registry| registry.authority.bundle());
    let bundles = next(&mut x509).await.unwrap().ca_certificates;
    assert_eq!(
        bundles["spiffe://example.org"],
        own.x509_authorities[0].certificate.to_vec()
    );
    assert!(bundles.contains_key("spiffe://partner.example"));
    let bundles = next(&mut jwt).await.unwrap().bundles;
    assert_eq!(bundles["spiffe://example.org"], own.jwt_jwks());
    assert_eq!(bundles.len(), 2);

    server.with(|registry| registry.federated.clear());
    let bundles = next(&mut x509).await.unwrap().ca_certificates;
    assert_eq!(
        bundles.into_keys().collect::<Vec<_>>(),
        ["spiffe://example.org"]
    );
    assert_eq!(next(&mut jwt).await.unwrap().bundles.len(), 1);
    agent.stop().await;
}
