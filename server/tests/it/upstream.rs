//! Servers below an upstream, as their clients see them: a key in files, and a server above.

use std::sync::Arc;
use std::time::Duration;

use identity::clock::{Clock as _, SystemClock};
use identity::hex;
use identity::pem::{encode_certificates, encode_private_key};
use identity::secret::{KeyType, PrivateKey};
use identity::testing::TestPki;
use identity::tls::{KeyExchange, TlsMaterial, verify_svid_chain};
use identity::x509::{CertificateInfo, generate_csr};
use plugin_host::{HostServices, Plugins};
use proto::spire::api::server::bundle::v1::GetBundleRequest;
use proto::spire::api::server::localauthority::v1 as authority;
use proto::spire::api::server::localauthority::v1::local_authority_client::LocalAuthorityClient;
use proto::spire::api::server::svid::v1::MintX509svidRequest;
use proto::spire::api::server::svid::v1::svid_client::SvidClient;
use proto::spire::api::types;
use raft_store::{AuthorityKind, AuthorityState};
use rustls_pki_types::CertificateDer;
use server::config::Config;
use server::upstream::{DiskFiles, SpireSettings, UpstreamSettings};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::workload_api::WorkloadApi;
use crate::world::{World, entry, id, trust_domain};

const PATIENCE: Duration = Duration::from_secs(30);

/// An upstream in files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.renew();
        files
    }

    /// Another key; returns its subject key id.
    fn renew(&self) -> String {
        let pki = TestPki::root("upstream", SystemClock.now());
        let certificate = encode_certificates([pki.certificate()]);
        std::fs::write(self.path("c.pem"), certificate).unwrap();
        std::fs::write(self.path("k.pem"), encode_private_key(pki.key()).expose()).unwrap();
        let info = CertificateInfo::parse(pki.certificate()).unwrap();
        hex::lower(&info.subject_key_id.unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn configure(&self, config: &mut Config) {
        config.upstream = Some(UpstreamSettings::Disk(DiskFiles {
            certificates: self.path("c.pem"),
            key: self.path("k.pem"),
            bundle: None,
        }));
    }
}

async fn authorities(world: &World) -> LocalAuthorityClient<Channel> {
    LocalAuthorityClient::new(world.admin().await)
}

async fn x509(world: &World) -> authority::GetX509AuthorityStateResponse {
    let request = authority::GetX509AuthorityStateRequest {};
    let state = authorities(world)
        .await
        .get_x509_authority_state(request)
        .await;
    state.unwrap().into_inner()
}

async fn bundle(world: &World) -> types::Bundle {
    let mut client = world.bundles().await;
    let bundle = client.get_bundle(GetBundleRequest::default()).await;
    bundle.unwrap().into_inner()
}

/// The chain of a fresh SVID.
async fn chain(world: &World, path: &str) -> (Vec<CertificateDer<'static>>, PrivateKey) {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let csr = generate_csr(&key, Some(&id(path)), &[]).unwrap();
    let minted = SvidClient::new(world.admin().await)
        .mint_x509svid(MintX509svidRequest { csr, ttl: 0 })
        .await;
    let svid = minted.unwrap().into_inner().svid.unwrap();
    (svid.cert_chain.into_iter().map(Into::into).collect(), key)
}

/// Whether somebody with this bundle believes the chain.
fn believes(bundle: &types::Bundle, chain: &[CertificateDer<'static>]) -> bool {
    let bundle = proto::convert::bundle::received(bundle).unwrap();
    let material = TlsMaterial::new(None, [Arc::new(bundle)]).unwrap();
    verify_svid_chain(chain, &material, SystemClock.now()).is_ok()
}

/// Has the key of an upstream tainted; answers with its id.
async fn taint(world: &World, subject_key_id: String) -> String {
    let request = authority::TaintX509UpstreamAuthorityRequest { subject_key_id };
    let mut client = authorities(world).await;
    let tainted = client.taint_x509_upstream_authority(request).await;
    tainted
        .unwrap()
        .into_inner()
        .upstream_authority_subject_key_id
}

/// Has the key of an upstream revoked; answers with its id.
async fn revoke(world: &World, subject_key_id: String) -> String {
    let request = authority::RevokeX509UpstreamAuthorityRequest { subject_key_id };
    let mut client = authorities(world).await;
    let revoked = client.revoke_x509_upstream_authority(request).await;
    revoked
        .unwrap()
        .into_inner()
        .upstream_authority_subject_key_id
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), status.message().to_owned())
}

fn intermediates(world: &World) -> Vec<(String, AuthorityState)> {
    world.store().read(|state| {
        let all = state.authorities(AuthorityKind::X509Intermediate);
        all.map(|one| (one.id.to_string(), one.state)).collect()
    })
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn believes_the_new_alone(member: &World, old_chain: &[CertificateDer<'static>]) {
    eventually("revoked", async || {
        bundle(member).await.x509_authorities.len() == 1
    })
    .await;
    eventually("signs below the new key", async || {
        let (chain, _) = chain(member, "/w").await;
        believes(&bundle(member).await, &chain)
    })
    .await;
    assert!(!believes(&bundle(member).await, old_chain));
    assert_eq!(intermediates(member).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_have_one_intermediate_and_follow_a_replaced_key_together() {
    let files = Files::new();
    let mut members = World::cluster_of(&|config| files.configure(config)).await;
    let [first, second, third] = &members;
    let active = x509(first).await.active.unwrap();
    assert_eq!(bundle(first).await.x509_authorities.len(), 1);
    for member in [first, second, third] {
        eventually("one intermediate", async || {
            intermediates(member) == [(active.authority_id.clone(), AuthorityState::Active)]
        })
        .await;
        let (chain, _) = chain(member, "/w").await;
        let signer = CertificateInfo::parse(&chain[1]).unwrap();
        let key_id = hex::lower(&signer.subject_key_id.unwrap());
        assert_eq!(key_id, active.authority_id);
        assert!(believes(&bundle(member).await, &chain));
    }
    // Prepared on a follower, activated on another one, while the leader goes.
    let (old_chain, _) = chain(first, "/w").await;
    let new_upstream = files.renew();
    let request = authority::PrepareX509AuthorityRequest {};
    let prepared = authorities(second)
        .await
        .prepare_x509_authority(request)
        .await;
    let prepared = prepared.unwrap().into_inner().prepared_authority.unwrap();
    assert_eq!(prepared.upstream_authority_subject_key_id, new_upstream);
    members[0].stop().await.unwrap();
    let [_, second, third] = &members;
    let request = authority::ActivateX509AuthorityRequest {
        authority_id: prepared.authority_id.clone(),
    };
    let activated = authorities(third)
        .await
        .activate_x509_authority(request)
        .await;
    activated.unwrap();
    let state = x509(third).await;
    let old = state.old.unwrap();
    assert_eq!(state.active.unwrap().authority_id, prepared.authority_id);
    let subject_key_id = old.upstream_authority_subject_key_id;
    let asked = subject_key_id.to_uppercase();
    assert_eq!(taint(third, asked.clone()).await, subject_key_id);
    let roots: Vec<bool> = bundle(third)
        .await
        .x509_authorities
        .iter()
        .map(|one| one.tainted)
        .collect();
    assert_eq!(roots, [true, false]);
    assert_eq!(revoke(third, asked).await, subject_key_id);
    for member in [second, third] {
        believes_the_new_alone(member, &old_chain).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_below_an_upstream_are_spires() {
    use Code::{FailedPrecondition, InvalidArgument};
    let files = Files::new();
    let world = World::start_with(|config| files.configure(config)).await;
    let mut client = authorities(&world).await;
    let active = x509(&world).await.active.unwrap();
    let taint = authority::TaintX509AuthorityRequest::default();
    assert_eq!(
        refusal(client.taint_x509_authority(taint).await),
        (
            FailedPrecondition,
            "local authority can't be tainted if there is an upstream authority".to_owned()
        )
    );
    let revoke = authority::RevokeX509AuthorityRequest::default();
    assert_eq!(
        refusal(client.revoke_x509_authority(revoke).await),
        (
            FailedPrecondition,
            "local authority can't be revoked if there is an upstream authority".to_owned()
        )
    );
    for (subject_key_id, cause) in [
        ("", "no subject key ID provided"),
        (
            &*active.upstream_authority_subject_key_id,
            "unable to use upstream authority singing current authority",
        ),
        (
            "abc",
            "upstream authority didn't sign the old local authority",
        ),
    ] {
        let subject_key_id = subject_key_id.to_owned();
        let taint = authority::TaintX509UpstreamAuthorityRequest {
            subject_key_id: subject_key_id.clone(),
        };
        assert_eq!(
            refusal(client.taint_x509_upstream_authority(taint).await),
            (
                InvalidArgument,
                format!("provided subject key id is not valid: {cause}")
            )
        );
        let revoke = authority::RevokeX509UpstreamAuthorityRequest { subject_key_id };
        assert_eq!(
            refusal(client.revoke_x509_upstream_authority(revoke).await),
            (InvalidArgument, format!("invalid subject key ID: {cause}"))
        );
    }
}

/// A server above, and what one below it needs.
struct Above {
    world: World,
    api: WorkloadApi,
}

impl Above {
    async fn start() -> Self {
        let world = World::start().await;
        let mut below = entry("/below", "/host");
        below.downstream = true;
        world.create(vec![below, entry("/stranger", "/host")]).await;
        let api = WorkloadApi::start().await;
        let above = Self { world, api };
        above.identify("/below").await;
        above
    }

    /// What the Workload API says from now on.
    async fn identify(&self, path: &str) {
        let (chain, key) = chain(&self.world, path).await;
        let roots = bundle(&self.world).await.x509_authorities;
        let roots = roots.into_iter().flat_map(|root| root.asn1).collect();
        self.api.tell(&chain, &key, roots);
    }

    fn settings(&self) -> SpireSettings {
        SpireSettings {
            host: "127.0.0.1".to_owned(),
            port: self.world.address().port(),
            workload_api_socket: self.api.socket(),
            key_exchange: KeyExchange::PostQuantum,
        }
    }

    async fn below(&self) -> World {
        let settings = self.settings();
        World::start_with(|config| config.upstream = Some(UpstreamSettings::Spire(settings))).await
    }

    async fn rotate(&self) -> String {
        let mut client = authorities(&self.world).await;
        let old = x509(&self.world).await.active.unwrap().authority_id;
        let request = authority::PrepareX509AuthorityRequest {};
        let prepared = client
            .prepare_x509_authority(request)
            .await
            .unwrap()
            .into_inner();
        let authority_id = prepared.prepared_authority.unwrap().authority_id;
        let request = authority::ActivateX509AuthorityRequest { authority_id };
        client.activate_x509_authority(request).await.unwrap();
        old
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_of_the_lower_server_is_believed_by_who_has_the_bundle_of_the_upper() {
    let above = Above::start().await;
    let below = above.below().await;
    let (chain_below, _) = chain(&below, "/w").await;
    // Its leaf, its authority, and the intermediate above that.
    assert_eq!(chain_below.len(), 3);
    let upper = bundle(&above.world).await;
    assert!(believes(&upper, &chain_below));
    let lower = bundle(&below).await;
    assert_eq!(lower.x509_authorities, upper.x509_authorities);
    let (chain_above, _) = chain(&above.world, "/w").await;
    assert!(believes(&lower, &chain_above));
    // JWT keys of both are known to both.
    let keys = async |world: &World| {
        let mut keys: Vec<_> = bundle(world)
            .await
            .jwt_authorities
            .into_iter()
            .map(|key| key.key_id)
            .collect();
        keys.sort();
        keys
    };
    eventually("both know both keys", async || {
        let upper = keys(&above.world).await;
        upper.len() == 2 && upper == keys(&below).await
    })
    .await;

    // A rotation by hand above reaches what stands below, and breaks nothing on the way.
    let old = above.rotate().await;
    eventually("the new root is known below", async || {
        bundle(&below).await.x509_authorities.len() == 2
    })
    .await;
    above.identify("/below").await;
    let mut client = authorities(&above.world).await;
    let taint = authority::TaintX509AuthorityRequest {
        authority_id: old.clone(),
    };
    client.taint_x509_authority(taint).await.unwrap();
    eventually("the mark is taken over", async || {
        bundle(&below)
            .await
            .x509_authorities
            .iter()
            .any(|root| root.tainted)
    })
    .await;
    let revoke = authority::RevokeX509AuthorityRequest { authority_id: old };
    client.revoke_x509_authority(revoke).await.unwrap();
    eventually("the old root is gone below", async || {
        bundle(&below).await.x509_authorities.len() == 1
    })
    .await;
    let (after, _) = chain(&below, "/w").await;
    assert!(believes(&bundle(&above.world).await, &after));
    assert!(!believes(&bundle(&below).await, &chain_below));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_below_a_server_ask_for_one_intermediate() {
    let above = Above::start().await;
    let settings = above.settings();
    let mut members = World::cluster_of(&|config| {
        config.upstream = Some(UpstreamSettings::Spire(settings.clone()));
    })
    .await;
    let active = x509(&members[0]).await.active.unwrap().authority_id;
    members[0].stop().await.unwrap();
    let (second, third) = (&members[1], &members[2]);
    eventually("another one leads", async || {
        second.store().leadership().borrow().is_leader
            || third.store().leadership().borrow().is_leader
    })
    .await;
    for member in [second, third] {
        assert_eq!(
            intermediates(member),
            [(active.clone(), AuthorityState::Active)]
        );
        let (chain, _) = chain(member, "/w").await;
        assert!(believes(&bundle(&above.world).await, &chain));
    }
    // It is the new leader that looks at the bundle above.
    above.rotate().await;
    for member in [second, third] {
        eventually("followed by all", async || {
            bundle(member).await.x509_authorities.len() == 2
        })
        .await;
    }
}

/// What an upstream says to somebody without an entry there, and what becomes of the key.
#[tokio::test(flavor = "multi_thread")]
async fn server_above_takes_no_word_of_strangers() {
    let above = Above::start().await;
    above.identify("/stranger").await;
    let settings = UpstreamSettings::Spire(above.settings());
    let clock: Arc<dyn identity::clock::Clock> = Arc::new(SystemClock);
    let own = trust_domain();
    let mut plugins = Plugins::new(&own, HostServices::of_agent());
    let opened = server::upstream::Upstream::open(Some(&settings), &own, clock, &mut plugins);
    let upstream = opened.await.unwrap();
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let request = server::upstream::MintRequest {
        csr: generate_csr(&key, None, &[]).unwrap(),
        preferred_ttl: Duration::from_secs(60),
    };
    let refused = upstream.mint(&request).await.unwrap_err();
    let told = daemon::supervisor::chain(&refused);
    assert!(
        told.contains(
            "unable to request a new Downstream X509CA: PermissionDenied: authorization denied"
        ),
        "{told}"
    );
    above.identify("/below").await;
    let minted = upstream.mint(&request).await.unwrap();
    assert_eq!(minted.chain.len(), 2);
    // An agent that has nothing for it, then none at all.
    above.api.deny();
    upstream.rest().await;
    let told = daemon::supervisor::chain(&upstream.mint(&request).await.unwrap_err());
    assert!(
        told.contains("PermissionDenied: no identity issued"),
        "{told}"
    );
}
