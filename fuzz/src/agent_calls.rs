//! What a server answers to each call of an agent, from attestation on, over TLS as they are made.
//!
//! Must hold: a call ends, what is attested is an agent of the own trust domain that the bundle vouches for, and what is
//! asked for is what is taken.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use agent::attest::{JoinToken, attest};
use agent::client::{
    CallError, Dialer, KnownEntries, Offer, ServerAddress, ServerClient, Servers, SigningRequest,
    TlsMode,
};
use identity::clock::UnixTime;
use identity::entry::EntryId;
use identity::secret::SecretBytes;
use identity::tls::{
    ClientPolicy, KeyExchange, SharedTlsMaterial, TlsMaterial, server_config, verify_svid_chain,
};
use identity::trust_domain::TrustDomain;
use prost::Message;
use proto::conclave::sync::v1::WatchResponse;
use proto::convert;
use proto::spire::api::server::agent::v1 as agents;
use proto::spire::api::server::entry::v1 as entries;
use proto::spire::api::server::svid::v1 as svids;
use proto::spire::api::types;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::foreign::{Answer, Turns, answer, refused, said};
use crate::input::{Input, join};
use crate::wire;
use crate::world::{AUTHORITY, KEY, NOW, OWN, alone, clock, in_time};

/// Which call, then what the server answers to it and to those that follow.
pub fn run(data: &[u8]) {
    if let Err(error) = called(data) {
        assert!(!error.is_empty());
    }
}

fn called(data: &[u8]) -> Result<(), String> {
    let mut input = Input::new(data);
    let call = input.byte() % CALLS;
    let answers = input.pieces(MAX_ANSWERS).into_iter().map(Input::new);
    LazyLock::force(&CLIENT);
    SERVER.answers.set(answers.map(Answer::of));
    if call == ATTEST {
        // A bundle that does not come is asked for for long.
        let tried = alone(async { tokio::time::timeout(AT_ONCE, attested()).await });
        return tried.unwrap_or_else(|late| Err(late.to_string()));
    }
    in_time(make(call)).map_err(|error| error.to_string())
}

const MAX_ANSWERS: usize = 8;
const CALLS: u8 = 9;
const ATTEST: u8 = 8;

const AT_ONCE: Duration = Duration::from_millis(50);

async fn make(call: u8) -> Result<(), CallError> {
    let client = &*CLIENT;
    match call {
        0 => assert_eq!(client.own_bundle().await?.trust_domain, *OWN),
        1 => {
            let other = TrustDomain::parse("other.org").expect("it is a name");
            if let Some(bundle) = client.federated_bundle(&other).await? {
                assert_eq!(bundle.trust_domain, other);
            }
        }
        2 => {
            let requests = ["entry-1", "entry-2"].map(|id| SigningRequest {
                entry_id: entry_id(id),
                csr_der: Vec::new(),
            });
            let chains = client.new_x509_svids(requests.to_vec()).await?;
            assert_eq!(chains.len(), 2);
            assert!(chains.iter().flatten().all(|chain| !chain.is_empty()));
        }
        3 => {
            let (entry, audience) = (entry_id("entry-1"), ["a".to_owned()]);
            let asked = client.new_jwt_svid(&entry, &audience, Duration::from_secs(8));
            let token = asked.await?;
            assert!(token.issued_at <= token.expires_at);
        }
        4 => assert!(!client.renew_agent(Vec::new()).await?.is_empty()),
        5 => {
            let known = KnownEntries::default();
            let found = client.sync_entries(&known).await?;
            assert!(found.iter().all(|(id, entry)| *id == entry.id));
        }
        6 => client.post_status("1.0.0").await?,
        _ => watch(client).await?,
    }
    Ok(())
}

async fn watch(client: &ServerClient) -> Result<(), CallError> {
    let Offer::Changes(mut changes) = client.watch(3).await? else {
        return Ok(());
    };
    let mut held = 3;
    // Every stream comes to an end here.
    while let Ok(batch) = changes.next().await {
        assert!(batch.is_reset || batch.revision >= held);
        held = batch.revision;
    }
    Ok(())
}

async fn attested() -> Result<(), String> {
    let attestor = JoinToken::new(SecretBytes::from(&b"token"[..]));
    let attested = attest(&DIALER, &SERVERS, &attestor, &KEY).await;
    let attested = attested.map_err(|error| error.to_string())?;
    assert!(attested.svid.spiffe_id().is_agent());
    assert_eq!(attested.svid.spiffe_id().trust_domain(), &*OWN);
    assert_eq!(attested.bundle.trust_domain, *OWN);
    let material = TlsMaterial::new(None, [Arc::new(attested.bundle)]).expect("it was checked");
    let now = NOW.max(attested.svid.not_before());
    verify_svid_chain(attested.svid.chain(), &material, now).expect("the bundle vouches for it");
    Ok(())
}

fn entry_id(text: &str) -> EntryId {
    EntryId::parse(text).expect("it is an id")
}

static CLIENT: LazyLock<ServerClient> =
    LazyLock::new(|| ServerClient::new(DIALER.clone(), OWN.clone()));

static DIALER: LazyLock<Dialer> = LazyLock::new(|| {
    let mode = TlsMode::Verified(material("/spire/agent/a"));
    Dialer::new(&SERVERS, mode).expect("the material is good")
});

static SERVERS: LazyLock<Servers> = LazyLock::new(|| Servers {
    addresses: vec![ServerAddress {
        host: "127.0.0.1".to_owned(),
        port: SERVER.port,
    }],
    trust_domain: OWN.clone(),
    clock: clock(),
    key_exchange: KeyExchange::default(),
});

fn material(path: &str) -> SharedTlsMaterial {
    let bundle = Arc::new(AUTHORITY.bundle());
    let material = TlsMaterial::new(Some(AUTHORITY.x509_svid(path)), [bundle]);
    SharedTlsMaterial::new(material.expect("an SVID can be shown"))
}

/// Who has a server's SVID, and says what it likes.
struct Server {
    answers: Turns<Answer>,
    port: u16,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let answers: Turns<Answer> = Turns::default();
    let port = alone(listen(answers.clone()));
    Server { answers, port }
});

#[expect(clippy::disallowed_methods, reason = "it runs as long as the process")]
async fn listen(answers: Turns<Answer>) -> u16 {
    let config = server_config(
        material("/spire/server"),
        ClientPolicy {
            trust_domain: OWN.clone(),
            foreign_ids: BTreeSet::new(),
        },
        KeyExchange::default(),
        clock(),
    );
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("the material is good")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::task::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).ok();
            let (acceptor, answers) = (acceptor.clone(), answers.clone());
            tokio::task::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let (mut near, far) = tokio::io::duplex(64 << 10);
                let connections = tokio_stream::once(Ok::<_, std::io::Error>(far));
                // Who answers goes on by itself until the connection ends.
                let passed = tokio::io::copy_bidirectional(&mut stream, &mut near);
                let ((), _) = tokio::join!(answer(connections, answers), passed);
            });
        }
    });
    port
}

/// A good answer to each, a refusal, and none.
pub fn seeds() -> Vec<Vec<u8>> {
    let bundle = convert::bundle::to_wire(&AUTHORITY.bundle(), None);
    let other = types::Bundle {
        trust_domain: "other.org".to_owned(),
        ..bundle.clone()
    };
    let batch = svids::BatchNewX509svidResponse {
        results: [0, 5].map(signed).to_vec(),
    };
    let jwt = svids::NewJwtsvidResponse {
        svid: Some(types::Jwtsvid {
            token: "e.y.J".to_owned(),
            expires_at: NOW.as_secs() + 60,
            issued_at: NOW.as_secs(),
            ..types::Jwtsvid::default()
        }),
    };
    let renewed = agents::RenewAgentResponse {
        svid: Some(agent_svid()),
    };
    let attested = agents::AttestAgentResponse {
        step: Some(agents::attest_agent_response::Step::Result(
            agents::attest_agent_response::Result {
                svid: Some(agent_svid()),
                reattestable: true,
            },
        )),
    };
    let mut seeds = vec![
        join(&[0], [encoded([bundle.clone()])]),
        join(&[1], [encoded([other])]),
        join(&[2], [encoded([batch])]),
        join(&[3], [encoded([jwt])]),
        join(&[4], [encoded([renewed])]),
        join(&[5], [encoded([whole()])]),
        join(&[6], [encoded([agents::PostStatusResponse::default()])]),
        join(&[7], [encoded(changes())]),
        join(&[ATTEST], [encoded([attested]), encoded([bundle])]),
    ];
    for seed in &seeds {
        // A server of which nothing is taken would have nothing to find.
        called(seed).unwrap_or_else(|error| panic!("call {}: {error}", seed[0]));
    }
    // Whether this stream is still open for further ids depends on who is faster.
    seeds.push(join(&[5], [encoded(pages())]));
    for call in 0..CALLS {
        seeds.push(join(&[call], [refused(7, "no")]));
        seeds.push(join(&[call], [refused(14, "not now")]));
        seeds.push(vec![call]);
    }
    seeds
}

fn encoded<M: Message>(messages: impl IntoIterator<Item = M>) -> Vec<u8> {
    said(messages.into_iter().map(|message| message.encode_to_vec()))
}

/// An agent's SVID for [`KEY`].
fn agent_svid() -> types::X509svid {
    let path = "/spire/agent/join_token/token";
    let end = UnixTime::from_secs(NOW.as_secs() + 60);
    let chain = AUTHORITY.chain_for(path, KEY.public_key_der(), NOW, end);
    types::X509svid {
        cert_chain: chain.iter().map(|der| der.to_vec()).collect(),
        id: Some(convert::id::to_wire(&AUTHORITY.spiffe_id(path))),
        expires_at: end.as_secs(),
        ..types::X509svid::default()
    }
}

fn signed(code: i32) -> svids::batch_new_x509svid_response::Result {
    svids::batch_new_x509svid_response::Result {
        status: Some(types::Status {
            code,
            message: "no".to_owned(),
        }),
        svid: Some(agent_svid()),
    }
}

/// Revisions in two pages, then the entries.
fn pages() -> [entries::SyncAuthorizedEntriesResponse; 3] {
    let page = |id: &str, more| entries::SyncAuthorizedEntriesResponse {
        entry_revisions: vec![entries::EntryRevision {
            id: id.to_owned(),
            revision_number: 3,
            created_at: NOW.as_secs(),
        }],
        more,
        ..entries::SyncAuthorizedEntriesResponse::default()
    };
    [page("entry-1", true), page("entry-2", false), whole()]
}

fn whole() -> entries::SyncAuthorizedEntriesResponse {
    entries::SyncAuthorizedEntriesResponse {
        entries: vec![wire::entry("/w")],
        ..entries::SyncAuthorizedEntriesResponse::default()
    }
}

fn changes() -> [WatchResponse; 2] {
    [
        WatchResponse {
            revision: 5,
            reset: true,
            entries: vec![wire::entry("/w")],
            ..WatchResponse::default()
        },
        WatchResponse {
            revision: 5,
            reset: true,
            is_last: true,
            ..WatchResponse::default()
        },
    ]
}
