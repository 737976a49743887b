//! Which records are stored as rows, and under which keys.

use identity::bundle::Bundle;
use identity::entry::RegistrationEntry;
use identity::federation::FederationRelationship;
use prost::Message as _;

use super::{DecodeError, Stored};
use crate::record::{
    AcmeSecret, AcmeSecretKind, AgentRecord, AuthorityRecord, ClusterRecord, DataKey, InviteId,
    InviteRecord, JoinTokenHash, JoinTokenRecord, MemberRecord, Sequence, SettingRecord,
};
use crate::state::{RequestRecord, RowKey, TableId};

/// A record that is stored as one row.
pub(crate) trait Record: Sized + Clone {
    const TABLE: TableId;
    type Key: RowKey;

    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError>;
}

macro_rules! records {
    ($($record:ty, $table:ident, $key:ty;)*) => {$(
        impl Record for $record {
            const TABLE: TableId = TableId::$table;
            type Key = $key;

            fn to_bytes(&self) -> Vec<u8> {
                self.to_message().encode_to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
                let message = <Self as Stored>::Message::decode(bytes);
                Stored::from_message(message.map_err(DecodeError::Malformed)?)
            }
        }
    )*};
}

records! {
    RegistrationEntry, Entry, Sequence;
    AgentRecord, Agent, Sequence;
    Bundle, Bundle, Sequence;
    AuthorityRecord, Authority, Sequence;
    JoinTokenRecord, JoinToken, JoinTokenHash;
    SettingRecord, Setting, Box<str>;
    DataKey, DataKey, u32;
    RequestRecord, Request, Sequence;
    MemberRecord, Member, u64;
    InviteRecord, Invite, InviteId;
    ClusterRecord, Cluster, ();
    FederationRelationship, Relationship, Sequence;
    AcmeSecret, AcmeSecret, AcmeSecretKind;
}
