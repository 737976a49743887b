//! The frame headers of HTTP/2 (RFC 9113 §4.1).
//!
//! | offset | bytes | field, big-endian |
//! |---|---|---|
//! | 0 | 3 | length of the payload |
//! | 3 | 1 | type |
//! | 4 | 1 | flags |
//! | 5 | 4 | reserved bit, stream id |

use bytes::{Buf, BufMut, BytesMut};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FrameHeader {
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHeader {
    pub(super) const LEN: usize = 9;
    /// What each side must be able to take (RFC 9113 §4.2).
    pub(super) const MAX_PAYLOAD_LEN: usize = 16_384;

    pub(super) const HEADERS: u8 = 0x1;
    pub(super) const CONTINUATION: u8 = 0x9;

    pub(super) const END_STREAM: u8 = 0x1;
    pub(super) const END_HEADERS: u8 = 0x4;
    pub(super) const PADDED: u8 = 0x8;
    pub(super) const PRIORITY: u8 = 0x20;

    /// The header at the beginning of `bytes`, if it is there in full.
    pub(super) fn peek(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes.get(..Self::LEN)?;
        Some(Self {
            len: usize::try_from(bytes.get_uint(3)).expect("invariant: 24 bits fit"),
            kind: bytes.get_u8(),
            flags: bytes.get_u8(),
            stream: bytes.get_u32(),
        })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn put(self, bytes: &mut BytesMut) {
        bytes.put_uint(self.len as u64, 3);
        bytes.put_u8(self.kind);
        bytes.put_u8(self.flags);
        bytes.put_u32(self.stream);
    }
}
