//! The seam between the server and a kind of node attestation: evidence comes in, challenges go
//! back and forth, and out comes who the agent is.
//!
//! An attestor decides nothing about bans, certificates or records: it says what it verified.

use std::net::IpAddr;

use futures_util::future::BoxFuture;
use identity::spiffe_id::SpiffeId;
use tonic::Code;

/// A kind of node attestation.
pub trait NodeAttestor: Send + Sync {
    /// The name that configs and agents have for it. Its selectors have it as their type.
    fn name(&self) -> &str;

    /// Finds out whom the evidence of `attempt` proves.
    fn attest<'a>(
        &'a self,
        attempt: Attempt<'a>,
    ) -> BoxFuture<'a, Result<NodeAttributes, AttestorError>>;
}

/// One agent's attempt to be attested.
pub struct Attempt<'a> {
    /// The evidence, in the format of the attestor; not empty.
    pub payload: &'a [u8],
    /// Who makes the attempt, as far as the connection tells.
    pub origin: &'a Origin,
    /// The way back to the agent.
    pub challenges: &'a mut dyn Challenges,
}

/// Where an attempt comes from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// The other end of the connection; `None` on the Unix socket.
    pub address: Option<IpAddr>,
    /// The server's name in the agent's words, which proves nothing.
    pub untrusted_host: Option<String>,
}

/// The agent at the other end of an attempt.
pub trait Challenges: Send {
    /// Sends a challenge and returns the agent's answer. How often and for how long is limited.
    fn challenge<'a>(
        &'a mut self,
        challenge: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, AttestorError>>;
}

/// What an attestor verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeAttributes {
    /// The name of the agent.
    pub spiffe_id: SpiffeId,
    /// The values of its selectors.
    pub selector_values: Vec<String>,
    /// Whether it may prove the same again, any time.
    pub can_reattest: bool,
}

/// Why an attestor does not believe an agent, or cannot tell.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text}")]
pub struct AttestorError {
    /// What the agent is told in gRPC's terms.
    pub code: Code,
    /// What the agent is told in words. It names no secret.
    pub text: String,
    /// Whether the conversation with the agent failed, and not the attestor.
    pub is_of_the_conversation: bool,
}

impl AttestorError {
    /// An attestor's verdict.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            is_of_the_conversation: false,
        }
    }

    /// The evidence is not what it has to be.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, text)
    }

    /// The evidence proves nothing.
    pub fn denied(text: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, text)
    }

    /// The attestor failed.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::new(Code::Internal, text)
    }

    /// The agent did not answer a challenge, or not in time.
    pub fn conversation(code: Code, text: impl Into<String>) -> Self {
        Self {
            is_of_the_conversation: true,
            ..Self::new(code, text)
        }
    }
}
