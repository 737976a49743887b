//! Reading a backup: to see whether it is good, or to make a cluster of it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use identity::clock::UnixTime;
use prost::Message as _;

use super::file::{
    Chunks, LAYOUT, MAGIC, MAX_CHUNK_LEN_BYTES, MAX_HEADER_LEN_BYTES, context, preamble, rows,
};
use super::{Manifest, RestoreError};
use crate::codec::wire;
use crate::command::NEWEST_FORMAT;
use crate::seal::{KeyRing, SealError, SealProvider};
use crate::state::{Loader, RowWrite, State};
use crate::storage::data_dir::DataDir;
use crate::storage::founding::{Founding, NewHome, Restored};
use crate::storage::state_db::StateDb;
use crate::storage::{OpenGuard, StorageError};

/// What a restore needs.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The backup.
    pub file: &'a Path,
    /// Where the store's files go. Nothing may be there.
    pub data_dir: &'a Path,
    /// Who holds the key-encryption key that the cluster had.
    pub seal: &'a dyn SealProvider,
    /// Where the new cluster's one member is found.
    pub home: NewHome,
    /// The time.
    pub now: UnixTime,
}

/// Reads a whole backup, opens every part, builds the state of it and compares all hashes. Blocks.
///
/// # Errors
/// See [`RestoreError`].
pub fn verify(file: &Path, seal: &dyn SealProvider) -> Result<Manifest, RestoreError> {
    let (manifest, _, state) = read(file, seal, |_| Ok(()))?;
    Ok(Manifest {
        entries: count(state.entry_count()),
        agents: count(state.agent_count()),
        ..manifest
    })
}

/// Makes a new cluster of one in an empty directory, with the state of a backup. Blocks.
///
/// # Errors
/// See [`RestoreError`]. The directory is as empty as before.
pub fn restore(options: Restore<'_>) -> Result<Restored, RestoreError> {
    let path = options.data_dir;
    if !DataDir::is_empty(path)? {
        return Err(RestoreError::NotEmpty {
            path: path.to_owned(),
        });
    }
    // Told before anything is made: a key that does not fit is the likeliest mistake.
    drop(Reader::open(options.file, options.seal)?);
    let (guard, _closed) = OpenGuard::new();
    let dir = DataDir::lock(path, guard).map_err(RestoreError::locking(path))?;
    let founding = Founding::begin(Arc::new(dir))?;
    let db = StateDb::open(&founding.state_path(), founding.memory())?;
    let (_, last, state) = read(options.file, options.seal, |rows| Ok(db.load_rows(rows)?))?;
    Ok(founding.finish(db, state, last, &options.home, options.now)?)
}

/// Reads a backup to its end. `take` gets the rows, a chunk at a time.
fn read(
    path: &Path,
    seal: &dyn SealProvider,
    mut take: impl FnMut(Vec<RowWrite>) -> Result<(), RestoreError>,
) -> Result<(Manifest, wire::LogPosition, State), RestoreError> {
    let mut reader = Reader::open(path, seal)?;
    let mut loader = Loader::default();
    while let Some(chunk) = reader.chunk()? {
        let mut writes = Vec::new();
        for row in rows(&chunk) {
            let (key, value) = row.ok_or_else(|| reader.damaged("a row is cut short"))?;
            let loaded = loader.row(key, value).map_err(StorageError::Load);
            loaded.map_err(|error| reader.no_state(error))?;
            writes.push(RowWrite {
                key: key.into(),
                value: Some(value.to_vec()),
            });
        }
        take(writes)?;
    }
    let (manifest, last) = reader.manifest()?;
    let state = loader.finish().map_err(StorageError::Load);
    let state = state.map_err(|error| reader.no_state(error))?;
    let is_same =
        state.state_hash() == manifest.state_hash && state.revision() == manifest.revision;
    if !is_same {
        return Err(reader.damaged("its state is not the one that the manifest names"));
    }
    let mut ring = KeyRing::new(0);
    for key in state.data_keys() {
        ring.add(key, seal).map_err(|source| {
            let id = key.id;
            RestoreError::Keys(SealError::Provider { id, source })
        })?;
    }
    Ok((manifest, last, state))
}

/// A backup that is read from its beginning to its end.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    chunks: Chunks,
    cluster_id: Vec<u8>,
    context: digest::Context,
    rows: u64,
    /// What is left of the file.
    rest_len_bytes: u64,
    last: Option<Vec<u8>>,
}

impl Reader {
    fn open(path: &Path, seal: &dyn SealProvider) -> Result<Self, RestoreError> {
        let unreadable = |source| RestoreError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        let len_bytes = file.metadata().map_err(unreadable)?.len();
        let mut file = BufReader::new(file);
        let foreign = || RestoreError::NotABackup {
            path: path.to_owned(),
        };
        let start = bytes(&mut file, MAGIC.len() + 4).ok_or_else(foreign)?;
        let (magic, len) = start.split_at(MAGIC.len());
        let header_len = u32::from_be_bytes(len.try_into().ok().ok_or_else(foreign)?);
        let header_len = usize::try_from(header_len).ok().ok_or_else(foreign)?;
        if magic != MAGIC || header_len > MAX_HEADER_LEN_BYTES {
            return Err(foreign());
        }
        let damaged = |what| RestoreError::Damaged {
            path: path.to_owned(),
            what,
        };
        let header = bytes(&mut file, header_len).ok_or_else(|| damaged("it ends early"))?;
        let header = wire::BackupHeader::decode(header.as_slice()).ok();
        let header = header.ok_or_else(|| damaged("its header cannot be read"))?;
        if header.layout > LAYOUT {
            return Err(RestoreError::Newer {
                found: header.layout,
                known: LAYOUT,
            });
        }
        let key = seal
            .unwrap(&context(&header.cluster_id), &header.wrapped_key)
            .map_err(RestoreError::Seal)?;
        let preamble = preamble(&header);
        let read_len = u64::try_from(MAGIC.len() + 4 + header_len).unwrap_or(u64::MAX);
        Ok(Self {
            path: path.to_owned(),
            file,
            chunks: Chunks::new(&key, &preamble)
                .ok_or_else(|| damaged("its key cannot be used"))?,
            cluster_id: header.cluster_id,
            context: digest::Context::new(&digest::SHA256),
            rows: 0,
            rest_len_bytes: len_bytes.saturating_sub(read_len),
            last: None,
        })
    }

    /// The rows of the next chunk, or `None` once the last one was read.
    fn chunk(&mut self) -> Result<Option<Vec<u8>>, RestoreError> {
        let len = bytes(&mut self.file, 4).and_then(|len| <[u8; 4]>::try_from(len).ok());
        let len = u32::from_be_bytes(len.ok_or_else(|| self.damaged("it ends early"))?);
        let len_bytes = usize::try_from(len).unwrap_or(usize::MAX);
        let taken = u64::from(len).saturating_add(4);
        if len_bytes > MAX_CHUNK_LEN_BYTES || taken > self.rest_len_bytes {
            return Err(self.damaged("it ends early"));
        }
        self.rest_len_bytes -= taken;
        let sealed = bytes(&mut self.file, len_bytes);
        let sealed = sealed.ok_or_else(|| self.damaged("it ends early"))?;
        let is_last = self.rest_len_bytes == 0;
        let opened = self.chunks.open(sealed, is_last);
        let Some(chunk) = opened else {
            return Err(self.damaged(if is_last {
                "its end is not its end, or was changed"
            } else {
                "a part of it was changed"
            }));
        };
        if is_last {
            self.last = Some(chunk);
            return Ok(None);
        }
        self.context.update(&chunk);
        self.rows += u64::try_from(rows(&chunk).count()).unwrap_or(u64::MAX);
        Ok(Some(chunk))
    }

    /// The manifest, after the last chunk, and the last entry that was applied.
    fn manifest(&mut self) -> Result<(Manifest, wire::LogPosition), RestoreError> {
        let unreadable = "its manifest cannot be read";
        let bytes = self.last.take().unwrap_or_default();
        let message = wire::BackupManifest::decode(bytes.as_slice()).ok();
        let message = message.ok_or_else(|| self.damaged(unreadable))?;
        if message.format_version > NEWEST_FORMAT {
            return Err(RestoreError::Newer {
                found: message.format_version,
                known: NEWEST_FORMAT,
            });
        }
        let manifest = Manifest::from_message(&message);
        let manifest = manifest.ok_or_else(|| self.damaged(unreadable))?;
        let hash = self.context.clone().finish();
        let is_same = manifest.sha256 == hash.as_ref()
            && manifest.rows == self.rows
            && message.cluster_id == self.cluster_id;
        if !is_same {
            return Err(self.damaged("its rows are not those that the manifest names"));
        }
        let last = wire::LogPosition::decode(message.applied.as_slice()).ok();
        let last = last.ok_or_else(|| self.damaged(unreadable))?;
        Ok((manifest, last))
    }

    fn damaged(&self, what: &'static str) -> RestoreError {
        RestoreError::Damaged {
            path: self.path.clone(),
            what,
        }
    }

    fn no_state(&self, source: StorageError) -> RestoreError {
        RestoreError::NoState {
            path: self.path.clone(),
            source,
        }
    }
}

/// The next bytes of a file; `None` when it ends before.
fn bytes(file: &mut impl Read, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
