//! Places where a crash would hurt most, by name, so that tests can crash there; and what a power
//! cut would leave of the log. Outside of tests this is nothing.

#[cfg(test)]
pub(crate) use self::testing::{CRASH_AT, SYNCED_FILE, lose_power, point, synced, written};

/// Nothing.
#[cfg(not(test))]
#[inline]
pub(crate) const fn point(_name: &str) {}

/// Nothing.
#[cfg(not(test))]
pub(crate) struct Written;

/// Nothing.
#[cfg(not(test))]
#[inline]
pub(crate) const fn written(_db: &super::log_db::LogDb) -> Written {
    Written
}

/// Nothing.
#[cfg(not(test))]
#[inline]
pub(crate) const fn synced(_written: Written) {}

#[cfg(test)]
mod testing {
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::storage::data_dir::{list, write_atomically};
    use crate::storage::log_db::LogDb;

    /// Environment variable: `<point>:<pass>`, counted from one.
    pub(crate) const CRASH_AT: &str = "RAFT_STORE_CRASH_AT";

    /// Environment variable: file that notes how much of each write-ahead log was synced.
    pub(crate) const SYNCED_FILE: &str = "RAFT_STORE_SYNCED_FILE";

    /// Ends the process here if the test asked for it.
    pub(crate) fn point(name: &str) {
        static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
            let wanted = std::env::var(CRASH_AT).ok()?;
            let (name, pass) = wanted.rsplit_once(':')?;
            Some((name.to_owned(), pass.parse().ok()?))
        });
        static PASSES: AtomicU64 = AtomicU64::new(0);

        if let Some((wanted, pass)) = &*WANTED
            && wanted == name
            && PASSES.fetch_add(1, Ordering::SeqCst) + 1 == *pass
        {
            std::process::abort();
        }
    }

    /// How much of each write-ahead log is written now, if the test wants to know.
    pub(crate) fn written(db: &LogDb) -> Option<String> {
        std::env::var_os(SYNCED_FILE)?;
        let mut lengths = String::new();
        for path in logs(db.path()) {
            let len = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            lengths.push_str(&format!("{name} {len}\n"));
        }
        Some(lengths)
    }

    /// Notes that what was written is synced.
    pub(crate) fn synced(written: Option<String>) {
        if let (Some(lengths), Some(file)) = (written, std::env::var_os(SYNCED_FILE)) {
            write_atomically(Path::new(&file), lengths.as_bytes()).unwrap();
        }
    }

    /// Cuts the write-ahead logs in `raft` back to what was synced: the rest never was on disk.
    pub(crate) fn lose_power(raft: &Path, synced_file: &Path) {
        let noted = fs::read_to_string(synced_file).unwrap_or_default();
        let synced: BTreeMap<&str, u64> = noted
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, len)| (name, len.parse().unwrap()))
            .collect();
        for path in logs(raft) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let len = synced.get(name).copied().unwrap_or(0);
            let file = File::options().write(true).open(&path).unwrap();
            if file.metadata().unwrap().len() > len {
                file.set_len(len).unwrap();
            }
        }
    }

    fn logs(raft: &Path) -> impl Iterator<Item = PathBuf> {
        let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
        list(raft).unwrap().into_iter().filter(is_log)
    }
}
