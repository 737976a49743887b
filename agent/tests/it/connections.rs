//! Calls while servers fail.

use std::sync::Arc;
use std::time::Duration;

use agent::client::{CallError, Dialer, ServerAddress, ServerClient, Servers, TlsMode};
use daemon::supervisor::Shutdown;
use identity::clock::SystemClock;
use identity::tls::{KeyExchange, SharedTlsMaterial, TlsMaterial};
use proto::spire::api::types::permission_denied_details::Reason;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;

use crate::fake_server::FakeServer;
use crate::harness::wait_until;

/// A client of some servers, with somebody who keeps its connections.
struct Client {
    calls: ServerClient,
    _keeper: JoinSet<()>,
}

impl Client {
    fn of(servers: &[&FakeServer]) -> Self {
        let addresses = servers.iter().map(|server| ServerAddress {
            host: server.address.ip().to_string(),
            port: server.address.port(),
        });
        Self::at(servers[0], addresses.collect())
    }

    /// Trusts what `server` shows, at `addresses`.
    fn at(server: &FakeServer, addresses: Vec<ServerAddress>) -> Self {
        let (trust_domain, material) = server.with(|registry| {
            let authority = &registry.authority;
            let svid = authority.x509_svid("/spire/agent/x");
            let material = TlsMaterial::new(Some(svid), [Arc::new(authority.bundle())]);
            (authority.trust_domain().clone(), material.unwrap())
        });
        let servers = Servers {
            addresses,
            trust_domain: trust_domain.clone(),
            clock: Arc::new(SystemClock),
            key_exchange: KeyExchange::Any,
        };
        let mode = TlsMode::Verified(SharedTlsMaterial::new(material));
        let calls = ServerClient::new(Dialer::new(&servers, mode).unwrap(), trust_domain);
        let mut keeper = JoinSet::new();
        let kept = calls.clone();
        keeper.spawn(async move { kept.keep_connected(Shutdown::new()).await });
        Self {
            calls,
            _keeper: keeper,
        }
    }

    /// A call that every server answers, or refuses.
    async fn call(&self) -> Result<Duration, CallError> {
        let started = Instant::now();
        self.calls.new_x509_svids(Vec::new()).await?;
        Ok(started.elapsed())
    }
}

fn calls(servers: &[FakeServer]) -> Vec<usize> {
    servers.iter().map(FakeServer::calls).collect()
}

/// Which server has taken a call since `before`.
async fn active(client: &Client, servers: &[FakeServer]) -> usize {
    let before = calls(servers);
    client.call().await.unwrap();
    let after = calls(servers);
    (0..servers.len())
        .find(|at| after[*at] > before[*at])
        .unwrap()
}

/// Waits until one connection is in use and another one stands by.
async fn wait_for_standby(servers: &[FakeServer]) {
    wait_until(async || {
        let connected = servers.iter().filter(|server| server.connections() > 0);
        connected.count() >= 2
    })
    .await;
}

fn three() -> [FakeServer; 3] {
    let first = FakeServer::start();
    let others = [first.replica(), first.replica()];
    let [second, third] = others;
    [first, second, third]
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_server_costs_a_call_no_more_than_a_moment() {
    let mut servers = three();
    let client = Client::of(&[&servers[0], &servers[1], &servers[2]]);
    let mut gaps = Vec::new();
    for _ in 0..3 {
        client.call().await.unwrap();
        wait_for_standby(&servers).await;
        let at = active(&client, &servers).await;
        servers[at].stop();
        gaps.push(client.call().await.unwrap());
        servers[at].resume();
    }
    gaps.sort_unstable();
    // The slowest may have met a busy machine.
    assert!(gaps[1] < Duration::from_millis(300), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn call_under_way_when_its_server_dies_is_made_on_another() {
    let mut servers = three();
    let client = Client::of(&[&servers[0], &servers[1], &servers[2]]);
    client.call().await.unwrap();
    wait_for_standby(&servers).await;
    let at = active(&client, &servers).await;
    servers[at].freeze();
    let dies = async {
        // The call is on its way by now: it is polled first.
        tokio::task::yield_now().await;
        servers[at].stop();
    };
    let (took, ()) = tokio::join!(client.call(), dies);
    let took = took.unwrap();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_server_is_noticed_by_its_missing_pings() {
    let servers = three();
    let client = Client::of(&[&servers[0], &servers[1], &servers[2]]);
    client.call().await.unwrap();
    wait_for_standby(&servers).await;
    let at = active(&client, &servers).await;
    servers[at].freeze();
    let gap = client.call().await.unwrap();
    assert!(gap < Duration::from_secs(3), "{gap:?}");
    assert_ne!(active(&client, &servers).await, at);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_server_does_not_hold_up_the_first_call() {
    let servers = three();
    servers[0].freeze();
    servers[1].freeze();
    let client = Client::of(&[&servers[0], &servers[1], &servers[2]]);
    let took = client.call().await.unwrap();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_server_is_left_for_another_until_all_were_asked() {
    let servers = three();
    let client = Client::of(&[&servers[0], &servers[1], &servers[2]]);
    let at = active(&client, &servers).await;
    servers[at].set_unavailable(true);
    client.call().await.unwrap();
    assert_ne!(active(&client, &servers).await, at);

    servers
        .iter()
        .for_each(|server| server.set_unavailable(true));
    let before = calls(&servers);
    let error = client.call().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let asked: Vec<_> = calls(&servers)
        .iter()
        .zip(before)
        .map(|(a, b)| a - b)
        .collect();
    assert_eq!(asked, [1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_is_not_taken_to_another_server() {
    let servers = three();
    let client = Client::of(&[&servers[0], &servers[1], &servers[2]]);
    servers[0].with(|registry| registry.refusal = Some(Reason::AgentBanned));
    let error = client.call().await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert_eq!(calls(&servers).iter().sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_spread_over_the_servers() {
    let servers = three();
    for _ in 0..24 {
        let client = Client::of(&[&servers[0], &servers[1], &servers[2]]);
        client.call().await.unwrap();
    }
    let calls = calls(&servers);
    // One server is left out once in about 17,000 runs.
    assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_all_come_back_are_found_soon() {
    let mut servers = three();
    let client = Client::of(&[&servers[0], &servers[1], &servers[2]]);
    client.call().await.unwrap();
    servers.iter_mut().for_each(FakeServer::stop);
    let error = client.call().await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    servers.iter_mut().for_each(FakeServer::resume);
    // Nobody calls: the keeper connects by itself.
    wait_for_standby(&servers).await;
    client.call().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_is_tried() {
    let server = FakeServer::start();
    // Nobody listens at the first four.
    let addresses = [
        "127.0.0.2",
        "127.0.0.3",
        "127.0.0.4",
        "127.0.0.5",
        "localhost",
    ];
    let addresses = addresses.map(|host| ServerAddress {
        host: host.to_owned(),
        port: server.address.port(),
    });
    for _ in 0..8 {
        let client = Client::at(&server, addresses.to_vec());
        client.call().await.unwrap();
    }
    assert_eq!(server.calls(), 8);
}
