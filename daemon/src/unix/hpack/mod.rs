//! Header compression for HTTP/2 (RFC 7541): a decoder that keeps up with a client's encoder, and an encoder
//! that needs no memory on the other side.
//!
//! Whatever a client sends, a block is at most [`MAX_LIST_SIZE`] when decoded.

mod huffman;
mod table;

use bytes::{BufMut, Bytes, BytesMut};

use self::table::{Table, size_of_field};

/// One header field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) name: Bytes,
    pub(super) value: Bytes,
    /// The client asked that it never be put into a table (§7.1.3).
    pub(super) is_sensitive: bool,
}

/// The decoding half of a connection.
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(),
        }
    }

    /// Decodes one whole block. After an error the decoder is out of step: the connection must end (§2.3.3).
    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Vec<Header>, HpackError> {
        let mut reader = Reader { rest: block };
        let mut headers = Vec::new();
        let mut list_size = 0;
        while let Some(first) = reader.rest.first().copied() {
            let header = match first {
                0x80.. => {
                    let (name, value) = self.table.field(reader.integer(7)?)?;
                    header(name, value)
                }
                0x40.. => {
                    let header = self.literal(&mut reader, 6)?;
                    let field = (header.name.clone(), header.value.clone());
                    self.table.insert(&field);
                    header
                }
                0x20.. => {
                    // Sizes change at the beginning of a block only (§4.2).
                    if !headers.is_empty() {
                        return Err(HpackError::TableSize);
                    }
                    self.table.resize(reader.integer(5)?)?;
                    continue;
                }
                _ => Header {
                    is_sensitive: first & 0x10 != 0,
                    ..self.literal(&mut reader, 4)?
                },
            };
            list_size += size_of_field(&(header.name.clone(), header.value.clone()));
            if list_size > MAX_LIST_SIZE {
                return Err(HpackError::TooLarge);
            }
            headers.push(header);
        }
        Ok(headers)
    }

    /// A name by index or in full, and a value (§6.2).
    fn literal(&self, reader: &mut Reader<'_>, prefix_bits: u32) -> Result<Header, HpackError> {
        let name = match reader.integer(prefix_bits)? {
            0 => reader.string()?,
            index => self.table.field(index)?.0,
        };
        Ok(header(name, reader.string()?))
    }
}

/// Appends a block of literals, which leaves the other side's table as it is (§6.2.2, §6.2.3).
pub(super) fn encode(headers: &[Header], block: &mut BytesMut) {
    for header in headers {
        block.put_u8(if header.is_sensitive { 0x10 } else { 0x00 });
        for text in [&header.name, &header.value] {
            put_length(block, text.len());
            block.put_slice(text);
        }
    }
}

/// Why a block cannot be decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum HpackError {
    #[error("header block ends within a field")]
    Truncated,
    #[error("header block holds an integer that is too large")]
    Integer,
    #[error("header block holds a bad Huffman code")]
    Huffman,
    #[error("header block refers to a field that is not in the table")]
    Index,
    #[error("header block changes the table size against the rules")]
    TableSize,
    #[error("header list is larger than {MAX_LIST_SIZE} bytes")]
    TooLarge,
}

/// The most that a block may count when decoded, by the measure of RFC 9113 §6.5.2.
pub(super) const MAX_LIST_SIZE: usize = 64 * 1024;

fn header(name: Bytes, value: Bytes) -> Header {
    Header {
        name,
        value,
        is_sensitive: false,
    }
}

/// A length with a prefix of seven bits and no Huffman code (§5.1).
fn put_length(block: &mut BytesMut, len: usize) {
    if let Ok(short @ ..0x7f) = u8::try_from(len) {
        block.put_u8(short);
        return;
    }
    block.put_u8(0x7f);
    let mut rest = len - 0x7f;
    while rest >= 0x80 {
        block.put_u8(0x80 | low_bits(rest));
        rest >>= 7;
    }
    block.put_u8(low_bits(rest));
}

fn low_bits(value: usize) -> u8 {
    u8::try_from(value & 0x7f).expect("invariant: seven bits fit")
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, HpackError> {
        let (first, rest) = self.rest.split_first().ok_or(HpackError::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    /// An integer whose first bits share a byte with something else (§5.1).
    fn integer(&mut self, prefix_bits: u32) -> Result<usize, HpackError> {
        let mask = (1_usize << prefix_bits) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.byte()?);
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(HpackError::Integer)
    }

    /// A string, Huffman-coded or not (§5.2).
    fn string(&mut self) -> Result<Bytes, HpackError> {
        let first = self.rest.first().ok_or(HpackError::Truncated)?;
        let is_huffman = first & 0x80 != 0;
        let len = self.integer(7)?;
        let (text, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(HpackError::Truncated)?;
        self.rest = rest;
        if !is_huffman {
            return Ok(Bytes::copy_from_slice(text));
        }
        // The shortest code has five bits.
        let mut decoded = Vec::with_capacity(len * 8 / 5);
        huffman::decode(text, &mut decoded)?;
        Ok(decoded.into())
    }
}

#[cfg(test)]
mod tests;
