//! Commands on settings and on the ring of data keys.

use crate::record::DataKey;

/// Adds a wrapped data key; the newest one seals.
#[derive(Clone, Debug, PartialEq)]
pub struct AddDataKey {
    /// The key.
    pub key: DataKey,
}

/// Takes a data key out of the ring. Nothing may be sealed with it any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RemoveDataKey {
    /// Its number.
    pub id: u32,
}

/// Stores a setting.
#[derive(Clone, Debug, PartialEq)]
pub struct SetSetting {
    /// Its name.
    pub key: Box<str>,
    /// Its value.
    pub value: Vec<u8>,
    /// Whether a value that is there stays.
    pub only_if_absent: bool,
}

/// What became of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum SetSettingOutcome {
    /// Stored.
    Set,
    /// This value was there and stays.
    Present(Vec<u8>),
}

/// Stores a note that all members can read as the setting `note`: harmless, and seen at once.
#[cfg(feature = "next-format")]
#[derive(Clone, Debug, PartialEq)]
pub struct SetNote {
    /// The note.
    pub text: Box<str>,
}
