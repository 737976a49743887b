//! Between records and commands and their stored bytes. The only place that knows the generated
//! storage messages of the state.
//!
//! Decoding takes foreign bytes: every identity value is parsed again, and what does not parse is
//! an error, never a default.

mod acme;
mod agent;
mod authority;
mod bundle;
mod entry;
mod envelope;
mod federation;
mod field;
mod member;
mod outcome;
mod record;
mod rotation;
mod setting;
mod upstream;

#[cfg(test)]
mod tests;

pub(crate) use self::envelope::{Frame, decode_envelope, encode_envelope};
pub(crate) use self::outcome::{
    OutcomeItem, items_from_bytes, outcome_to_bytes, rule as rule_from_number,
    state as state_from_number,
};
pub(crate) use self::record::Record;

pub(crate) use proto::conclave::store::v1 as wire;

/// A domain value with its storage message.
pub(crate) trait Stored: Sized {
    type Message: prost::Message + Default;

    fn to_message(&self) -> Self::Message;
    fn from_message(message: Self::Message) -> Result<Self, DecodeError>;
}

/// Why stored or received bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not a message of the expected type.
    #[error("malformed message")]
    Malformed(#[source] prost::DecodeError),
    /// A field is missing or its value is not valid.
    #[error("invalid {0}")]
    Field(&'static str),
    /// Written by a newer program.
    #[error("format version {found} is newer than {known}, the newest known here")]
    NewerFormat {
        /// What the bytes say.
        found: u32,
        /// What this program knows.
        known: u32,
    },
    /// A command that this program does not know.
    #[error("unknown command")]
    UnknownCommand,
}
