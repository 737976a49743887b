//! Attestation by a plugin that is a program of its own.

use futures_util::future::BoxFuture;
use identity::secret::SecretBytes;
use plugin_host::agent_node_attestor::{Conversation, begin};
use plugin_host::{CallError, Plugin};

use super::{Attempt, AttestorError, Lasts, NodeAttestor};

/// Shows what a plugin says.
#[derive(Debug)]
pub(crate) struct External(Plugin);

impl External {
    /// An attestor that asks `plugin`.
    pub(crate) fn new(plugin: Plugin) -> Self {
        Self(plugin)
    }
}

impl NodeAttestor for External {
    fn name(&self) -> &str {
        self.0.name()
    }

    /// A plugin is asked for its evidence again each time.
    fn lasts(&self) -> Lasts {
        Lasts::Always
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Attempt>, AttestorError>> {
        Box::pin(async {
            let (payload, conversation) = begin(&self.0).await.map_err(cause)?;
            let begun = Begun {
                payload: SecretBytes::new(payload),
                conversation,
            };
            Ok(Box::new(begun) as Box<dyn Attempt>)
        })
    }
}

struct Begun {
    payload: SecretBytes,
    conversation: Conversation,
}

impl Attempt for Begun {
    fn payload(&self) -> &[u8] {
        self.payload.expose()
    }

    fn answer(&mut self, challenge: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, AttestorError>> {
        Box::pin(async { self.conversation.answer(challenge).await.map_err(cause) })
    }
}

/// Whoever prints it puts the attestor's name before it.
fn cause(error: CallError) -> AttestorError {
    AttestorError(error.text)
}
