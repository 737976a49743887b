//! How the storage engine is set up: small, and with a table format that neighbouring versions of
//! this program read from each other.

use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options, WriteBufferManager,
};

use super::data_dir::DataDir;

/// Memory that both databases share.
#[derive(Clone)]
pub(crate) struct Memory {
    cache: Cache,
    buffers: WriteBufferManager,
    /// The directory stays locked until the last database is closed.
    _dir: Arc<DataDir>,
}

impl Memory {
    pub(crate) fn new(dir: Arc<DataDir>) -> Self {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_LEN_BYTES);
        let buffers = WriteBufferManager::new_write_buffer_manager(WRITE_BUFFERS_LEN_BYTES, false);
        Self {
            cache,
            buffers,
            _dir: dir,
        }
    }

    /// Options of a database that is created when missing.
    pub(crate) fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        // The engine's default drops everything from a damaged record on without a word; acknowledged entries and
        // votes may be among it. A record that a crash cut short was never synced, and may go.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_write_buffer_manager(&self.buffers);
        options.set_max_open_files(256);
        options.set_max_background_jobs(2);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);
        options.set_stats_dump_period_sec(0);
        self.tables(&mut options);
        options
    }

    /// Options of a table whose writes gather in buffers of this size.
    pub(crate) fn table(&self, write_buffer_len_bytes: usize) -> Options {
        let mut options = Options::default();
        options.set_write_buffer_size(write_buffer_len_bytes);
        options.set_max_write_buffer_number(3);
        options.set_compression_type(DBCompressionType::Lz4);
        self.tables(&mut options);
        options
    }

    fn tables(&self, options: &mut Options) {
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&self.cache);
        tables.set_cache_index_and_filter_blocks(true);
        // Pinned: a snapshot taken by one version is installed by its neighbours.
        tables.set_format_version(TABLE_FORMAT);
        options.set_block_based_table_factory(&tables);
    }
}

const BLOCK_CACHE_LEN_BYTES: usize = 8 << 20;
const WRITE_BUFFERS_LEN_BYTES: usize = 16 << 20;
const TABLE_FORMAT: i32 = 5;
