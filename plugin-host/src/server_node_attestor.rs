//! Has a plugin find out which node an agent runs on.

use proto::spire::plugin::server::nodeattestor::v1::node_attestor_client::NodeAttestorClient;
use proto::spire::plugin::server::nodeattestor::v1::{
    AttestRequest, AttestResponse, attest_request, attest_response,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Streaming};

use crate::call::CallError;
use crate::plugin::Plugin;

/// What the plugin is told of the connection that an agent came by; neither proves anything.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The agent's address, as the server sees it.
    pub client_ip: Option<String>,
    /// The server's name in the agent's words.
    pub untrusted_host: Option<String>,
}

/// What a plugin says next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// The agent has to answer this.
    Challenge(Vec<u8>),
    /// The agent is believed.
    Verdict(Verdict),
}

/// Whom a plugin has found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The agent's ID, as the plugin has it: it may be anybody's.
    pub spiffe_id: String,
    /// The values of its selectors.
    pub selector_values: Vec<String>,
    /// Whether the agent may prove the same again.
    pub can_reattest: bool,
}

/// One attempt of one agent.
pub struct Conversation {
    plugin: Plugin,
    requests: mpsc::Sender<AttestRequest>,
    answers: Streaming<AttestResponse>,
}

/// Shows `payload` to the plugin; returns what it says, and the conversation.
///
/// # Errors
/// The plugin does not believe it, or does not answer.
pub async fn begin(
    plugin: &Plugin,
    payload: &[u8],
    origin: &Origin,
) -> Result<(Step, Conversation), CallError> {
    let (requests, outgoing) = mpsc::channel(1);
    requests
        .try_send(request(attest_request::Request::Payload(payload.to_vec())))
        .ok();
    let mut call = Request::new(ReceiverStream::new(outgoing));
    for (name, value) in [
        ("x-forwarded-client-ip", &origin.client_ip),
        ("x-untrusted-forwarded-host", &origin.untrusted_host),
    ] {
        let value = value.as_deref().unwrap_or_default();
        if let Ok(value) = MetadataValue::try_from(value) {
            call.metadata_mut().insert(name, value);
        }
    }
    let opened = plugin.call(|channel| async move {
        let mut client = NodeAttestorClient::new(channel);
        client.attest(call).await
    });
    let mut conversation = Conversation {
        plugin: plugin.clone(),
        requests,
        answers: opened.await?.into_inner(),
    };
    let first = conversation.next().await?;
    Ok((first, conversation))
}

impl Conversation {
    /// Hands the agent's answer to the plugin; returns what it says.
    ///
    /// # Errors
    /// The plugin does not believe it, or does not answer.
    pub async fn answer(&mut self, response: Vec<u8>) -> Result<Step, CallError> {
        let response = request(attest_request::Request::ChallengeResponse(response));
        // A plugin that does not listen any more says why with its next answer.
        let sent = async {
            self.requests.send(response).await.ok();
            Ok(())
        };
        self.plugin.clone().within(sent).await?;
        self.next().await
    }

    async fn next(&mut self) -> Result<Step, CallError> {
        let plugin = self.plugin.clone();
        let answer = async {
            let answer = self.answers.message().await;
            answer.map_err(|status| plugin.refused(&status))
        };
        let broken = |text| self.plugin.error(Code::Internal, text);
        let answer = plugin.within(answer).await?;
        let answer = answer.ok_or_else(|| broken("plugin closed stream unexpectedly"))?;
        match answer.response {
            Some(attest_response::Response::Challenge(challenge)) => Ok(Step::Challenge(challenge)),
            Some(attest_response::Response::AgentAttributes(attributes)) => {
                if attributes.spiffe_id.is_empty() {
                    return Err(broken("plugin response missing agent ID"));
                }
                Ok(Step::Verdict(Verdict {
                    spiffe_id: attributes.spiffe_id,
                    selector_values: attributes.selector_values,
                    can_reattest: attributes.can_reattest,
                }))
            }
            None => Err(broken(
                "plugin response missing challenge or agent attributes",
            )),
        }
    }
}

fn request(request: attest_request::Request) -> AttestRequest {
    AttestRequest {
        request: Some(request),
    }
}
