//! The seam between the agent and a kind of node attestation: what a node shows, and how it answers
//! the server's challenges.

use futures_util::future::BoxFuture;
use identity::secret::SecretBytes;

/// A kind of node attestation.
pub trait NodeAttestor: Send + Sync {
    /// The name that configs and servers have for it.
    fn name(&self) -> &str;

    /// What becomes of the evidence when it is shown.
    fn lasts(&self) -> Lasts;

    /// Makes the evidence for one attempt.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Attempt>, AttestorError>>;
}

/// One attempt to prove what this node is.
pub trait Attempt: Send {
    /// The evidence that the server is shown first.
    fn payload(&self) -> &[u8];

    /// The answer to a challenge.
    fn answer(&mut self, challenge: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, AttestorError>>;
}

/// What becomes of evidence when it is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lasts {
    /// It proves the same again.
    Always,
    /// It is used up, also by an attempt that ends without an answer.
    Once,
}

/// Why this node has nothing to show, or no answer. The text names no secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct AttestorError(pub String);

/// Attestation by a token that the server made, good for one attempt.
pub struct JoinToken(SecretBytes);

impl JoinToken {
    /// An attestor that shows `token`.
    pub fn new(token: SecretBytes) -> Self {
        Self(token)
    }
}

impl NodeAttestor for JoinToken {
    fn name(&self) -> &str {
        "join_token"
    }

    fn lasts(&self) -> Lasts {
        Lasts::Once
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Attempt>, AttestorError>> {
        let shown: Box<dyn Attempt> = Box::new(ShownToken(SecretBytes::from(self.0.expose())));
        Box::pin(async { Ok(shown) })
    }
}

struct ShownToken(SecretBytes);

impl Attempt for ShownToken {
    fn payload(&self) -> &[u8] {
        self.0.expose()
    }

    fn answer(&mut self, _challenge: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, AttestorError>> {
        let refusal = AttestorError("a join token is the whole proof, but challenged".to_owned());
        Box::pin(async { Err(refusal) })
    }
}
