//! The data directory: what lies where in it, and that one process owns it.
//!
//! ```text
//! LOCK                       held as long as the store is open
//! raft/                      log, vote and identity
//! raft/MEMBER                the identity once more, for whoever asks before the log is open
//! state/CURRENT              name of the directory that holds the state
//! state/<number>/            the state
//! snapshots/<index>/         a finished snapshot
//! snapshots/*.tmp            an unfinished one, removed at start
//! new.tmp/                   another cluster in the making, removed at start
//! new-<id>/                  another cluster, complete: its parts take their places at start
//! replaced-by-<id>/          what stood there before; never touched again
//! ```

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statvfs};

use super::{OpenGuard, StorageError, crash};

/// A locked data directory.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: Lock,
    /// Outlives the lock.
    _guard: OpenGuard,
}

/// Unlocks when dropped, also when the process dies. A program that is just being started has a copy of the open file
/// for a moment: to close this one alone would leave the directory locked.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Where this fails, closing the last copy unlocks.
        flock(&self.0, FlockOperation::Unlock).ok();
    }
}

/// Why a data directory could not be taken.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it.
    Taken,
    Storage(StorageError),
}

impl From<StorageError> for LockError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl DataDir {
    /// Takes the directory, made if missing, or says that another process has it.
    pub(crate) fn lock(path: &Path, guard: OpenGuard) -> Result<Self, LockError> {
        create_dir(path)?;
        let lock_path = path.join("LOCK");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(StorageError::file("open", &lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Taken),
            Err(errno) => return Err(StorageError::file("lock", &lock_path)(errno.into()).into()),
        }
        let dir = Self {
            path: path.to_owned(),
            lock: Lock(lock),
            _guard: guard,
        };
        dir.move_in()?;
        create_dir(&dir.path.join("state"))?;
        create_dir(&dir.snapshots())?;
        dir.remove_leftovers()?;
        Ok(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what was locked is still there. What is written to files that were removed is lost with the process.
    pub(crate) fn is_in_place(&self) -> bool {
        let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let found = fs::metadata(self.path.join("LOCK")).map(place);
        let held = self.lock.0.metadata().map(place);
        match (found, held) {
            (Ok(found), Ok(held)) => found == held,
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            // Not to be known now.
            (Ok(_), Err(_)) => true,
        }
    }

    pub(crate) fn raft(&self) -> PathBuf {
        Self::raft_in(&self.path)
    }

    /// Where the log of a data directory is.
    pub(crate) fn raft_in(path: &Path) -> PathBuf {
        path.join("raft")
    }

    /// Where a snapshot from a peer gathers; removed at start.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.snapshots().join("incoming.tmp")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The directory that holds the state, or `None` if there is no state yet.
    pub(crate) fn current_state(&self) -> Result<Option<PathBuf>, StorageError> {
        let current = self.path.join("state/CURRENT");
        let Some(name) = read_if_there(&current, MAX_NAME_LEN_BYTES)? else {
            return Ok(None);
        };
        let number: u64 = std::str::from_utf8(&name)
            .ok()
            .and_then(|name| name.trim().parse().ok())
            .ok_or_else(|| StorageError::Corrupt {
                what: current.display().to_string(),
            })?;
        let path = self.state(number);
        Ok(path.is_dir().then_some(path))
    }

    /// Whether there is a state or a snapshot of one.
    pub(crate) fn has_state(&self) -> Result<bool, StorageError> {
        let has_snapshot = !list(&self.snapshots())?.is_empty();
        Ok(has_snapshot || self.current_state()?.is_some())
    }

    /// A path for the next state; nothing is there.
    pub(crate) fn next_state(&self) -> Result<PathBuf, StorageError> {
        let current = self.current_state()?.as_deref().and_then(number_of);
        let path = self.state(current.unwrap_or(0) + 1);
        remove_dir(&path)?;
        Ok(path)
    }

    /// Makes `path` the state from now on, in one step, and removes the one before.
    pub(crate) fn switch_state(&self, path: &Path) -> Result<(), StorageError> {
        let number = number_of(path).ok_or_else(|| StorageError::Corrupt {
            what: path.display().to_string(),
        })?;
        sync_dir(&self.path.join("state"))?;
        let current = self.path.join("state/CURRENT");
        write_atomically(&current, format!("{number}\n").as_bytes())?;
        crash::point("install.after_switch");
        Ok(())
    }

    /// Where another cluster gathers; nothing is there.
    pub(crate) fn new_cluster(&self) -> Result<PathBuf, StorageError> {
        let path = self.path.join(NEW_TMP);
        remove_dir(&path)?;
        create_dir(&path)?;
        Ok(path)
    }

    /// Makes what has gathered for another cluster the content of this directory. What stood here
    /// is kept aside. After a crash there is the old content, or at the next start the new.
    pub(crate) fn replace_by_new(&self, cluster_id: &[u8; 16]) -> Result<(), StorageError> {
        let id = u128::from_be_bytes(*cluster_id);
        let complete = self.path.join(format!("{NEW}{id:032x}"));
        let gathered = self.path.join(NEW_TMP);
        sync_dir(&gathered)?;
        crash::point("replace.before_rename");
        fs::rename(&gathered, &complete).map_err(StorageError::file("rename", &gathered))?;
        sync_dir(&self.path)?;
        crash::point("replace.after_rename");
        self.move_in()
    }

    /// Whether a store is here, or part of one.
    pub(crate) fn is_empty(path: &Path) -> Result<bool, StorageError> {
        if !path.exists() {
            return Ok(true);
        }
        let is_nothing = |path: &PathBuf| -> Result<bool, StorageError> {
            let is_left_over = path.ends_with("LOCK") || path.ends_with(NEW_TMP);
            Ok(is_left_over || path.is_dir() && list(path)?.is_empty())
        };
        for path in list(path)? {
            if !is_nothing(&path)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives the parts of a complete new cluster their places, if there is one.
    fn move_in(&self) -> Result<(), StorageError> {
        remove_dir(&self.path.join(NEW_TMP))?;
        for new in list(&self.path)? {
            let name = new.file_name().and_then(|name| name.to_str());
            let Some(id) = name.and_then(|name| name.strip_prefix(NEW)) else {
                continue;
            };
            let replaced = self.path.join(format!("replaced-by-{id}"));
            for part in PARTS {
                self.move_part_in(&new, part, &replaced)?;
            }
            remove_dir(&new)?;
            sync_dir(&self.path)?;
        }
        Ok(())
    }

    fn move_part_in(&self, new: &Path, part: &str, replaced: &Path) -> Result<(), StorageError> {
        let (from, to) = (new.join(part), self.path.join(part));
        if !from.exists() {
            return Ok(());
        }
        if to.exists() {
            create_dir(replaced)?;
            let aside = replaced.join(part);
            fs::rename(&to, &aside).map_err(StorageError::file("rename", &to))?;
            sync_dir(replaced)?;
        }
        crash::point("replace.between");
        fs::rename(&from, &to).map_err(StorageError::file("rename", &from))?;
        sync_dir(&self.path)?;
        crash::point("replace.moved");
        Ok(())
    }

    /// Removes every state but the current one.
    pub(crate) fn remove_old_states(&self) -> Result<(), StorageError> {
        let current = self.current_state()?;
        for path in list(&self.path.join("state"))? {
            if path.is_dir() && Some(&path) != current.as_ref() {
                remove_dir(&path)?;
            }
        }
        Ok(())
    }

    /// Whether the disk has next to no room left.
    pub(crate) fn is_full(path: &Path) -> bool {
        statvfs(path).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < MIN_FREE_BYTES)
    }

    fn state(&self, number: u64) -> PathBuf {
        self.path.join(format!("state/{number}"))
    }

    fn remove_leftovers(&self) -> Result<(), StorageError> {
        for path in list(&self.snapshots())? {
            if path.extension().is_some_and(|extension| extension == "tmp") {
                remove_dir(&path)?;
            }
        }
        self.remove_old_states_at_start()
    }

    fn remove_old_states_at_start(&self) -> Result<(), StorageError> {
        // Without a CURRENT nothing says which state is good: leave all for the operator.
        match self.current_state()? {
            Some(_) => self.remove_old_states(),
            None => Ok(()),
        }
    }
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Paths in a directory, sorted.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let entries = fs::read_dir(path).map_err(StorageError::file("list", path))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(StorageError::file("list", path))?;
    paths.sort();
    Ok(paths)
}

/// Makes a directory that only the owner may enter, unless it is there.
pub(crate) fn create_dir(path: &Path) -> Result<(), StorageError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(path)
        .map_err(StorageError::file("create", path))
}

/// Removes a directory with all in it, if it is there.
pub(crate) fn remove_dir(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StorageError::file("remove", path)(error)),
    }
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(StorageError::file("sync", path))
}

/// Replaces a file in one step: after a crash it holds the old bytes or the new.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(StorageError::file("write", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// What is in a file that a store wrote, `None` if there is none; never more than `max_len_bytes`.
pub(crate) fn read_if_there(
    path: &Path,
    max_len_bytes: u64,
) -> Result<Option<Vec<u8>>, StorageError> {
    match read(path, max_len_bytes) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::file("read", path)(error)),
    }
}

/// The same for a file that has to be there.
pub(crate) fn read(path: &Path, max_len_bytes: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(max_len_bytes + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()).is_ok_and(|len_bytes| len_bytes <= max_len_bytes) {
        true => Ok(bytes),
        false => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the file is longer than {max_len_bytes} bytes"),
        )),
    }
}

const NEW_TMP: &str = "new.tmp";
const NEW: &str = "new-";

/// What a store consists of.
const PARTS: [&str; 3] = ["raft", "state", "snapshots"];

/// Of the number in `CURRENT`.
const MAX_NAME_LEN_BYTES: u64 = 64;

/// Under this much room the storage engine cannot work.
const MIN_FREE_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_file_than_a_store_writes_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::lock(folder.path(), OpenGuard::new().0)
            .ok()
            .unwrap();
        let current = folder.path().join("state/CURRENT");
        create_dir(&folder.path().join("state/1")).unwrap();
        for (len_bytes, problem) in [
            (64, None),
            (65, Some("the file is longer than 64 bytes")),
            (1 << 20, Some("the file is longer than 64 bytes")),
        ] {
            fs::write(&current, " ".repeat(len_bytes - 1) + "1").unwrap();
            let refused = dir.current_state().err().map(|error| match error {
                StorageError::File { path, source, .. } => (path, source.to_string()),
                error => panic!("{error}"),
            });
            let expected = problem.map(|problem| (current.clone(), problem.to_owned()));
            assert_eq!(refused, expected, "{len_bytes}");
        }
    }

    #[test]
    fn a_directory_is_free_once_let_go_of_whoever_has_a_copy_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let lock = || DataDir::lock(folder.path(), OpenGuard::new().0);
        let dir = lock().ok().unwrap();
        assert!(matches!(lock(), Err(LockError::Taken)));
        let _copy = dir.lock.0.try_clone().unwrap();
        drop(dir);
        lock().ok().unwrap();
    }

    #[test]
    fn a_directory_that_was_removed_or_replaced_is_not_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let dir = DataDir::lock(&path, OpenGuard::new().0).ok().unwrap();
        assert!(dir.is_in_place());
        fs::remove_dir_all(&path).unwrap();
        assert!(!dir.is_in_place());
        let _other = DataDir::lock(&path, OpenGuard::new().0).ok().unwrap();
        assert!(!dir.is_in_place());
    }
}
