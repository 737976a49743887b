//! Consensus: the only module that knows the library behind it.

mod config;
mod convert;
mod log_store;
mod machine;
mod member;
mod message;
mod network;
mod serve;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::command::Outcome;

pub(crate) use self::machine::Model;
pub(crate) use self::member::{
    ConfirmError, Member, StartError, StartOptions, Stopped, WriteError,
};
pub use self::serve::AnswerError;

openraft::declare_raft_types!(
    /// The library's types, ours where it lets us choose.
    pub(crate) Types:
        D = CommandBytes,
        R = Response,
        NodeId = u64,
        Node = Peer,
);

type Entry = openraft::type_config::alias::EntryOf<Types>;
type LogId = openraft::type_config::alias::LogIdOf<Types>;
type Vote = openraft::type_config::alias::VoteOf<Types>;
type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;

/// A command as it stands in the log. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CommandBytes(pub(crate) Bytes);

impl std::fmt::Display for CommandBytes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} bytes", self.0.len())
    }
}

/// What applying an entry answers.
#[derive(Debug, Default)]
pub(crate) struct Response {
    /// `None` for entries that carry no command.
    pub(crate) outcome: Option<Outcome>,
}

/// A member as others find it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Peer {
    /// Where it listens for peers; empty for a cluster of one that listens nowhere.
    pub(crate) address: String,
}
