//! What survives a restart: the agent's SVID and bundle (`agent-data.json`) and its keys (`keys.json`).
//!
//! Both files have SPIRE's names and keys, so that either agent can take over the other's data
//! directory. A file is replaced as a whole and is on disk before the call returns: a crash leaves
//! the old one or the new one.

mod data;
mod file;
mod keys;

pub use data::{AgentData, DataError, DataFile};
pub use keys::{KeyStore, KeyStoreError};
