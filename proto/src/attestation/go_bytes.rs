//! Bytes as Go writes them into JSON: standard base64 with padding, `null` for none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes in a JSON document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct GoBytes(pub(super) Vec<u8>);

impl Serialize for GoBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for GoBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(Self::default());
        };
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}
