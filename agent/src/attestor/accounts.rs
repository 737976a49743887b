//! Names of users and groups, from `/etc/passwd` and `/etc/group`.
//!
//! The files are read here and not by the C library: a name service module would run foreign code
//! in a process that holds keys, and could block on a network. The price is that names which only
//! such a service knows give no `user:` or `group:` selector; `uid:` and `gid:` always exist.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::bounded_file;
use parking_lot::Mutex;

/// A file larger than this gives no names.
const MAX_LEN_BYTES: usize = 16 << 20;

/// The names in one account file, read again whenever the file has changed.
#[derive(Debug)]
pub(super) struct Names {
    path: PathBuf,
    read: Mutex<Option<Snapshot>>,
}

impl Names {
    /// The names in the file at `path`, which is read on first use.
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            read: Mutex::new(None),
        }
    }

    /// All names, by id. A file that cannot be read has none.
    pub(super) fn current(&self) -> Arc<HashMap<u32, Box<str>>> {
        let Ok(stamp) = Stamp::of(&self.path) else {
            return Arc::default();
        };
        let mut read = self.read.lock();
        match &*read {
            Some(snapshot) if snapshot.stamp == stamp => Arc::clone(&snapshot.names),
            Some(_) | None => {
                let names = Arc::new(read_names(&self.path).unwrap_or_default());
                *read = Some(Snapshot {
                    stamp,
                    names: Arc::clone(&names),
                });
                names
            }
        }
    }
}

#[derive(Debug)]
struct Snapshot {
    stamp: Stamp,
    names: Arc<HashMap<u32, Box<str>>>,
}

/// What tells one version of a file from the next.
#[derive(Debug, Eq, PartialEq)]
struct Stamp {
    inode: u64,
    len_bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            inode: metadata.ino(),
            len_bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

fn read_names(path: &Path) -> io::Result<HashMap<u32, Box<str>>> {
    // Cut off, the last line would give another id its name.
    let content = bounded_file::read(path, MAX_LEN_BYTES)?;
    let mut names = HashMap::new();
    for line in content.split(|byte| *byte == b'\n') {
        if let Some((id, name)) = std::str::from_utf8(line).ok().and_then(parse_line) {
            // As in the C library, the first line with an id wins.
            names.entry(id).or_insert_with(|| name.into());
        }
    }
    Ok(names)
}

/// `name:password:id:…`, in both files.
fn parse_line(line: &str) -> Option<(u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let id = fields.nth(1)?.parse().ok()?;
    (!name.starts_with(['#', '+', '-'])).then_some((id, name))
}

/// What is read of a line: the id and its name.
#[cfg(feature = "fuzzing")]
pub fn told_by_account(line: &str) -> Option<(u32, &str)> {
    parse_line(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        let names = Names::new(&path);
        assert!(names.current().is_empty());
        std::fs::write(&path, "root:x:0:0::/root:/bin/sh\nalias:x:0:0:::\n").unwrap();
        assert_eq!(names.current()[&0].as_ref(), "root");
        std::fs::write(&path, "app:x:1000:\n").unwrap();
        assert_eq!(names.current().get(&0), None);
        assert_eq!(names.current()[&1000].as_ref(), "app");
    }

    #[test]
    fn file_that_is_too_long_has_no_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        // The last line that fits is cut within its id.
        let line = "app:x:1000:\n";
        let fits = MAX_LEN_BYTES - "app:x:1".len();
        let content = [&"\n".repeat(fits), line].concat();
        std::fs::write(&path, content).unwrap();
        assert!(Names::new(&path).current().is_empty());
    }

    #[test]
    fn lines_that_name_nobody_are_skipped() {
        for line in ["", "#root:x:0:", "+::0:", ":x:0:", "root:x:-1:", "root:x"] {
            assert_eq!(parse_line(line), None, "{line:?}");
        }
    }
}
