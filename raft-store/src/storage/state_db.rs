//! The `state` database: the rows of the replicated state.
//!
//! No write-ahead log: the Raft log is it. Every batch moves the position with the rows, so a crash
//! goes back to some earlier position and the log leads forward again.

use std::path::Path;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{DB, FlushOptions, IteratorMode, WriteBatch, WriteOptions};

use super::{Memory, StorageError};
use crate::state::{Loader, RowWrite, State, TableId};

/// The rows of one state.
pub(crate) struct StateDb {
    db: DB,
    /// Outlives the database.
    _memory: Memory,
}

impl StateDb {
    /// Opens the database at `path`, made if missing.
    pub(crate) fn open(path: &Path, memory: &Memory) -> Result<Self, StorageError> {
        let mut options = memory.database();
        options.set_atomic_flush(true);
        options.set_write_buffer_size(BUFFER_LEN_BYTES);
        options.set_max_write_buffer_number(3);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        let db = DB::open(&options, path).map_err(StorageError::engine("open the state"))?;
        Ok(Self {
            db,
            _memory: memory.clone(),
        })
    }

    /// Writes the rows of one or more commands and the position behind them, in one step.
    pub(crate) fn write(
        &self,
        rows: impl IntoIterator<Item = RowWrite>,
        position: &[u8],
    ) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        batch.put(TableId::Position.row_key(&[]), position);
        self.write_batch(rows, batch)
    }

    fn write_batch(
        &self,
        rows: impl IntoIterator<Item = RowWrite>,
        mut batch: WriteBatch,
    ) -> Result<(), StorageError> {
        for row in rows {
            match row.value {
                Some(value) => batch.put(&row.key, value),
                None => batch.delete(&row.key),
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db
            .write_opt(batch, &options)
            .map_err(StorageError::engine("write the state"))
    }

    /// Writes rows as they come from a backup, the position's among them.
    pub(crate) fn load_rows(&self, rows: Vec<RowWrite>) -> Result<(), StorageError> {
        self.write_batch(rows, WriteBatch::default())
    }

    /// Reads everything: the state, and the stored position if there is one.
    pub(crate) fn load(&self) -> Result<(State, Option<Vec<u8>>), StorageError> {
        let mut loader = Loader::default();
        self.visit(|key, value| loader.row(key, value).map_err(StorageError::Load))?;
        let state = loader.finish().map_err(StorageError::Load)?;
        Ok((state, self.position()?))
    }

    /// Shows all rows, in order, as they were when this was called: the first is the position.
    pub(crate) fn visit<E: From<StorageError>>(
        &self,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut options = rocksdb::ReadOptions::default();
        // A scan of everything would push out what is of use.
        options.fill_cache(false);
        options.set_readahead_size(1 << 20);
        for row in self.db.iterator_opt(IteratorMode::Start, options) {
            let (key, value) = row.map_err(StorageError::engine("read the state"))?;
            visit(&key, &value)?;
        }
        Ok(())
    }

    /// The stored position, if there is one.
    pub(crate) fn position(&self) -> Result<Option<Vec<u8>>, StorageError> {
        self.db
            .get(TableId::Position.row_key(&[]))
            .map_err(StorageError::engine("read the state"))
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .flush_opt(&options)
            .map_err(StorageError::engine("flush the state"))
    }

    /// Puts a copy of everything written so far at `path`, as hard links.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<(), StorageError> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(path))
            .map_err(StorageError::engine("make a checkpoint of the state"))
    }
}

const BUFFER_LEN_BYTES: usize = 4 << 20;
