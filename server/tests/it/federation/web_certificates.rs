//! Bundle endpoints of a cluster that show one certificate, obtained by ACME.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use acme::settings::{Patience, Settings};
use acme::testing::look::is_proven;
use acme::testing::{AcmeServer, Vice};
use daemon::https::client_config_believing;
use daemon::port::free_port;
use identity::clock::{Clock as _, SystemClock};
use identity::secret::SecretBytes;
use raft_store::{AcmeSecretKind, Proposal, RecordName, SetSetting};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName};
use server::config::Config;
use server::federation::{BundleEndpointSettings, EndpointProof};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;

use crate::world::World;

const DOMAIN: &str = "bundle.test";
const DEADLINE: Duration = Duration::from_secs(60);

/// A cluster of three whose bundle endpoints are at the addresses; an ACME server looks at the second.
struct Publishers {
    members: [World; 3],
    endpoints: [SocketAddr; 3],
    server: AcmeServer,
}

impl Publishers {
    async fn start(vice: Option<Vice>) -> Self {
        let endpoints = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port().unwrap())));
        let server = AcmeServer::start(endpoints[1]).await;
        // The first member would be turned away before there is a second.
        server.fall_into(Some(Vice::Delay));
        let settings = Settings::new(&server.directory_url(), "a@bundle.test", true);
        let settings = settings.unwrap().believing(vec![server.root()]);
        let settings = settings.with_patience(Patience {
            answer: DEADLINE,
            ..Patience::default()
        });
        let addresses = Mutex::new(endpoints.iter());
        let publish = |config: &mut Config| {
            let address = addresses.lock().unwrap().next().unwrap();
            config.federation.bundle_endpoint = Some(BundleEndpointSettings {
                address: address.to_string(),
                refresh_hint: Duration::from_secs(300),
                proof: EndpointProof::Acme {
                    domain: DOMAIN.into(),
                    settings: settings.clone(),
                },
            });
        };
        let members = World::cluster_of(&publish).await;
        server.fall_into(vice);
        Self {
            members,
            endpoints,
            server,
        }
    }

    /// What a member shows, with its bundle, under the name.
    async fn shown(
        &self,
        member: usize,
        name: &'static str,
    ) -> std::io::Result<CertificateDer<'static>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.root()).unwrap();
        let tls = client_config_believing(roots);
        let stream = TcpStream::connect(self.endpoints[member]).await?;
        let name = ServerName::try_from(name).unwrap();
        let mut stream = TlsConnector::from(tls).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("spiffe_sequence"), "{answer}");
        Ok(shown.into_owned())
    }

    /// Has the leader write a proof, as its order does.
    async fn write_proof(&self, proof: &[u8; 32]) {
        let command = SetSetting {
            key: "acme-proof".into(),
            value: [proof, DOMAIN.as_bytes()].concat(),
            only_if_absent: false,
        };
        let proposal = Proposal::new(SystemClock.now());
        let leader = self.members[0].store();
        leader.propose(command, proposal).await.unwrap();
    }

    async fn is_proven_by(&self, member: usize, proof: &[u8; 32]) -> bool {
        is_proven(self.endpoints[member], DOMAIN, proof).await
    }

    /// Has another member lead.
    async fn lead(&self, member: usize) {
        let next = self.members[member].store();
        let id = next.status().unwrap().member_id;
        next.transfer_leadership(Some(id), DEADLINE).await.unwrap();
    }

    /// Waits until the ACME server has heard so many questions.
    async fn until_asked(&self, questions: u32, within: Duration) {
        let deadline = Instant::now() + within;
        while self.server.questions() < questions {
            assert!(Instant::now() < deadline, "{}", self.server.questions());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until these members show one certificate, which is not `before`.
    async fn all_show(
        &self,
        members: &[usize],
        before: Option<&CertificateDer<'static>>,
    ) -> CertificateDer<'static> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut shown = Vec::new();
            for member in members {
                shown.push(self.shown(*member, DOMAIN).await.ok());
            }
            if let Some(Some(first)) = shown.first()
                && Some(first) != before
                && shown.iter().all(|one| one.as_ref() == Some(first))
            {
                return first.clone();
            }
            assert!(Instant::now() < deadline, "{shown:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn key(world: &World, kind: AcmeSecretKind) -> SecretBytes {
    let store = world.store();
    let record = store.read(|state| state.acme_secret(kind).cloned().unwrap());
    store
        .unseal(&RecordName::acme(kind), &record.sealed_key)
        .unwrap()
}

/// Whether a file below `folder` has these bytes in it.
fn is_on_disk(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => is_on_disk(&path, bytes),
            false => std::fs::read(&path)
                .is_ok_and(|text| text.windows(bytes.len()).any(|window| window == bytes)),
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_certificate_is_proven_by_one_member_shown_by_all_and_renewed_by_the_leader() {
    let mut cluster = Publishers::start(None).await;
    cluster.server.issue_for(Duration::from_secs(12));
    let first = cluster.all_show(&[0, 1, 2], None).await;
    assert_eq!(cluster.server.accounts(), 1);
    let wrong = cluster.shown(2, "other.test").await.unwrap_err();
    assert!(wrong.to_string().contains("fatal alert"), "{wrong}");

    // What lies on disk anywhere is sealed: a PKCS#8 document ends with the public point, behind the secret.
    for kind in AcmeSecretKind::ALL {
        let key = key(&cluster.members[2], kind);
        let document = key.expose();
        for member in &cluster.members {
            let is_there = |bytes| is_on_disk(member.folder(), bytes);
            assert!(!is_there(&document[36..68]), "{kind:?} in the clear");
        }
    }
    assert!(is_on_disk(cluster.members[0].folder(), &first));

    // Renewed by the leader, after its loss by the next.
    cluster.server.issue_for(Duration::from_secs(25));
    let second = cluster.all_show(&[0, 1, 2], Some(&first)).await;
    cluster.server.issue_for(Duration::from_secs(86_400));
    cluster.members[0].stop().await.unwrap();
    assert_eq!(cluster.all_show(&[1, 2], None).await, second);
    let third = cluster.all_show(&[1, 2], Some(&second)).await;
    assert_ne!(third, first);
    assert_eq!(cluster.server.accounts(), 1, "an account is the cluster's");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_leader_is_lost_is_made_again_by_the_next() {
    let mut cluster = Publishers::start(Some(Vice::Procrastination)).await;
    let deadline = Instant::now() + DEADLINE;
    while cluster.server.waiting() == 0 {
        assert!(Instant::now() < deadline, "nothing is ordered");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((cluster.server.looks(), cluster.server.issued()), (1, 0));
    // A server whose ACME server says nothing does all else.
    cluster.shown(1, DOMAIN).await.unwrap_err();
    assert_eq!(cluster.members[1].count_entries().await, 0);

    cluster.server.fall_into(None);
    cluster.members[0].stop().await.unwrap();
    cluster.all_show(&[1, 2], None).await;
    assert_eq!((cluster.server.looks(), cluster.server.issued()), (2, 1));
    assert_eq!(
        cluster.server.accounts(),
        1,
        "the account outlives the leader"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_asked_shows_the_proof_that_was_written_before_and_none_once_cut_off() {
    let mut cluster = Publishers::start(Some(Vice::Silence)).await;
    // Followers learn of a commit some time after it was acknowledged.
    for round in 0..50 {
        let proof = [round; 32];
        cluster.write_proof(&proof).await;
        let shown = tokio::join!(
            cluster.is_proven_by(0, &proof),
            cluster.is_proven_by(1, &proof),
            cluster.is_proven_by(2, &proof)
        );
        assert_eq!(shown, (true, true, true), "round {round}");
    }
    let last = [49; 32];
    assert!(!cluster.is_proven_by(1, &[48; 32]).await);
    cluster.members[2].stop().await.unwrap();
    assert!(cluster.is_proven_by(1, &last).await, "two of three");
    cluster.members[0].stop().await.unwrap();
    let is_kept = cluster.members[1].store().read(|state| {
        state
            .setting("acme-proof")
            .is_some_and(|set| set.starts_with(&last))
    });
    assert!(is_kept);
    assert!(!cluster.is_proven_by(1, &last).await, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_ends_with_the_lead_and_a_failure_is_not_held_against_the_next() {
    let cluster = Publishers::start(Some(Vice::RateLimit)).await;
    // The directory, a nonce, and the account that is refused.
    cluster.until_asked(3, DEADLINE).await;
    cluster.server.fall_into(Some(Vice::Delay));
    let asked = cluster.server.questions();
    cluster.lead(1).await;
    cluster.until_asked(asked + 1, DEADLINE).await;
    // Whoever has failed rests for almost a minute, unless another has led meanwhile.
    cluster.lead(0).await;
    cluster
        .until_asked(asked + 2, Duration::from_secs(30))
        .await;
    cluster.server.fall_into(None);
    cluster.all_show(&[0, 1, 2], None).await;
    assert_eq!((cluster.server.accounts(), cluster.server.issued()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_outlives_an_acme_server_that_floods_it() {
    let cluster = Publishers::start(Some(Vice::Endless)).await;
    for member in [0, 1, 2] {
        cluster.shown(member, DOMAIN).await.unwrap_err();
        assert_eq!(cluster.members[member].count_entries().await, 0);
    }
    assert_eq!(cluster.server.accounts(), 0);
}
