//! Node attestation: how an agent without an SVID gets one.
//!
//! Over one connection, made without a client certificate: evidence in, SVID out, then the bundle.
//! If that breaks once the SVID is there, the bundle comes over another one.

mod attestor;
pub(crate) mod external;
mod start;
pub mod x509pop;

use std::sync::Arc;
use std::time::Duration;

use daemon::supervisor::chain;
use identity::bundle::Bundle;
use identity::secret::PrivateKey;
use identity::spiffe_id::SpiffeId;
use identity::tls::{PeerError, TlsError, TlsMaterial, verify_svid_chain};
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
use tracing::debug;

use crate::backoff::FullJitter;
use crate::bootstrap::TrustSourceError;
use crate::client::{self, CallError, Dialer, Malformed, Servers};
use crate::jitter::jitter;

pub use attestor::{Attempt, AttestorError, JoinToken, Lasts, NodeAttestor};
pub use start::{StartError, Starter};

/// The time that a whole attestation may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// No attestor in use has more than one.
const MAX_CHALLENGES: usize = 16;

/// Bounds of the wait before a bundle is asked for again.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(2);

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
    servers: &Servers,
    attestor: &dyn NodeAttestor,
    key: &PrivateKey,
) -> Result<Attested, AttestError> {
    let csr_der = generate_csr(key, None, &[]).map_err(AttestError::Csr)?;
    let whole = async {
        let channel = dialer.connect().await.map_err(CallError::Dial)?;
        let (signed, reattestable) = request_svid(channel.clone(), attestor, csr_der).await?;
        let svid = X509Svid::new(signed, key.clone()).map_err(AttestError::Svid)?;
        let bundle = bundle(dialer, channel, &servers.trust_domain).await?;
        check(&svid, &bundle, servers)?;
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

/// The bundle over `channel`, or over another connection: the evidence may be spent by now, so
/// nothing less than the deadline of the attestation ends the attempts.
async fn bundle(
    dialer: &Dialer,
    channel: Channel,
    trust_domain: &TrustDomain,
) -> Result<Bundle, CallError> {
    let mut backoff = FullJitter::new(FIRST_RETRY, MAX_RETRY);
    let mut connection = Ok(channel);
    loop {
        let result = match connection {
            Ok(channel) => client::own_bundle(channel, trust_domain).await,
            Err(error) => Err(CallError::Dial(error)),
        };
        match result {
            Err(error) if error.is_transient() => {
                debug!(error = %chain(&error), "Failed to fetch bundle; retrying");
            }
            other => return other,
        }
        tokio::time::sleep(backoff.next(jitter())).await;
        connection = dialer.connect().await;
    }
}

/// The server may send what it likes, above all in an insecure bootstrap; what is kept must fit
/// together.
fn check(svid: &X509Svid, bundle: &Bundle, servers: &Servers) -> Result<(), AttestError> {
    let id = svid.spiffe_id();
    if !id.is_member_of(&servers.trust_domain) || !id.is_agent() {
        return Err(AttestError::NotAnAgent(id.clone()));
    }
    let material = TlsMaterial::new(None, [Arc::new(bundle.clone())])?;
    // The server's clock may be ahead of this one.
    let now = servers.clock.now().max(svid.not_before());
    verify_svid_chain(svid.chain(), &material, now).map_err(AttestError::Unverifiable)?;
    Ok(())
}

async fn request_svid(
    channel: Channel,
    attestor: &dyn NodeAttestor,
    csr_der: Vec<u8>,
) -> Result<(client::SignedChain, bool), AttestError> {
    let failed = |cause| AttestError::Attestor {
        name: attestor.name().into(),
        cause,
    };
    let mut attempt = attestor.begin().await.map_err(failed)?;
    let (requests, outgoing) = mpsc::channel(1);
    let first = first_request(attestor.name(), attempt.payload(), csr_der);
    let sent = requests.send(first).await;
    sent.expect("invariant: the receiver is still here");
    let mut answers = AgentClient::new(channel)
        .attest_agent(ReceiverStream::new(outgoing))
        .await
        .map_err(CallError::from)?
        .into_inner();
    for _ in 0..=MAX_CHALLENGES {
        let answer = answers.message().await.map_err(CallError::from)?;
        let challenge = match answer.and_then(|answer| answer.step) {
            Some(attest_agent_response::Step::Result(result)) => {
                let chain = client::chain(result.svid).map_err(CallError::from)?;
                return Ok((chain, result.reattestable));
            }
            Some(attest_agent_response::Step::Challenge(challenge)) => challenge,
            None => return Err(CallError::from(Malformed::Missing("attestation result")).into()),
        };
        let response = attempt.answer(challenge).await.map_err(failed)?;
        let step = Some(attest_agent_request::Step::ChallengeResponse(response));
        // A server that does not listen any more says why with its next answer.
        requests.send(AttestAgentRequest { step }).await.ok();
    }
    Err(CallError::from(Malformed::Unexpected("challenge")).into())
}

fn first_request(kind: &str, payload: &[u8], csr_der: Vec<u8>) -> AttestAgentRequest {
    AttestAgentRequest {
        step: Some(attest_agent_request::Step::Params(
            attest_agent_request::Params {
                data: Some(AttestationData {
                    r#type: kind.to_owned(),
                    payload: payload.to_vec(),
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
    /// This node has nothing to show, or no answer.
    #[error("nodeattestor({name}): {cause}")]
    Attestor {
        /// What it is attested by.
        name: Box<str>,
        /// Why not.
        cause: AttestorError,
    },
    /// Nobody told yet whom to believe.
    #[error(transparent)]
    Trust(TrustSourceError),
    /// No certificate request could be made.
    #[error("cannot make a certificate request")]
    Csr(#[source] X509Error),
    /// What the server sent is not an SVID for the key of this agent.
    #[error("server sent an unusable SVID")]
    Svid(#[source] SvidError),
    /// What the server sent is not the SVID of an agent of the trust domain.
    #[error("server sent an SVID of {0}, which is no agent of the trust domain")]
    NotAnAgent(SpiffeId),
    /// The SVID was not signed by an authority of the bundle that came with it.
    #[error("SVID does not verify against the bundle")]
    Unverifiable(#[source] PeerError),
    /// The TLS library refuses the bundle.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
}

impl AttestError {
    /// Whether the next attempt may succeed for no other reason than that a server answers.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_transient())
    }

    /// Whether the evidence may have been used although there is nothing to show for it.
    pub fn is_undecided(&self) -> bool {
        match self {
            Self::Call(error) => error.is_undecided(),
            Self::Attestor { .. } | Self::Trust(_) | Self::Csr(_) | Self::Tls(_) => false,
            Self::Svid(_) | Self::NotAnAgent(_) | Self::Unverifiable(_) => true,
        }
    }

    /// Whether the server's certificate does not chain to the bundle.
    pub fn is_untrusted_server(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_untrusted_server())
    }

    /// Whether the server knows no such token, or not any more.
    pub fn is_spent_token(&self) -> bool {
        matches!(self, Self::Call(error) if error.code() == Code::InvalidArgument)
    }

    /// Whether the server refuses this node for good.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Call(error) if error.code() == Code::PermissionDenied)
    }
}

#[cfg(test)]
mod tests {
    use identity::clock::{FakeClock, UnixTime};
    use identity::testing::TestAuthority;
    use identity::tls::KeyExchange;

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

    #[test]
    fn only_an_agent_of_the_domain_signed_by_its_bundle_is_kept() {
        let own = TestAuthority::at("example.org", NOW);
        let servers = Servers {
            addresses: Vec::new(),
            trust_domain: own.trust_domain().clone(),
            clock: Arc::new(FakeClock::new(NOW)),
            key_exchange: KeyExchange::Any,
        };
        let verdict = |svid: &X509Svid, bundle: &Bundle| {
            check(svid, bundle, &servers).map_err(|error| error.to_string())
        };
        let agent = own.x509_svid("/spire/agent/x");
        assert_eq!(verdict(&agent, &own.bundle()), Ok(()));
        assert_eq!(
            verdict(&own.x509_svid("/workload"), &own.bundle()).unwrap_err(),
            "server sent an SVID of spiffe://example.org/workload, which is no agent of the trust domain"
        );
        let foreign = TestAuthority::at("other.test", NOW).x509_svid("/spire/agent/x");
        assert_eq!(
            verdict(&foreign, &own.bundle()).unwrap_err(),
            "server sent an SVID of spiffe://other.test/spire/agent/x, which is no agent of the trust domain"
        );
        let impostor = TestAuthority::at("example.org", NOW);
        assert_eq!(
            verdict(&impostor.x509_svid("/spire/agent/x"), &own.bundle()).unwrap_err(),
            "SVID does not verify against the bundle"
        );
    }

    #[test]
    fn clock_that_is_late_does_not_refuse_a_fresh_svid() {
        let own = TestAuthority::at("example.org", NOW);
        let servers = Servers {
            addresses: Vec::new(),
            trust_domain: own.trust_domain().clone(),
            clock: Arc::new(FakeClock::new(NOW.saturating_sub(Duration::from_secs(30)))),
            key_exchange: KeyExchange::Any,
        };
        let agent = own.x509_svid("/spire/agent/x");
        assert!(matches!(check(&agent, &own.bundle(), &servers), Ok(())));
    }
}
