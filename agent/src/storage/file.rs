//! Replaces a small private file in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use daemon::bounded_file;
use zeroize::Zeroizing;

/// The most a state file may hold; more is not ours.
const MAX_LEN_BYTES: usize = 4 << 20;

/// Puts `content` at `path` with mode 0600; on return it is on disk.
///
/// # Errors
/// The old content is still there.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    // A file left there by a crash would keep its own mode and owner.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    if let Err(error) = write(temporary, content).and_then(|()| fs::rename(temporary, path)) {
        // A part of it is of no use, and its space may be.
        fs::remove_file(temporary).ok();
        return Err(error);
    }
    // The rename itself is a change of the directory.
    File::open(directory)?.sync_all()
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The content of `path`, or nothing when there is no such file. It may be keys: it is wiped when it is dropped.
///
/// # Errors
/// The file cannot be read, or is larger than a state file can be.
pub(super) fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    match bounded_file::read(path, MAX_LEN_BYTES) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn replaced_file_is_private_and_leaves_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(**read(&path).unwrap().unwrap(), *b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn file_left_by_a_crash_does_not_lend_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        let left = directory.path().join("keys.json.tmp");
        fs::write(&left, b"left").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
        replace(&path, b"one").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn missing_file_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(&directory.path().join("absent")).unwrap(), None);
    }

    #[test]
    fn what_no_agent_wrote_is_not_read_to_its_end() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "the file is longer than 4194304 bytes");
    }
}
