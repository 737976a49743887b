//! The rows that the state consists of on disk, and their hash.
//!
//! A row's key is a table byte and the record's key, so one column family holds all tables in
//! order. The hash of the state is the sum of the hashes of its rows: independent of order, and
//! kept up to date by subtracting what goes and adding what comes.

use aws_lc_rs::digest;

use crate::record::{InviteId, JoinTokenHash, Sequence};

/// The tables, by the first byte of their rows' keys; never renumbered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum TableId {
    /// Revision, counters and hash: one row, itself not part of the hash.
    Position = 1,
    Entry = 2,
    Agent = 3,
    Bundle = 4,
    Authority = 5,
    JoinToken = 6,
    Setting = 7,
    DataKey = 8,
    Request = 9,
    Member = 10,
    Invite = 11,
    /// What the cluster agreed on about itself: one row.
    Cluster = 12,
    Relationship = 13,
    AcmeSecret = 14,
}

impl TableId {
    /// The table of a row's key.
    pub(crate) const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Position,
            2 => Self::Entry,
            3 => Self::Agent,
            4 => Self::Bundle,
            5 => Self::Authority,
            6 => Self::JoinToken,
            7 => Self::Setting,
            8 => Self::DataKey,
            9 => Self::Request,
            10 => Self::Member,
            11 => Self::Invite,
            12 => Self::Cluster,
            13 => Self::Relationship,
            14 => Self::AcmeSecret,
            _ => return None,
        })
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Position => 1,
            Self::Entry => 2,
            Self::Agent => 3,
            Self::Bundle => 4,
            Self::Authority => 5,
            Self::JoinToken => 6,
            Self::Setting => 7,
            Self::DataKey => 8,
            Self::Request => 9,
            Self::Member => 10,
            Self::Invite => 11,
            Self::Cluster => 12,
            Self::Relationship => 13,
            Self::AcmeSecret => 14,
        }
    }

    /// The row key of `key` in this table.
    pub(crate) fn row_key(self, key: &[u8]) -> Box<[u8]> {
        let mut row_key = Vec::with_capacity(1 + key.len());
        row_key.push(self.byte());
        row_key.extend_from_slice(key);
        row_key.into_boxed_slice()
    }
}

/// A record's key within its table, as bytes whose order is the key's order.
pub(crate) trait RowKey: Ord + Clone {
    fn to_bytes(&self) -> Vec<u8>;
    /// `None` when the bytes are no such key.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl RowKey for Sequence {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_u64().to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::new(u64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl RowKey for u32 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_be_bytes(bytes.try_into().ok()?))
    }
}

impl RowKey for u64 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// Key of a table that has one row.
impl RowKey for () {
    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

impl RowKey for InviteId {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(bytes.try_into().ok()?))
    }
}

impl RowKey for JoinTokenHash {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(bytes.try_into().ok()?))
    }
}

impl RowKey for Box<str> {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok().map(Into::into)
    }
}

/// A row to write, or with no value, to delete.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RowWrite {
    pub(crate) key: Box<[u8]>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Hash of one row, or the sum of many, modulo 2^128.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct StateHash([u8; 16]);

impl StateHash {
    /// SHA-256 over `len(key) u32 BE | key | value`, the first 128 bits.
    pub(crate) fn of_row(key: &[u8], value: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        let key_len = u32::try_from(key.len()).unwrap_or(u32::MAX);
        context.update(&key_len.to_be_bytes());
        context.update(key);
        context.update(value);
        let mut hash = [0; 16];
        hash.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(hash)
    }

    /// The hash with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, big-endian.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        let sum = u128::from_be_bytes(self.0).wrapping_add(u128::from_be_bytes(other.0));
        Self(sum.to_be_bytes())
    }

    pub(crate) const fn minus(self, other: Self) -> Self {
        let difference = u128::from_be_bytes(self.0).wrapping_sub(u128::from_be_bytes(other.0));
        Self(difference.to_be_bytes())
    }
}

impl std::fmt::Display for StateHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl std::fmt::Debug for StateHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}
