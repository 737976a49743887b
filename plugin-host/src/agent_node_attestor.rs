//! Has a plugin prove which node this agent runs on.

use proto::spire::plugin::agent::nodeattestor::v1::node_attestor_client::NodeAttestorClient;
use proto::spire::plugin::agent::nodeattestor::v1::{
    Challenge, PayloadOrChallengeResponse, payload_or_challenge_response::Data,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::call::CallError;
use crate::plugin::Plugin;

/// One attempt to prove it.
pub struct Conversation {
    plugin: Plugin,
    challenges: mpsc::Sender<Challenge>,
    answers: Streaming<PayloadOrChallengeResponse>,
}

/// Asks the plugin for evidence; returns it, and the conversation.
///
/// # Errors
/// The plugin has none, or does not answer.
pub async fn begin(plugin: &Plugin) -> Result<(Vec<u8>, Conversation), CallError> {
    let (challenges, outgoing) = mpsc::channel(1);
    let opened = plugin.call(|channel| async move {
        let mut client = NodeAttestorClient::new(channel);
        client.aid_attestation(ReceiverStream::new(outgoing)).await
    });
    let mut conversation = Conversation {
        plugin: plugin.clone(),
        challenges,
        answers: opened.await?.into_inner(),
    };
    let closed = "plugin closed stream before returning attestation data";
    match conversation.next(closed).await? {
        Some(Data::Payload(payload)) if !payload.is_empty() => Ok((payload, conversation)),
        _ => Err(conversation.broken("plugin response missing attestation payload")),
    }
}

impl Conversation {
    /// The plugin's answer to the server's challenge.
    ///
    /// # Errors
    /// The plugin has none, or does not answer.
    pub async fn answer(&mut self, challenge: Vec<u8>) -> Result<Vec<u8>, CallError> {
        // A plugin that does not listen any more says why with its next answer.
        let sent = async {
            self.challenges.send(Challenge { challenge }).await.ok();
            Ok(())
        };
        self.plugin.clone().within(sent).await?;
        match self
            .next("plugin closed stream before handling the challenge")
            .await?
        {
            Some(Data::ChallengeResponse(response)) if !response.is_empty() => Ok(response),
            _ => Err(self.broken("plugin response missing challenge response")),
        }
    }

    async fn next(&mut self, closed: &str) -> Result<Option<Data>, CallError> {
        let plugin = self.plugin.clone();
        let answer = async {
            let answer = self.answers.message().await;
            answer.map_err(|status| plugin.refused(&status))
        };
        let answer = plugin.within(answer).await?;
        let answer = answer.ok_or_else(|| self.broken(closed))?;
        Ok(answer.data)
    }

    fn broken(&self, text: &str) -> CallError {
        self.plugin.error(Code::Internal, text)
    }
}
