//! Attestation by a plugin that is a program of its own.

use futures_util::future::BoxFuture;
use identity::spiffe_id::SpiffeId;
use plugin_host::server_node_attestor::{self, Step, Verdict, begin};
use plugin_host::{CallError, Plugin};

use super::{Attempt, AttestorError, NodeAttestor, NodeAttributes, Origin};

/// Believes what a plugin believes.
#[derive(Debug)]
pub(super) struct External(Plugin);

impl External {
    /// An attestor that asks `plugin`.
    pub(super) fn new(plugin: Plugin) -> Self {
        Self(plugin)
    }

    async fn converse(&self, attempt: Attempt<'_>) -> Result<NodeAttributes, AttestorError> {
        let origin = origin(attempt.origin);
        let begun = begin(&self.0, attempt.payload, &origin).await;
        let (mut step, mut conversation) = begun.map_err(cause)?;
        loop {
            let challenge = match step {
                Step::Verdict(verdict) => return attributes(verdict),
                Step::Challenge(challenge) => challenge,
            };
            let response = attempt.challenges.challenge(challenge).await?;
            step = conversation.answer(response).await.map_err(cause)?;
        }
    }
}

impl NodeAttestor for External {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn attest<'a>(
        &'a self,
        attempt: Attempt<'a>,
    ) -> BoxFuture<'a, Result<NodeAttributes, AttestorError>> {
        Box::pin(self.converse(attempt))
    }
}

fn origin(origin: &Origin) -> server_node_attestor::Origin {
    server_node_attestor::Origin {
        client_ip: origin.address.map(|address| address.to_string()),
        untrusted_host: origin.untrusted_host.clone(),
    }
}

/// Whether the agent may be one is for whoever asked to say.
fn attributes(verdict: Verdict) -> Result<NodeAttributes, AttestorError> {
    let spiffe_id = SpiffeId::parse(&verdict.spiffe_id).map_err(|error| {
        AttestorError::internal(format!("plugin gave an unusable agent ID: {error}"))
    })?;
    Ok(NodeAttributes {
        spiffe_id,
        selector_values: verdict.selector_values,
        can_reattest: verdict.can_reattest,
    })
}

/// Whoever prints it puts the attestor's name before it.
fn cause(error: CallError) -> AttestorError {
    AttestorError::new(error.code, error.text)
}
