//! Snapshots: a checkpoint of the state with a manifest that has a hash for every file.
//!
//! A snapshot directory without `.tmp` in its name is complete and durable: it gets its name last.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::data_dir::{create_dir, list, read, remove_dir, sync_dir};
use super::{StorageError, crash};
use crate::codec::{DecodeError, Frame, wire};
use crate::command::NEWEST_FORMAT;

/// A complete snapshot on disk.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) path: PathBuf,
    pub(crate) manifest: wire::SnapshotManifest,
}

impl Snapshot {
    /// Completes a checkpoint: hashes and syncs its files, writes the manifest and gives it its
    /// name below `snapshots`.
    pub(crate) fn seal(
        checkpoint: &Path,
        mut manifest: wire::SnapshotManifest,
        snapshots: &Path,
    ) -> Result<Self, StorageError> {
        manifest.files = list(checkpoint)?
            .iter()
            .map(|path| describe(path))
            .collect::<Result<_, _>>()?;
        crash::point("snapshot.before_manifest");
        write_manifest(checkpoint, &manifest)?;
        crash::point("snapshot.before_rename");
        Self::publish(checkpoint, manifest, snapshots)
    }

    /// Gives a complete directory its name.
    pub(crate) fn publish(
        from: &Path,
        manifest: wire::SnapshotManifest,
        snapshots: &Path,
    ) -> Result<Self, StorageError> {
        let index = manifest.last_applied.map_or(0, |position| position.index);
        let path = snapshots.join(format!("{index:020}"));
        remove_dir(&path)?;
        fs::rename(from, &path).map_err(StorageError::file("rename", from))?;
        sync_dir(snapshots)?;
        crash::point("snapshot.after_rename");
        Ok(Self { path, manifest })
    }

    /// Reads a snapshot's manifest; its files are not looked at.
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let manifest_path = path.join(MANIFEST);
        let bytes = read(&manifest_path, MAX_MANIFEST_LEN_BYTES)
            .map_err(StorageError::file("read", &manifest_path))?;
        let corrupt = || StorageError::Corrupt {
            what: manifest_path.display().to_string(),
        };
        let (framed, hash) = bytes
            .split_last_chunk::<HASH_LEN_BYTES>()
            .ok_or_else(corrupt)?;
        if digest::digest(&digest::SHA256, framed).as_ref() != hash {
            return Err(corrupt());
        }
        let manifest: wire::SnapshotManifest =
            Frame::unwrap(framed).map_err(StorageError::unreadable("the snapshot manifest"))?;
        check_format(&manifest)?;
        Ok(Self {
            path: path.to_owned(),
            manifest,
        })
    }

    /// Refuses the snapshot of another cluster, with that one's members and keys.
    pub(crate) fn ensure_of(&self, cluster_id: &[u8]) -> Result<(), StorageError> {
        if self.manifest.cluster_id == cluster_id {
            return Ok(());
        }
        Err(StorageError::Foreign {
            what: "the newest snapshot below snapshots/",
        })
    }

    /// Compares every file with its hash.
    pub(crate) fn verify(&self) -> Result<(), StorageError> {
        for expected in &self.manifest.files {
            let path = self.file(expected)?;
            if describe(&path)? != *expected {
                return Err(StorageError::Corrupt {
                    what: path.display().to_string(),
                });
            }
        }
        Ok(())
    }

    /// The newest snapshot that can be read. Unreadable ones are passed over: an older one with a
    /// longer log serves as well.
    pub(crate) fn newest(snapshots: &Path) -> Result<Option<Self>, StorageError> {
        for path in list(snapshots)?.iter().rev() {
            match Self::open(path) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "snapshot passed over");
                }
            }
        }
        Ok(None)
    }

    /// Removes all but the newest `KEPT`.
    pub(crate) fn remove_old(snapshots: &Path) -> Result<(), StorageError> {
        let complete: Vec<PathBuf> = list(snapshots)?
            .into_iter()
            .filter(|path| path.extension().is_none())
            .collect();
        let surplus = complete.len().saturating_sub(KEPT);
        complete[..surplus]
            .iter()
            .try_for_each(|path| remove_dir(path))
    }

    /// Copies the snapshot's database to `to`, durable. Tables are hard links: nobody ever writes
    /// to them again.
    pub(crate) fn unpack(&self, to: &Path) -> Result<(), StorageError> {
        create_dir(to)?;
        for file in &self.manifest.files {
            let source = self.file(file)?;
            let target = to.join(&file.name);
            let is_table = target
                .extension()
                .is_some_and(|extension| extension == "sst");
            if is_table && fs::hard_link(&source, &target).is_ok() {
                continue;
            }
            fs::copy(&source, &target).map_err(StorageError::file("copy", &source))?;
            sync_file(&target)?;
        }
        sync_dir(to)
    }

    /// Path of a file, whose name must not lead out of the directory.
    pub(crate) fn file(&self, file: &wire::SnapshotFile) -> Result<PathBuf, StorageError> {
        checked_name(&file.name).map(|name| self.path.join(name))
    }
}

/// Refuses a snapshot of a newer format than this program understands.
pub(crate) fn check_format(manifest: &wire::SnapshotManifest) -> Result<(), StorageError> {
    if manifest.format_version <= NEWEST_FORMAT {
        return Ok(());
    }
    let newer = DecodeError::NewerFormat {
        found: manifest.format_version,
        known: NEWEST_FORMAT,
    };
    Err(StorageError::unreadable("the snapshot manifest")(newer))
}

/// Writes the manifest and makes the directory durable.
pub(crate) fn write_manifest(
    directory: &Path,
    manifest: &wire::SnapshotManifest,
) -> Result<(), StorageError> {
    let mut bytes = Frame::wrap(manifest);
    let hash = digest::digest(&digest::SHA256, &bytes);
    bytes.extend_from_slice(hash.as_ref());
    let path = directory.join(MANIFEST);
    File::create(&path)
        .and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        })
        .map_err(StorageError::file("write", &path))?;
    sync_dir(directory)
}

/// A file name from a manifest, if it is nothing but a name.
pub(crate) fn checked_name(name: &str) -> Result<&str, StorageError> {
    let is_plain = !name.is_empty()
        && name != MANIFEST
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !name.starts_with('.');
    is_plain
        .then_some(name)
        .ok_or_else(|| StorageError::Corrupt {
            what: format!("snapshot file name {name:?}"),
        })
}

/// Name, length and hash of a file, and the file made durable.
fn describe(path: &Path) -> Result<wire::SnapshotFile, StorageError> {
    let reading = StorageError::file("read", path);
    let read = || -> std::io::Result<(u64, Vec<u8>)> {
        let mut file = File::open(path)?;
        let mut context = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; 64 << 10];
        let mut len_bytes = 0_u64;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            context.update(&buffer[..read]);
            len_bytes += u64::try_from(read).unwrap_or(u64::MAX);
        }
        file.sync_all()?;
        Ok((len_bytes, context.finish().as_ref().to_vec()))
    };
    let (len_bytes, sha256) = read().map_err(reading)?;
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(wire::SnapshotFile {
        name: name.unwrap_or_default().to_owned(),
        len_bytes,
        sha256,
    })
}

fn sync_file(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(StorageError::file("sync", path))
}

/// File name of the manifest. Not one that the storage engine uses.
const MANIFEST: &str = "snapshot.manifest";
const HASH_LEN_BYTES: usize = 32;
/// A peer is sent the manifest in one message, none of which is longer.
const MAX_MANIFEST_LEN_BYTES: u64 = 8 << 20;
/// Snapshots kept: the newest, and one that may be on its way to a peer.
const KEPT: usize = 2;
