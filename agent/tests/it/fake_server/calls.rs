//! What the server answers.

use std::sync::Arc;
use std::time::Duration;

use identity::clock::{Clock as _, SystemClock};
use identity::jwt_svid::{JwtClaims, random_jti, sign_jwt_svid};
use identity::spiffe_id::SpiffeId;
use identity::testing::TestAuthority;
use identity::x509::{CertificateInfo, Csr};
use parking_lot::Mutex;
use prost::Message as _;
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
    assert!(
        peer.0.is_none(),
        "agents attest without a client certificate"
    );
    let answer = async move {
        let Some(agent_api::attest_agent_request::Step::Params(params)) =
            requests.message().await?.and_then(|request| request.step)
        else {
            return Err(Status::invalid_argument("malformed param"));
        };
        let token = String::from_utf8(params.data.unwrap().payload).unwrap();
        if registry.lock().loses_attestations {
            let registry = &mut *registry.lock();
            registry.asked.attestations += 1;
            registry.tokens.remove(&token);
            registry.loses_attestations = false;
            return Err(Status::unavailable("lost"));
        }
        let registry = &mut *registry.lock();
        registry.asked.attestations += 1;
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
        let path = format!("/spire/agent/join_token/{token}");
        let csr = params.params.unwrap().csr;
        let result = agent_api::attest_agent_response::Result {
            svid: Some(sign(&registry.authority, &path, &csr, registry.agent_ttl)),
            reattestable: registry.reattestable,
        };
        Ok(agent_api::AttestAgentResponse {
            step: Some(agent_api::attest_agent_response::Step::Result(result)),
        })
    };
    Box::pin(futures_util::stream::once(answer))
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
        issued_at: now,
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

/// The first use of a renewed SVID makes the one before invalid.
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
