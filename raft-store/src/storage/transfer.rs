//! A snapshot on its way to another member: the manifest, then the bytes of its files in chunks.
//!
//! Never more than a chunk in memory on either side. The receiver takes bytes in order only, keeps
//! to the lengths of the manifest, and compares every hash before it calls the snapshot complete.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use wire::snapshot_chunk::Part;

use super::StorageError;
use super::data_dir::{create_dir, remove_dir};
use super::snapshot::{Snapshot, check_format, checked_name, write_manifest};
use crate::codec::wire;

/// Reads a snapshot, chunk by chunk.
pub(crate) struct Sender {
    snapshot: Snapshot,
    is_begun: bool,
    file: usize,
    open: Option<File>,
    offset: u64,
}

impl Sender {
    pub(crate) const fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            is_begun: false,
            file: 0,
            open: None,
            offset: 0,
        }
    }

    /// The next chunk, or `None` when all were sent.
    pub(crate) fn next(&mut self) -> Result<Option<wire::SnapshotChunk>, StorageError> {
        if !self.is_begun {
            self.is_begun = true;
            return Ok(Some(wire::SnapshotChunk {
                part: Some(Part::Manifest(self.snapshot.manifest.clone())),
            }));
        }
        while let Some(file) = self.snapshot.manifest.files.get(self.file) {
            let path = self.snapshot.file(file)?;
            let open = match &mut self.open {
                Some(open) => open,
                closed => {
                    let file = File::open(&path).map_err(StorageError::file("open", &path))?;
                    closed.insert(file)
                }
            };
            let mut bytes = Vec::new();
            open.take(CHUNK_LEN_BYTES)
                .read_to_end(&mut bytes)
                .map_err(StorageError::file("read", &path))?;
            if bytes.is_empty() {
                self.open = None;
                self.offset = 0;
                self.file += 1;
                continue;
            }
            let data = wire::SnapshotData {
                file: u32::try_from(self.file).unwrap_or(u32::MAX),
                offset: self.offset,
                bytes,
            };
            self.offset += u64::try_from(data.bytes.len()).unwrap_or(u64::MAX);
            return Ok(Some(wire::SnapshotChunk {
                part: Some(Part::Data(data)),
            }));
        }
        Ok(None)
    }
}

/// Gathers the chunks of one snapshot in a directory.
#[derive(Debug)]
pub(crate) struct Receiver {
    path: PathBuf,
    manifest: wire::SnapshotManifest,
    file: usize,
    offset: u64,
}

impl Receiver {
    /// Begins with the manifest; what was gathered in `path` before is thrown away.
    pub(crate) fn begin(
        path: &Path,
        manifest: wire::SnapshotManifest,
    ) -> Result<Self, StorageError> {
        check_format(&manifest)?;
        remove_dir(path)?;
        create_dir(path)?;
        for file in &manifest.files {
            let path = path.join(checked_name(&file.name)?);
            File::create(&path).map_err(StorageError::file("create", &path))?;
        }
        Ok(Self {
            path: path.to_owned(),
            manifest,
            file: 0,
            offset: 0,
        })
    }

    /// Takes the next bytes.
    pub(crate) fn accept(&mut self, data: &wire::SnapshotData) -> Result<(), StorageError> {
        let out_of_order = || StorageError::Corrupt {
            what: "the order of a snapshot's parts".to_owned(),
        };
        let index = usize::try_from(data.file).ok().ok_or_else(out_of_order)?;
        if index > self.file {
            self.file = index;
            self.offset = 0;
        }
        let file = self.manifest.files.get(index).ok_or_else(out_of_order)?;
        let len_bytes = u64::try_from(data.bytes.len()).unwrap_or(u64::MAX);
        let end = data.offset.saturating_add(len_bytes);
        if index != self.file || data.offset != self.offset || end > file.len_bytes {
            return Err(out_of_order());
        }
        let path = self.path.join(checked_name(&file.name)?);
        File::options()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&data.bytes))
            .map_err(StorageError::file("write", &path))?;
        self.offset = end;
        Ok(())
    }

    /// The snapshot, once every file is what the manifest says, and durable.
    pub(crate) fn finish(self) -> Result<Snapshot, StorageError> {
        let snapshot = Snapshot {
            path: self.path,
            manifest: self.manifest,
        };
        snapshot.verify()?;
        write_manifest(&snapshot.path, &snapshot.manifest)?;
        Ok(snapshot)
    }
}

const CHUNK_LEN_BYTES: u64 = 512 << 10;
