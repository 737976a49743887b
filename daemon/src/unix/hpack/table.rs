//! The tables that header fields are indexed by (RFC 7541 §2.3 and appendix A).

use std::collections::VecDeque;

use bytes::Bytes;

use super::HpackError;

/// A name and a value.
pub(super) type Field = (Bytes, Bytes);

/// The static table and, behind it, the fields that the peer had us remember, newest first.
#[derive(Debug)]
pub(super) struct Table {
    fields: VecDeque<Field>,
    size: usize,
    max_size: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            fields: VecDeque::new(),
            size: 0,
            max_size: MAX_SIZE,
        }
    }

    /// The field with this index, counted from 1 (§2.3.3).
    pub(super) fn field(&self, index: usize) -> Result<Field, HpackError> {
        let index = index.checked_sub(1).ok_or(HpackError::Index)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((Bytes::from_static(name), Bytes::from_static(value)));
        }
        let field = self.fields.get(index - STATIC.len());
        field.cloned().ok_or(HpackError::Index)
    }

    /// Remembers a field; one larger than the table empties it (§4.4).
    pub(super) fn insert(&mut self, field: &Field) {
        let size = size_of_field(field);
        self.evict_to(self.max_size.saturating_sub(size));
        if size <= self.max_size {
            self.size += size;
            self.fields.push_front(field.clone());
        }
    }

    /// Follows the peer's change of size, which may not go beyond what we announced (§6.3).
    pub(super) fn resize(&mut self, max_size: usize) -> Result<(), HpackError> {
        if max_size > MAX_SIZE {
            return Err(HpackError::TableSize);
        }
        self.max_size = max_size;
        self.evict_to(max_size);
        Ok(())
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size {
            let Some(evicted) = self.fields.pop_back() else {
                return;
            };
            self.size -= size_of_field(&evicted);
        }
    }
}

/// What a field counts (§4.1).
pub(super) fn size_of_field((name, value): &Field) -> usize {
    name.len() + value.len() + 32
}

/// SETTINGS_HEADER_TABLE_SIZE's default, which our servers leave alone (RFC 9113 §6.5.2).
const MAX_SIZE: usize = 4096;

const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];
