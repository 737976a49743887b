//! Consensus: the only module that knows the library behind it.

mod change;
mod clocks;
mod compare;
mod config;
mod convert;
mod departure;
mod disk;
mod failover;
mod forward;
mod freshness;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hashes;
mod leadership;
mod ledger;
mod line;
mod links;
mod log_size;
mod log_store;
mod machine;
mod member;
mod membership;
mod message;
mod network;
mod pending;
mod propose;
mod pulse;
mod removals;
mod replicate;
mod serve;
mod start;
mod status;
mod waiters;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod replicate_tests;
#[cfg(test)]
mod stranger_tests;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub(crate) use self::change::Refusal;
pub use self::clocks::ClockVerdict;
pub use self::leadership::Leadership;
pub(crate) use self::machine::Model;
pub(crate) use self::member::{Member, ReadyError, Stopped};
pub use self::pending::{Membership, MembershipChange, MissingVoters};
pub(crate) use self::propose::{ConfirmError, WriteError};
pub use self::serve::AnswerError;
pub(crate) use self::start::{StartError, StartOptions, identity_in};
pub use self::status::{ClusterStatus, DiskState, MemberStatus, Role};

openraft::declare_raft_types!(
    /// The library's types, ours where it lets us choose.
    pub(crate) Types:
        D = CommandBytes,
        R = (),
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

/// A member as others find it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Peer {
    /// Where it listens for peers; empty for a cluster of one that listens nowhere.
    pub(crate) address: String,
}
