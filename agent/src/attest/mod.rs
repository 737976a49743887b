//! Node attestation: how an agent without an SVID gets one.
//!
//! Over one connection, made without a client certificate: evidence in, SVID out, then the bundle.

mod start;

use std::time::Duration;

use identity::bundle::Bundle;
use identity::secret::{PrivateKey, SecretBytes};
use identity::trust_domain::TrustDomain;
use identity::x509::{X509Error, generate_csr};
use identity::x509_svid::{SvidError, X509Svid};
use proto::spire::api::server::agent::v1::agent_client::AgentClient;
use proto::spire::api::server::agent::v1::{
    AgentX509svidParams, AttestAgentRequest, attest_agent_request, attest_agent_response,
};
use proto::spire::api::types::AttestationData;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::client::{self, CallError, Dialer, Malformed};

pub use start::{StartError, Starter};

/// The time that a whole attestation may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// What proves this node to the server.
pub enum Evidence {
    /// A token that the server made, good for one attestation.
    JoinToken(SecretBytes),
}

/// The outcome of an attestation.
pub struct Attested {
    /// The agent's SVID.
    pub svid: X509Svid,
    /// The bundle of the own trust domain.
    pub bundle: Bundle,
    /// Whether the agent renews its SVID by attesting again.
    pub reattestable: bool,
}

/// Attests this node, for the public key of `key`.
///
/// # Errors
/// The server was not reached, refuses, or breaks the protocol. The evidence may be spent.
pub async fn attest(
    dialer: &Dialer,
    trust_domain: &TrustDomain,
    evidence: &Evidence,
    key: &PrivateKey,
) -> Result<Attested, AttestError> {
    let csr_der = generate_csr(key, None, &[]).map_err(AttestError::Csr)?;
    let whole = async {
        let channel = dialer.connect().await.map_err(CallError::Dial)?;
        let (chain, reattestable) = request_svid(channel.clone(), evidence, csr_der).await?;
        let svid = X509Svid::new(chain, key.clone()).map_err(AttestError::Svid)?;
        let bundle = client::own_bundle(channel, trust_domain).await?;
        Ok(Attested {
            svid,
            bundle,
            reattestable,
        })
    };
    match tokio::time::timeout(DEADLINE, whole).await {
        Ok(result) => result,
        Err(_elapsed) => Err(CallError::Deadline(DEADLINE).into()),
    }
}

async fn request_svid(
    channel: Channel,
    evidence: &Evidence,
    csr_der: Vec<u8>,
) -> Result<(client::SignedChain, bool), CallError> {
    let (requests, outgoing) = mpsc::channel(1);
    let sent = requests.send(first_request(evidence, csr_der)).await;
    sent.expect("invariant: the receiver is still here");
    let mut answers = AgentClient::new(channel)
        .attest_agent(ReceiverStream::new(outgoing))
        .await?
        .into_inner();
    let answer = answers.message().await?.and_then(|answer| answer.step);
    match answer {
        Some(attest_agent_response::Step::Result(result)) => {
            Ok((client::chain(result.svid)?, result.reattestable))
        }
        // A join token is the whole proof.
        Some(attest_agent_response::Step::Challenge(_)) => {
            Err(Malformed::Unexpected("challenge").into())
        }
        None => Err(Malformed::Missing("attestation result").into()),
    }
}

fn first_request(evidence: &Evidence, csr_der: Vec<u8>) -> AttestAgentRequest {
    let Evidence::JoinToken(token) = evidence;
    AttestAgentRequest {
        step: Some(attest_agent_request::Step::Params(
            attest_agent_request::Params {
                data: Some(AttestationData {
                    r#type: "join_token".to_owned(),
                    payload: token.expose().to_vec(),
                }),
                params: Some(AgentX509svidParams { csr: csr_der }),
            },
        )),
    }
}

/// Why an attestation failed.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The server was not reached, or refuses.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No certificate request could be made.
    #[error("cannot make a certificate request")]
    Csr(#[source] X509Error),
    /// What the server sent is not an SVID for the key of this agent.
    #[error("server sent an unusable SVID")]
    Svid(#[source] SvidError),
}

impl AttestError {
    /// Whether the server refuses this node for good.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Call(error) if error.code() == Code::PermissionDenied)
    }
}
