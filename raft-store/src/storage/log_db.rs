//! The `raft` database: log records by index, and what else a member must not forget.
//!
//! Writes are not synced here; [`LogDb::sync`] makes all of them durable in the order in which they
//! were made, as they share one write-ahead log.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, Direction, IteratorMode, WriteBatch};

use super::data_dir::{read_if_there, write_atomically};
use super::{Memory, StorageError, crash};

/// The log and its metadata.
pub(crate) struct LogDb {
    db: DB,
    syncs: AtomicU64,
    appended: AtomicU64,
    appended_len_bytes: AtomicU64,
    /// What is committed, as long as it waits for a write to go with.
    committed: Mutex<Option<Vec<u8>>>,
    /// Outlives the database.
    _memory: Memory,
}

/// Records of the log, in order.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) records: Vec<Box<[u8]>>,
    /// Whether there are more that were not read for their size.
    pub(crate) is_cut: bool,
}

/// Names of metadata.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meta {
    Vote,
    Committed,
    Purged,
    Identity,
}

impl Meta {
    const fn key(self) -> &'static str {
        match self {
            Self::Vote => "vote",
            Self::Committed => "committed",
            Self::Purged => "purged",
            Self::Identity => "identity",
        }
    }
}

impl LogDb {
    pub(crate) fn open(path: &Path, memory: &Memory) -> Result<Self, StorageError> {
        let mut options = memory.database();
        options.set_max_total_wal_size(MAX_WAL_LEN_BYTES);
        options.set_track_and_verify_wals_in_manifest(true);
        let tables = [
            ColumnFamilyDescriptor::new(LOG, memory.table(LOG_BUFFER_LEN_BYTES)),
            ColumnFamilyDescriptor::new(META, memory.table(META_BUFFER_LEN_BYTES)),
        ];
        let db = DB::open_cf_descriptors(&options, path, tables)
            .map_err(StorageError::engine("open the log"))?;
        Ok(Self {
            db,
            syncs: AtomicU64::new(0),
            appended: AtomicU64::new(0),
            appended_len_bytes: AtomicU64::new(0),
            committed: Mutex::default(),
            _memory: memory.clone(),
        })
    }

    /// Stores who this member is, for good: in the database, and in a file beside its own for whoever
    /// asks before it is open.
    pub(crate) fn set_identity(&self, identity: &[u8]) -> Result<(), StorageError> {
        self.set_meta(Meta::Identity, identity)?;
        self.sync()?;
        write_atomically(&self.db.path().join(MEMBER), identity)
    }

    /// Who the member is whose log is at `path`; `None` if there is none. Opens no database: after a
    /// crash the engine cannot open one just for reading.
    pub(crate) fn identity_at(path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
        read_if_there(&path.join(MEMBER), MAX_IDENTITY_LEN_BYTES)
    }

    /// Appends records, not yet durable.
    pub(crate) fn append(&self, records: &[(u64, Vec<u8>)]) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        if let Some(committed) = self.committed.lock().take() {
            batch.put_cf(self.table(META), Meta::Committed.key(), committed);
        }
        for (index, record) in records {
            batch.put_cf(self.table(LOG), index.to_be_bytes(), record);
        }
        self.write(batch, "append to the log")?;
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        self.appended.fetch_add(count, Ordering::Relaxed);
        let len_bytes: usize = records.iter().map(|(_, record)| record.len()).sum();
        let len_bytes = u64::try_from(len_bytes).unwrap_or(u64::MAX);
        self.appended_len_bytes
            .fetch_add(len_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Removes records from `from` to the end, not yet durable.
    pub(crate) fn truncate(&self, from: u64) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.table(LOG), from.to_be_bytes(), u64::MAX.to_be_bytes());
        self.write(batch, "truncate the log")
    }

    /// Removes records up to `through` and notes it, not yet durable.
    pub(crate) fn purge(&self, through: u64, purged: &[u8]) -> Result<(), StorageError> {
        let end = through.saturating_add(1).to_be_bytes();
        let mut batch = WriteBatch::default();
        batch.put_cf(self.table(META), Meta::Purged.key(), purged);
        batch.delete_range_cf(self.table(LOG), 0_u64.to_be_bytes(), end);
        self.write(batch, "purge the log")
    }

    /// Records with an index in `from..end`, in order.
    pub(crate) fn read(&self, from: u64, end: u64) -> Result<Vec<Box<[u8]>>, StorageError> {
        Ok(self.read_up_to(usize::MAX, from, end)?.records)
    }

    /// The first of these records, of so many bytes together, but at least one.
    pub(crate) fn read_up_to(
        &self,
        len_bytes: usize,
        from: u64,
        end: u64,
    ) -> Result<Records, StorageError> {
        let start = from.to_be_bytes();
        let mode = IteratorMode::From(&start, Direction::Forward);
        let mut options = rocksdb::ReadOptions::default();
        options.set_iterate_upper_bound(end.to_be_bytes().to_vec());
        let mut left = len_bytes;
        let mut read = Records::default();
        for row in self.db.iterator_cf_opt(self.table(LOG), options, mode) {
            let (_, record) = row.map_err(StorageError::engine("read the log"))?;
            if record.len() > left && !read.records.is_empty() {
                read.is_cut = true;
                break;
            }
            left = left.saturating_sub(record.len());
            read.records.push(record);
        }
        Ok(read)
    }

    /// Index of the first record at `from` or behind. What was purged is skipped: a walk over its
    /// tombstones is slow.
    pub(crate) fn first(&self, from: u64) -> Result<Option<u64>, StorageError> {
        let start = from.to_be_bytes();
        let mode = IteratorMode::From(&start, Direction::Forward);
        let row = self
            .db
            .iterator_cf(self.table(LOG), mode)
            .next()
            .transpose();
        let Some((key, _)) = row.map_err(StorageError::engine("read the log"))? else {
            return Ok(None);
        };
        let key = <[u8; 8]>::try_from(&*key).ok();
        let index = key.map(u64::from_be_bytes);
        index.map(Some).ok_or_else(|| StorageError::Corrupt {
            what: "a key of the log".to_owned(),
        })
    }

    /// The last record.
    pub(crate) fn last(&self) -> Result<Option<Box<[u8]>>, StorageError> {
        let mut rows = self.db.iterator_cf(self.table(LOG), IteratorMode::End);
        let row = rows.next().transpose();
        let row = row.map_err(StorageError::engine("read the log"))?;
        Ok(row.map(|(_, record)| record))
    }

    pub(crate) fn meta(&self, name: Meta) -> Result<Option<Vec<u8>>, StorageError> {
        self.db
            .get_cf(self.table(META), name.key())
            .map_err(StorageError::engine("read the log's metadata"))
    }

    /// Stores metadata, not yet durable.
    pub(crate) fn set_meta(&self, name: Meta, value: &[u8]) -> Result<(), StorageError> {
        self.db
            .put_cf(self.table(META), name.key(), value)
            .map_err(StorageError::engine("write the log's metadata"))
    }

    /// Notes what is committed. Written with the next records, or by [`Self::write_committed`].
    pub(crate) fn note_committed(&self, committed: Vec<u8>) {
        *self.committed.lock() = Some(committed);
    }

    /// What is committed, as far as it was noted.
    pub(crate) fn committed(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let noted = self.committed.lock().clone();
        noted.map_or_else(|| self.meta(Meta::Committed), |noted| Ok(Some(noted)))
    }

    /// Writes what is committed if it still waits, not yet durable.
    pub(crate) fn write_committed(&self) -> Result<(), StorageError> {
        let mut noted = self.committed.lock();
        if let Some(committed) = &*noted {
            self.set_meta(Meta::Committed, committed)?;
        }
        *noted = None;
        Ok(())
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let written = crash::written(self);
        self.db
            .flush_wal(true)
            .map_err(StorageError::engine("sync the log"))?;
        crash::synced(written);
        Ok(())
    }

    /// How often the log was synced since it was opened.
    pub(crate) fn sync_count(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// How many records were appended since it was opened.
    pub(crate) fn appended_count(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    /// How many bytes these have.
    pub(crate) fn appended_len_bytes(&self) -> u64 {
        self.appended_len_bytes.load(Ordering::Relaxed)
    }

    /// Where the database is.
    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        self.db.path()
    }

    fn write(&self, batch: WriteBatch, doing: &'static str) -> Result<(), StorageError> {
        self.db.write(batch).map_err(StorageError::engine(doing))
    }

    fn table(&self, name: &'static str) -> &ColumnFamily {
        self.db
            .cf_handle(name)
            .expect("every column family was opened with the database")
    }
}

const LOG: &str = "log";
const META: &str = "meta";
/// No name of the engine's own.
const MEMBER: &str = "MEMBER";
/// Of a few numbers and the id of the cluster.
const MAX_IDENTITY_LEN_BYTES: u64 = 64 << 10;
const LOG_BUFFER_LEN_BYTES: usize = 4 << 20;
const META_BUFFER_LEN_BYTES: usize = 64 << 10;
const MAX_WAL_LEN_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::OpenGuard;
    use crate::storage::data_dir::DataDir;

    #[test]
    fn what_is_committed_is_written_with_the_next_records_or_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let (guard, _gone) = OpenGuard::new();
        let dir = Arc::new(DataDir::lock(folder.path(), guard).ok().unwrap());
        let db = LogDb::open(&dir.raft(), &Memory::new(Arc::clone(&dir))).unwrap();
        let written = || db.meta(Meta::Committed).unwrap();
        db.note_committed(b"1".to_vec());
        assert_eq!(
            (written(), db.committed().unwrap()),
            (None, Some(b"1".to_vec()))
        );
        db.append(&[(2, b"record".to_vec())]).unwrap();
        assert_eq!(written(), Some(b"1".to_vec()));
        db.note_committed(b"2".to_vec());
        db.write_committed().unwrap();
        assert_eq!(
            (written(), db.committed().unwrap()),
            (Some(b"2".to_vec()), Some(b"2".to_vec()))
        );
    }

    #[test]
    fn no_more_records_are_read_than_are_asked_for_but_one() {
        let folder = tempfile::tempdir().unwrap();
        let (guard, _gone) = OpenGuard::new();
        let dir = Arc::new(DataDir::lock(folder.path(), guard).ok().unwrap());
        let db = LogDb::open(&dir.raft(), &Memory::new(Arc::clone(&dir))).unwrap();
        let records: Vec<_> = (0..4).map(|index| (index, vec![7; 1_000])).collect();
        db.append(&records).unwrap();
        let read = |len_bytes| {
            let read = db.read_up_to(len_bytes, 0, 4).unwrap();
            (read.records.len(), read.is_cut)
        };
        assert_eq!(read(1), (1, true));
        assert_eq!(read(2_999), (2, true));
        assert_eq!(read(3_000), (3, true));
        assert_eq!(read(4_000), (4, false));
    }
}
