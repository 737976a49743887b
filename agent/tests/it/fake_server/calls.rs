//! What the server answers.

use std::sync::Arc;
use std::time::Duration;

use identity::clock::{Clock as _, SystemClock};
use identity::jwt_svid::{JwtClaims, random_jti, sign_jwt_svid};
use identity::possession::{ProofKind, proof_kind, verify_proof};
use identity::spiffe_id::SpiffeId;
use identity::testing::TestAuthority;
use identity::x509::{CertificateInfo, Csr};
use parking_lot::Mutex;
use prost::Message as _;
use proto::attestation::x509pop;
use proto::convert;
use proto::google::rpc;
use proto::spire::api::server::agent::v1 as agent_api;
use proto::spire::api::server::bundle::v1 as bundle_api;
use proto::spire::api::server::entry::v1 as entry_api;
use proto::spire::api::server::svid::v1 as svid_api;
use proto::spire::api::types;
use proto::spire::api::types::permission_denied_details::Reason;
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::connection::Peer;
use super::{Answers, Registry};

pub(super) fn attest_agent(
    registry: Arc<Mutex<Registry>>,
    peer: Peer,
    mut requests: Streaming<agent_api::AttestAgentRequest>,
) -> Answers<agent_api::AttestAgentResponse> {
    use agent_api::attest_agent_request::Step as Asked;
    use agent_api::attest_agent_response::{Result as Admitted, Step as Answered};
    assert!(
        peer.0.is_none(),
        "agents attest without a client certificate"
    );
    let (answers, outgoing) = mpsc::channel(1);
    let conversation = async move {
        let Some(Asked::Params(params)) = requests.message().await?.and_then(|one| one.step) else {
            return Err(Status::invalid_argument("malformed param"));
        };
        let data = params.data.unwrap();
        let node = match data.r#type.as_str() {
            "join_token" => by_token(&registry, &data.payload)?,
            "x509pop" => {
                let (challenge, shown) = x509pop_challenge(&data.payload);
                let answer = challenge_agent(challenge, &answers, &mut requests).await?;
                by_proof(&registry, &shown, &answer)?
            }
            "mine" => {
                assert_eq!(data.payload, b"evidence");
                let question = b"question".to_vec();
                let answer = challenge_agent(question, &answers, &mut requests).await?;
                assert_eq!(answer, b"answer to question");
                registry.lock().asked.attestations += 1;
                Node {
                    path: "/spire/agent/mine/a".to_owned(),
                    reattestable: true,
                }
            }
            other => panic!("unknown attestor {other}"),
        };
        let csr = params.params.unwrap().csr;
        let svid = admit(&mut registry.lock(), &node.path, &csr);
        while registry.lock().holds_attestations {
            tokio::task::yield_now().await;
        }
        let result = Admitted {
            svid: Some(svid),
            reattestable: node.reattestable,
        };
        let step = Some(Answered::Result(result));
        let response = agent_api::AttestAgentResponse { step };
        answers.send(Ok(response)).await.ok();
        Ok::<_, Status>(())
    };
    let end = async move { conversation.await.err().map(Err) };
    let end = futures_util::FutureExt::into_stream(end).filter_map(|end| end);
    Box::pin(ReceiverStream::new(outgoing).merge(end))
}

/// The SVID of an agent that attested. The one before is not valid any more.
fn admit(registry: &mut Registry, path: &str, csr: &[u8]) -> types::X509svid {
    let svid = sign(&registry.authority, path, csr, registry.agent_ttl);
    let leaf = CertificateInfo::parse(&svid.cert_chain[0]).unwrap();
    let before = registry.admitted.insert(path.to_owned(), leaf.serial);
    registry.replaced.extend(before);
    svid
}

type Sent = Result<agent_api::AttestAgentResponse, Status>;

/// The agent's answer to a challenge.
async fn challenge_agent(
    challenge: Vec<u8>,
    answers: &mpsc::Sender<Sent>,
    requests: &mut Streaming<agent_api::AttestAgentRequest>,
) -> Result<Vec<u8>, Status> {
    use agent_api::attest_agent_request::Step as Asked;
    let step = Some(agent_api::attest_agent_response::Step::Challenge(challenge));
    let response = agent_api::AttestAgentResponse { step };
    answers.send(Ok(response)).await.ok();
    match requests.message().await?.and_then(|one| one.step) {
        Some(Asked::ChallengeResponse(answer)) => Ok(answer),
        _ => Err(Status::internal("no answer")),
    }
}

/// A node that is admitted.
struct Node {
    path: String,
    reattestable: bool,
}

fn by_token(registry: &Mutex<Registry>, payload: &[u8]) -> Result<Node, Status> {
    let token = String::from_utf8(payload.to_vec()).unwrap();
    let registry = &mut *registry.lock();
    registry.asked.attestations += 1;
    if registry.loses_attestations {
        registry.tokens.remove(&token);
        registry.loses_attestations = false;
        return Err(Status::unavailable("lost"));
    }
    if registry.attest_refused {
        return Err(Status::permission_denied(
            "failed to attest: agent is banned",
        ));
    }
    let is_known = match registry.reattestable {
        true => registry.tokens.contains(&token),
        false => registry.tokens.remove(&token),
    };
    if !is_known {
        return Err(Status::invalid_argument(
            "failed to attest: join token does not exist or has already been used",
        ));
    }
    Ok(Node {
        path: format!("/spire/agent/join_token/{token}"),
        reattestable: registry.reattestable,
    })
}

/// Whose key has to be proved, and over which nonce.
struct Shown {
    spki: Vec<u8>,
    kind: ProofKind,
    nonce: [u8; x509pop::NONCE_LEN_BYTES],
}

fn x509pop_challenge(payload: &[u8]) -> (Vec<u8>, Shown) {
    let evidence = x509pop::Evidence::parse(payload).unwrap();
    let spki = CertificateInfo::parse(&evidence.certificates[0])
        .unwrap()
        .public_key_der;
    let shown = Shown {
        kind: proof_kind(&spki).unwrap(),
        nonce: *uuid::Uuid::new_v4()
            .as_bytes()
            .repeat(2)
            .first_chunk()
            .unwrap(),
        spki,
    };
    let challenge = x509pop::Challenge::new(shown.kind, shown.nonce);
    (challenge.to_bytes(), shown)
}

/// Admits an evicted node again, too.
fn by_proof(registry: &Mutex<Registry>, shown: &Shown, answer: &[u8]) -> Result<Node, Status> {
    let response = x509pop::Response::parse(answer).unwrap();
    let (own, proof) = response.proof(shown.kind).unwrap();
    let message = x509pop::signed_message(&shown.nonce, &own).unwrap();
    verify_proof(&shown.spki, &message, &proof).unwrap();
    let registry = &mut *registry.lock();
    registry.asked.attestations += 1;
    if registry.attest_refused {
        return Err(Status::permission_denied(
            "failed to attest: agent is banned",
        ));
    }
    registry.refusal = None;
    Ok(Node {
        path: "/spire/agent/x509pop/node".to_owned(),
        reattestable: true,
    })
}

pub(super) fn sync_authorized_entries(
    registry: Arc<Mutex<Registry>>,
    peer: Peer,
    mut requests: Streaming<entry_api::SyncAuthorizedEntriesRequest>,
) -> Answers<entry_api::SyncAuthorizedEntriesResponse> {
    let (answers, outgoing) = mpsc::channel(16);
    let conversation = async move {
        check_agent(&mut registry.lock(), &peer)?;
        let first = requests.message().await?.unwrap();
        assert!(first.output_mask.is_some() && first.ids.is_empty());
        let (entries, page_size) = {
            let registry = &mut *registry.lock();
            registry.asked.syncs += 1;
            (registry.entries.clone(), registry.page_size)
        };
        while registry.lock().holds_syncs {
            tokio::task::yield_now().await;
        }
        check_agent(&mut registry.lock(), &peer)?;
        for page in first_pages(&entries, page_size) {
            answers.send(Ok(page)).await.ok();
        }
        while let Some(request) = requests.message().await? {
            registry.lock().asked.id_requests.push(request.ids.len());
            let named = entries
                .iter()
                .filter(|entry| request.ids.contains(&entry.id));
            let mut named: Vec<_> = named.cloned().collect();
            let rest = named.split_off(named.len() / 2);
            for (entries, more) in [(named, true), (rest, false)] {
                let page = entry_api::SyncAuthorizedEntriesResponse {
                    entries,
                    more,
                    ..Default::default()
                };
                answers.send(Ok(page)).await.ok();
            }
        }
        Ok::<_, Status>(())
    };
    let end = async move {
        match conversation.await {
            Ok(()) => None,
            Err(status) if status.code() == Code::Cancelled => None,
            Err(status) => Some(Err(status)),
        }
    };
    let end = futures_util::FutureExt::into_stream(end).filter_map(|end| end);
    // Both are polled: the conversation feeds the channel that the answers come out of.
    Box::pin(ReceiverStream::new(outgoing).merge(end))
}

fn first_pages(
    entries: &[types::Entry],
    page_size: usize,
) -> Vec<entry_api::SyncAuthorizedEntriesResponse> {
    if entries.len() <= page_size {
        return vec![entry_api::SyncAuthorizedEntriesResponse {
            entries: entries.to_vec(),
            ..Default::default()
        }];
    }
    let pages = entries.chunks(page_size);
    let last = pages.len() - 1;
    pages
        .enumerate()
        .map(|(index, page)| entry_api::SyncAuthorizedEntriesResponse {
            entry_revisions: page
                .iter()
                .map(|entry| entry_api::EntryRevision {
                    id: entry.id.clone(),
                    revision_number: entry.revision_number,
                    created_at: entry.created_at,
                })
                .collect(),
            more: index != last,
            ..Default::default()
        })
        .collect()
}

pub(super) fn get_federated_bundle(
    registry: &mut Registry,
    peer: Peer,
    request: bundle_api::GetFederatedBundleRequest,
) -> Result<types::Bundle, Status> {
    check_agent(registry, &peer)?;
    let mut bundles = registry.federated.iter();
    let found = bundles.find(|bundle| bundle.trust_domain == request.trust_domain);
    found
        .cloned()
        .ok_or_else(|| Status::not_found("bundle not found"))
}

pub(super) fn renew_agent(
    registry: &mut Registry,
    peer: Peer,
    request: agent_api::RenewAgentRequest,
) -> Result<agent_api::RenewAgentResponse, Status> {
    let id = check_agent(registry, &peer)?;
    registry.asked.renewals += 1;
    let csr = request.params.unwrap().csr;
    let svid = sign(&registry.authority, id.path(), &csr, registry.agent_ttl);
    let leaf = CertificateInfo::parse(&svid.cert_chain[0]).unwrap();
    let (_, serial) = peer.0.unwrap();
    registry.pending = Some((leaf.serial, serial));
    Ok(agent_api::RenewAgentResponse { svid: Some(svid) })
}

pub(super) fn batch_new_x509_svid(
    registry: &mut Registry,
    peer: Peer,
    request: svid_api::BatchNewX509svidRequest,
) -> Result<svid_api::BatchNewX509svidResponse, Status> {
    check_agent(registry, &peer)?;
    registry.asked.batches.push(request.params.len());
    if registry.fails_to_sign {
        return Err(Status::unavailable("no signer"));
    }
    let results = request.params.iter().map(|params| {
        let entry = registry
            .entries
            .iter()
            .find(|entry| entry.id == params.entry_id)
            .filter(|entry| registry.unknown != Some(entry.id.as_str()));
        match entry {
            Some(entry) => svid_api::batch_new_x509svid_response::Result {
                status: Some(convert::status::ok()),
                svid: Some(sign(
                    &registry.authority,
                    &entry.spiffe_id.as_ref().unwrap().path,
                    &params.csr,
                    registry.svid_ttl,
                )),
            },
            None => svid_api::batch_new_x509svid_response::Result {
                status: Some(convert::status::failed(
                    Code::NotFound,
                    "entry not found or not authorized",
                )),
                svid: None,
            },
        }
    });
    Ok(svid_api::BatchNewX509svidResponse {
        results: results.collect(),
    })
}

pub(super) fn new_jwt_svid(
    registry: &mut Registry,
    peer: Peer,
    request: svid_api::NewJwtsvidRequest,
) -> Result<svid_api::NewJwtsvidResponse, Status> {
    check_agent(registry, &peer)?;
    registry.asked.jwts += 1;
    let mut entries = registry.entries.iter();
    let entry = entries.find(|entry| entry.id == request.entry_id).unwrap();
    let now = SystemClock.now();
    let claims = JwtClaims {
        spiffe_id: registry
            .authority
            .spiffe_id(&entry.spiffe_id.as_ref().unwrap().path),
        audience: request.audience,
        issued_at: now.saturating_sub(registry.jwt_age),
        expires_at: now.saturating_add(registry.jwt_ttl),
        issuer: None,
        jti: Some(random_jti()),
    };
    let (key, key_id) = registry.authority.jwt_key();
    let svid = sign_jwt_svid(key, key_id, &claims).unwrap();
    Ok(svid_api::NewJwtsvidResponse {
        svid: Some(convert::svid::jwt(
            svid.spiffe_id(),
            svid.token(),
            claims.issued_at,
            claims.expires_at,
        )),
    })
}

/// The first use of a renewed SVID makes the one before invalid, another attestation at once.
pub(super) fn check_agent(registry: &mut Registry, peer: &Peer) -> Result<SpiffeId, Status> {
    if let Some(reason) = registry.refusal {
        return Err(refused(reason));
    }
    let Some((id, serial)) = peer.0.clone().filter(|(id, _)| id.is_agent()) else {
        return Err(Status::permission_denied("authorization denied"));
    };
    if let Some((_, before)) = registry.pending.take_if(|(renewed, _)| *renewed == serial) {
        registry.replaced.insert(before);
    }
    if registry.replaced.contains(&serial) {
        registry.asked.outdated += 1;
        return Err(refused(Reason::AgentNotActive));
    }
    Ok(id)
}

fn refused(reason: Reason) -> Status {
    let detail = types::PermissionDeniedDetails {
        reason: reason.into(),
    };
    let details = rpc::Status {
        code: Code::PermissionDenied.into(),
        message: "refused".to_owned(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/spire.api.types.PermissionDeniedDetails".to_owned(),
            value: detail.encode_to_vec(),
        }],
    };
    Status::with_details(
        Code::PermissionDenied,
        "refused",
        details.encode_to_vec().into(),
    )
}

fn sign(authority: &TestAuthority, path: &str, csr: &[u8], ttl: Duration) -> types::X509svid {
    let csr = Csr::parse(csr).unwrap();
    let now = SystemClock.now();
    let not_after = now.saturating_add(ttl);
    let not_before = now.saturating_sub(Duration::from_secs(10));
    let chain: Vec<CertificateDer<'_>> =
        authority.chain_for(path, csr.spki_der(), not_before, not_after);
    convert::svid::x509(&authority.spiffe_id(path), &chain, not_after)
}
