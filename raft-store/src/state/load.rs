//! Rebuilds the state from its stored rows, and refuses rows that do not add up.

use identity::hex;
use prost::Message as _;

use crate::codec::{DecodeError, wire};
use crate::command::NEWEST_FORMAT;
use crate::record::{Revision, Sequence};
use crate::state::entries::SharedIds;
use crate::state::rows::TableId;
use crate::state::{State, StateHash};

/// Why stored rows are no state.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A row cannot be read.
    #[error("unreadable row {row}")]
    Row {
        /// Key of the row, hexadecimal.
        row: String,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// Rows are missing, changed or too many.
    #[error("state hash is {found}, but {expected} was stored")]
    Hash {
        /// Hash of the rows that are there.
        found: StateHash,
        /// Hash that was stored with them.
        expected: StateHash,
    },
}

/// Takes rows in any order and makes a state of them.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    state: State,
    sum: StateHash,
    shared: SharedIds,
}

impl Loader {
    /// Takes over one row.
    pub(crate) fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        self.load(key, value).map_err(|source| LoadError::Row {
            row: hex::lower(key),
            source,
        })
    }

    /// The state, if the rows are those that were stored.
    pub(crate) fn finish(mut self) -> Result<State, LoadError> {
        if self.sum != self.state.hash {
            return Err(LoadError::Hash {
                found: self.sum,
                expected: self.state.hash,
            });
        }
        let version = self.state.cluster_version();
        if version > NEWEST_FORMAT {
            return Err(LoadError::Row {
                row: "0c".to_owned(),
                source: DecodeError::NewerFormat {
                    found: version,
                    known: NEWEST_FORMAT,
                },
            });
        }
        self.state.entries.index_all();
        Ok(self.state)
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        let table = key.first().and_then(|byte| TableId::of(*byte));
        let state = &mut self.state;
        let hash = match table.ok_or(DecodeError::Field("table"))? {
            TableId::Position => return self.position(value),
            TableId::Entry => state.entries.load(key, value, &mut self.shared)?,
            TableId::Agent => state.agents.load(key, value)?,
            TableId::Bundle => state.bundles.load(key, value)?,
            TableId::Authority => state.authorities.load(key, value)?,
            TableId::JoinToken => state.join_tokens.load(key, value)?.2,
            TableId::Setting => state.settings.load(key, value)?.2,
            TableId::DataKey => state.data_keys.load(key, value)?.2,
            TableId::Request => state.requests.load(key, value)?,
            TableId::Member => state.members.load(key, value)?.2,
            TableId::Invite => state.invites.load(key, value)?.2,
            TableId::Cluster => state.cluster.load(key, value)?.2,
            TableId::Relationship => state.relationships.load(key, value)?,
            TableId::AcmeSecret => state.acme_secrets.load(key, value)?.2,
        };
        self.sum = self.sum.plus(hash);
        Ok(())
    }

    fn position(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        let position = wire::Position::decode(value).map_err(DecodeError::Malformed)?;
        let hash = <[u8; 16]>::try_from(position.state_hash.as_slice())
            .ok()
            .ok_or(DecodeError::Field("state hash"))?;
        self.state.revision = Revision::new(position.revision);
        self.state.sequence = Sequence::new(position.sequence);
        self.state.hash = StateHash::from_bytes(hash);
        Ok(())
    }
}
