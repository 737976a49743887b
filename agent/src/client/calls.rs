//! The unary calls, each from domain types to domain types.

use std::time::Duration;

use identity::bundle::Bundle;
use identity::clock::UnixTime;
use identity::entry::EntryId;
use identity::trust_domain::TrustDomain;
use proto::convert;
use proto::spire::api::server::agent::v1::agent_client::AgentClient;
use proto::spire::api::server::agent::v1::{
    AgentX509svidParams, PostStatusRequest, RenewAgentRequest,
};
use proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use proto::spire::api::server::bundle::v1::{GetBundleRequest, GetFederatedBundleRequest};
use proto::spire::api::server::svid::v1::svid_client::SvidClient;
use proto::spire::api::server::svid::v1::{
    BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams, batch_new_x509svid_response,
};
use proto::spire::api::types;
use rustls_pki_types::CertificateDer;
use tonic::Code;
use tonic::transport::Channel;
use zeroize::Zeroizing;

use super::{CALL_DEADLINE, CallError, MAX_ANSWER_LEN_BYTES, Malformed, ServerClient};

/// A request for one workload's X.509-SVID.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    /// The entry it is for.
    pub entry_id: EntryId,
    /// The certificate request in DER, for its public key.
    pub csr_der: Vec<u8>,
}

/// A certificate chain, leaf first.
pub type SignedChain = Vec<CertificateDer<'static>>;

/// A JWT-SVID as the server issued it.
pub struct JwtAnswer {
    /// The token, which is a secret.
    pub token: Zeroizing<String>,
    /// When it was issued.
    pub issued_at: UnixTime,
    /// When it ends.
    pub expires_at: UnixTime,
}

impl ServerClient {
    /// The bundle of the own trust domain.
    ///
    /// # Errors
    /// No answer, or none that is a bundle of that trust domain.
    pub async fn own_bundle(&self) -> Result<Bundle, CallError> {
        self.call(CALL_DEADLINE, |link| {
            own_bundle(link.channel(), &self.0.trust_domain)
        })
        .await
    }

    /// The bundle of another trust domain; `None` if the server has none.
    ///
    /// # Errors
    /// No answer, or none that is a bundle of that trust domain.
    pub async fn federated_bundle(
        &self,
        trust_domain: &TrustDomain,
    ) -> Result<Option<Bundle>, CallError> {
        let request = GetFederatedBundleRequest {
            trust_domain: trust_domain.as_str().to_owned(),
            output_mask: None,
        };
        let answer = self
            .call(CALL_DEADLINE, |link| {
                let request = request.clone();
                async move {
                    let mut client = bundle_client(link.channel());
                    Ok(client.get_federated_bundle(request).await?.into_inner())
                }
            })
            .await;
        match answer {
            Ok(wire) => checked_bundle(&wire, trust_domain).map(Some),
            Err(error) if error.code() == Code::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Signed chains for `requests`, in their order; `None` where the server refuses one.
    ///
    /// # Errors
    /// The call failed as a whole.
    pub async fn new_x509_svids(
        &self,
        requests: Vec<SigningRequest>,
    ) -> Result<Vec<Option<SignedChain>>, CallError> {
        let ids: Vec<_> = requests.iter().map(|one| one.entry_id.clone()).collect();
        let params = requests.into_iter().map(|one| NewX509svidParams {
            entry_id: one.entry_id.as_str().to_owned(),
            csr: one.csr_der,
        });
        let request = BatchNewX509svidRequest {
            params: params.collect(),
        };
        let results = self
            .call(CALL_DEADLINE, |link| {
                let request = request.clone();
                async move {
                    let mut client = svid_client(link.channel());
                    let answer = client.batch_new_x509svid(request).await?;
                    Ok(answer.into_inner().results)
                }
            })
            .await?;
        if results.len() != ids.len() {
            return Err(CallError::Malformed(Malformed::Count {
                requests: ids.len(),
                results: results.len(),
            }));
        }
        ids.iter()
            .zip(results)
            .map(|(id, result)| signed_chain(id, result))
            .collect()
    }

    /// A JWT-SVID for an entry.
    ///
    /// # Errors
    /// No answer within `deadline`, or one that is not a token with its times.
    pub async fn new_jwt_svid(
        &self,
        entry_id: &EntryId,
        audience: &[String],
        deadline: Duration,
    ) -> Result<JwtAnswer, CallError> {
        let request = NewJwtsvidRequest {
            entry_id: entry_id.as_str().to_owned(),
            audience: audience.to_vec(),
        };
        let svid = self
            .call(deadline, |link| {
                let request = request.clone();
                async move {
                    let mut client = svid_client(link.channel());
                    Ok(client.new_jwtsvid(request).await?.into_inner().svid)
                }
            })
            .await?
            .ok_or(Malformed::Missing("JWT-SVID"))?;
        match (svid.issued_at, svid.expires_at) {
            (0, _) => Err(Malformed::Missing("issued at").into()),
            (_, 0) => Err(Malformed::Missing("expires at").into()),
            (issued_at, expires_at) if issued_at > expires_at => Err(Malformed::Lifetime.into()),
            (issued_at, expires_at) => Ok(JwtAnswer {
                token: Zeroizing::new(svid.token),
                issued_at: UnixTime::from_secs(issued_at),
                expires_at: UnixTime::from_secs(expires_at),
            }),
        }
    }

    /// A new chain for the agent itself.
    ///
    /// # Errors
    /// No answer, or none with a chain.
    pub async fn renew_agent(&self, csr_der: Vec<u8>) -> Result<SignedChain, CallError> {
        let request = RenewAgentRequest {
            params: Some(AgentX509svidParams { csr: csr_der }),
        };
        let svid = self
            .call(CALL_DEADLINE, |link| {
                let request = request.clone();
                async move {
                    let mut client = AgentClient::new(link.channel());
                    Ok(client.renew_agent(request).await?.into_inner().svid)
                }
            })
            .await?;
        Ok(chain(svid)?)
    }

    /// Tells the server which version this agent is.
    ///
    /// # Errors
    /// The server does not want to know, or gives no answer.
    pub async fn post_status(&self, agent_version: &str) -> Result<(), CallError> {
        let request = PostStatusRequest {
            agent_version: agent_version.to_owned(),
            ..PostStatusRequest::default()
        };
        self.call(CALL_DEADLINE, |link| {
            let request = request.clone();
            async move {
                AgentClient::new(link.channel())
                    .post_status(request)
                    .await?;
                Ok(())
            }
        })
        .await
    }
}

/// The bundle of `trust_domain`, which is the server's own.
pub(crate) async fn own_bundle(
    channel: Channel,
    trust_domain: &TrustDomain,
) -> Result<Bundle, CallError> {
    let request = GetBundleRequest { output_mask: None };
    let answer = bundle_client(channel).get_bundle(request).await?;
    checked_bundle(&answer.into_inner(), trust_domain)
}

/// The chain of an answer, which must not be empty.
pub(crate) fn chain(svid: Option<types::X509svid>) -> Result<SignedChain, Malformed> {
    let svid = svid.ok_or(Malformed::Missing("X.509-SVID"))?;
    if svid.cert_chain.is_empty() {
        return Err(Malformed::Missing("certificate chain"));
    }
    if svid.expires_at == 0 {
        return Err(Malformed::Missing("expires at"));
    }
    Ok(svid.cert_chain.into_iter().map(Into::into).collect())
}

fn checked_bundle(wire: &types::Bundle, expected: &TrustDomain) -> Result<Bundle, CallError> {
    let bundle = convert::bundle::received(wire)?;
    if bundle.trust_domain != *expected {
        return Err(Malformed::Unexpected("trust domain").into());
    }
    Ok(bundle)
}

fn signed_chain(
    id: &EntryId,
    result: batch_new_x509svid_response::Result,
) -> Result<Option<SignedChain>, CallError> {
    let status = result.status.ok_or(Malformed::Missing("status"))?;
    if convert::status::code(&status) != Code::Ok {
        tracing::debug!(registration_id = %id, reason = %status.message, "Entry not signed");
        return Ok(None);
    }
    Ok(Some(chain(result.svid)?))
}

fn bundle_client(channel: Channel) -> BundleClient<Channel> {
    BundleClient::new(channel).max_decoding_message_size(MAX_ANSWER_LEN_BYTES)
}

fn svid_client(channel: Channel) -> SvidClient<Channel> {
    SvidClient::new(channel).max_decoding_message_size(MAX_ANSWER_LEN_BYTES)
}
