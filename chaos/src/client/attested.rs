//! A node that attested itself, and the signing that it asks for.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use identity::{
    secret::{KeyType, PrivateKey},
    x509::generate_csr,
    x509_svid::X509Svid,
};
use proto::spire::api::{
    server::{
        agent::v1::{
            AgentX509svidParams, AttestAgentRequest, agent_client::AgentClient,
            attest_agent_request, attest_agent_response,
        },
        svid::v1::{
            BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams, svid_client::SvidClient,
        },
    },
    types::AttestationData,
};
use rustls_pki_types::CertificateDer;
use tonic::{Code, transport::Channel};

use super::{Operator, Outcome, dial::Caller, operator::own_entry, within};

/// A node with an agent's SVID and one workload's entry.
#[derive(Clone)]
pub struct Attested {
    caller: Caller,
    entry_id: String,
    /// A request for the workload's certificate, made once: its key is not what is tested.
    csr: Vec<u8>,
}

/// Asks for an agent's SVID with a join token, for a new key.
pub async fn attest(channel: Channel, token: &str, deadline: Duration) -> Outcome<X509Svid> {
    match PrivateKey::generate(KeyType::EcP256) {
        Ok(key) => attest_with(channel, token, key, deadline).await,
        Err(error) => Outcome::Refused(format!("no key could be made: {error}")),
    }
}

/// Asks for an agent's SVID with a join token, for this key.
pub async fn attest_with(
    channel: Channel,
    token: &str,
    key: PrivateKey,
    deadline: Duration,
) -> Outcome<X509Svid> {
    let csr = match generate_csr(&key, None, &[]) {
        Ok(csr) => csr,
        Err(error) => return Outcome::Refused(format!("no request could be made: {error}")),
    };
    let request = AttestAgentRequest {
        step: Some(attest_agent_request::Step::Params(
            attest_agent_request::Params {
                data: Some(AttestationData {
                    r#type: "join_token".to_owned(),
                    payload: token.as_bytes().to_vec(),
                }),
                params: Some(AgentX509svidParams { csr }),
            },
        )),
    };
    let call = async {
        let mut client = AgentClient::new(channel);
        let answers = client.attest_agent(tokio_stream::once(request)).await?;
        let answer = answers.into_inner().message().await?;
        Ok(tonic::Response::new(answer))
    };
    within(deadline, call)
        .await
        .and_then(|answer| match answer.and_then(|answer| answer.step) {
            Some(attest_agent_response::Step::Result(result)) => {
                let chain = result.svid.unwrap_or_default().cert_chain;
                let chain = chain.into_iter().map(CertificateDer::from).collect();
                match X509Svid::new(chain, key) {
                    Ok(svid) => Outcome::Done(svid),
                    Err(error) => Outcome::Refused(format!("an unusable SVID: {error}")),
                }
            }
            Some(attest_agent_response::Step::Challenge(_)) | None => {
                Outcome::Undecided("neither a result nor an error".to_owned())
            }
        })
}

impl Attested {
    /// Attests a node called `name` through the member at `address`, with an entry that it may sign for.
    ///
    /// # Errors
    /// A step is refused.
    pub async fn new(operator: &Operator, address: SocketAddr, name: &str) -> anyhow::Result<Self> {
        let parent_path = format!("/node/{name}");
        let mut caller = Caller {
            bundle: operator.bundle().await?,
            svid: None,
        };
        let token = operator.join_token(600, Some(&parent_path)).await?;
        let svid = attest(caller.channel(address)?, &token, DEADLINE).await;
        caller.svid = Some(svid.required().context("cannot attest")?);
        let entry = own_entry(&format!("/signed/{name}"), &parent_path);
        let created = operator
            .create(entry)
            .await
            .required()
            .context("no entry to sign for")?;
        let key = PrivateKey::generate(KeyType::EcP256)?;
        Ok(Self {
            caller,
            entry_id: created.id,
            csr: generate_csr(&key, None, &[])?,
        })
    }

    /// Signing through the member at `address` alone.
    ///
    /// # Errors
    /// The SVID cannot be used for TLS.
    pub fn signer(&self, address: SocketAddr) -> anyhow::Result<Signer> {
        Ok(Signer {
            channel: self.caller.channel(address)?,
            entry_id: self.entry_id.clone(),
            csr: self.csr.clone(),
        })
    }

    /// The SVID of the node.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

const DEADLINE: Duration = Duration::from_secs(20);

/// A node's requests for signatures on one connection.
#[derive(Clone)]
pub struct Signer {
    channel: Channel,
    entry_id: String,
    csr: Vec<u8>,
}

impl Signer {
    /// A signer for another entry on the same connection.
    #[must_use]
    pub fn for_entry(&self, entry_id: &str) -> Self {
        Self {
            entry_id: entry_id.to_owned(),
            ..self.clone()
        }
    }

    /// Asks for an X.509-SVID.
    pub async fn x509(&self, deadline: Duration) -> Outcome<()> {
        let request = BatchNewX509svidRequest {
            params: vec![NewX509svidParams {
                entry_id: self.entry_id.clone(),
                csr: self.csr.clone(),
            }],
        };
        let mut client = SvidClient::new(self.channel.clone());
        let answer = within(deadline, client.batch_new_x509svid(request)).await;
        answer.and_then(|mut answer| {
            let result = answer.results.pop().unwrap_or_default();
            let status = result.status.unwrap_or_default();
            match (Code::from_i32(status.code), result.svid) {
                (Code::Ok, Some(_)) => Outcome::Done(()),
                (code, _) => Outcome::of_failure(code, &status.message),
            }
        })
    }

    /// Asks for a JWT-SVID.
    pub async fn jwt(&self, audience: String, deadline: Duration) -> Outcome<()> {
        let request = NewJwtsvidRequest {
            entry_id: self.entry_id.clone(),
            audience: vec![audience],
        };
        let mut client = SvidClient::new(self.channel.clone());
        let answer = within(deadline, client.new_jwtsvid(request)).await;
        answer.and_then(|answer| match answer.svid {
            Some(_) => Outcome::Done(()),
            None => Outcome::Undecided("an empty answer".to_owned()),
        })
    }
}
