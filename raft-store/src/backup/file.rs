//! The layout of a backup file.
//!
//! ```text
//! 0   8 bytes   magic
//! 8   u32 BE    length of the header
//! 12  …         BackupHeader
//! …   chunks    u32 BE length of the ciphertext | ciphertext with its 128-bit tag
//! ```
//! A chunk is AES-256-GCM under the backup's own key, with the nonce `0 0 0 | number u64 BE | is last`
//! and the hash of everything before the chunks as associated data: chunks cannot be exchanged,
//! left out or cut off. All but the last hold rows, `key length u32 BE | value length u32 BE | key |
//! value`, whole ones; the last holds the manifest.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use identity::secret::SecretBytes;
use prost::Message as _;

use crate::codec::wire;

pub(super) const MAGIC: &[u8; 8] = b"CNCLVBK1";

/// Layouts that this program knows: this one.
pub(super) const LAYOUT: u32 = 1;

/// A header's length at most.
pub(super) const MAX_HEADER_LEN_BYTES: usize = 64 << 10;

/// Rows gather until a chunk has this length.
const CHUNK_LEN_BYTES: usize = 256 << 10;

/// A chunk's length at most. One row may be as large as a command.
pub(super) const MAX_CHUNK_LEN_BYTES: usize = 32 << 20;

/// What the backup's key is wrapped for.
pub(super) fn context(cluster_id: &[u8]) -> Vec<u8> {
    [b"conclave backup ".as_slice(), cluster_id].concat()
}

/// The bytes before the chunks.
pub(super) fn preamble(header: &wire::BackupHeader) -> Vec<u8> {
    let header = header.encode_to_vec();
    let len = u32::try_from(header.len()).unwrap_or(u32::MAX);
    [MAGIC.as_slice(), &len.to_be_bytes(), &header].concat()
}

/// Seals and opens the chunks of one file, in order.
pub(super) struct Chunks {
    key: LessSafeKey,
    associated: [u8; 32],
    number: u64,
}

impl Chunks {
    /// `None` when the key is of the wrong length.
    pub(super) fn new(key: &SecretBytes, preamble: &[u8]) -> Option<Self> {
        let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).ok()?;
        let mut associated = [0; 32];
        associated.copy_from_slice(digest::digest(&digest::SHA256, preamble).as_ref());
        Some(Self {
            key: LessSafeKey::new(unbound),
            associated,
            number: 0,
        })
    }

    /// The next chunk, with its length before it.
    pub(super) fn seal(&mut self, mut plaintext: Vec<u8>, is_last: bool) -> Option<Vec<u8>> {
        let nonce = self.nonce(is_last);
        let aad = Aad::from(self.associated);
        let sealed = self
            .key
            .seal_in_place_append_tag(nonce, aad, &mut plaintext);
        sealed.ok()?;
        let len = u32::try_from(plaintext.len()).ok()?;
        Some([len.to_be_bytes().as_slice(), &plaintext].concat())
    }

    /// What is in the next chunk.
    pub(super) fn open(&mut self, mut ciphertext: Vec<u8>, is_last: bool) -> Option<Vec<u8>> {
        let nonce = self.nonce(is_last);
        let aad = Aad::from(self.associated);
        let opened = self.key.open_in_place(nonce, aad, &mut ciphertext);
        let len = opened.ok()?.len();
        ciphertext.truncate(len);
        Some(ciphertext)
    }

    fn nonce(&mut self, is_last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[3..11].copy_from_slice(&self.number.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Gathers rows until they fill a chunk.
pub(super) struct RowWriter {
    chunk: Vec<u8>,
    context: digest::Context,
    rows: u64,
}

impl RowWriter {
    pub(super) fn new() -> Self {
        Self {
            chunk: Vec::new(),
            context: digest::Context::new(&digest::SHA256),
            rows: 0,
        }
    }

    /// Adds a row; the answer is a chunk if one is full. `None` when the row is too large.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Option<Option<Vec<u8>>> {
        let start = self.chunk.len();
        for part in [key, value] {
            let len = u32::try_from(part.len()).ok()?;
            self.chunk.extend_from_slice(&len.to_be_bytes());
        }
        self.chunk.extend_from_slice(key);
        self.chunk.extend_from_slice(value);
        self.context.update(&self.chunk[start..]);
        self.rows += 1;
        let is_full = self.chunk.len() >= CHUNK_LEN_BYTES;
        Some(is_full.then(|| std::mem::take(&mut self.chunk)))
    }

    /// The rest of the rows, their number and their hash.
    pub(super) fn finish(self) -> (Vec<u8>, u64, Vec<u8>) {
        let hash = self.context.finish().as_ref().to_vec();
        (self.chunk, self.rows, hash)
    }
}

/// Takes rows out of a chunk. `None`: they do not fill it exactly.
pub(super) fn rows(mut chunk: &[u8]) -> impl Iterator<Item = Option<(&[u8], &[u8])>> {
    std::iter::from_fn(move || {
        if chunk.is_empty() {
            return None;
        }
        let row = split_row(chunk);
        chunk = row.map_or(&[], |(_, rest)| rest);
        Some(row.map(|(row, _)| row))
    })
}

type Row<'a> = (&'a [u8], &'a [u8]);

fn split_row(chunk: &[u8]) -> Option<(Row<'_>, &[u8])> {
    let (key_len, rest) = chunk.split_first_chunk::<4>()?;
    let (value_len, rest) = rest.split_first_chunk::<4>()?;
    let key_len = usize::try_from(u32::from_be_bytes(*key_len)).ok()?;
    let value_len = usize::try_from(u32::from_be_bytes(*value_len)).ok()?;
    let (key, rest) = rest.split_at_checked(key_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some(((key, value), rest))
}
