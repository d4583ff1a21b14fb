//! Memory and background threads that all stores of the process share.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, Env, Options, WriteBufferManager};

use crate::config::MemoryPlan;
use crate::{Error, Kind, Result};

/// Part of a memtable that its filter takes: 24 bits for a record of 60 bytes, more for larger ones.
const MEMTABLE_FILTER: f64 = 0.05;

/// Block cache, write buffers charged to it, and background threads; cheap to clone.
#[derive(Clone)]
pub struct SharedMemory {
    cache: Cache,
    write_buffers: WriteBufferManager,
    env: Env,
    write_buffer_bytes: usize,
}

impl std::fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedMemory").field("cached", &self.cache.get_usage()).finish_non_exhaustive()
    }
}

impl SharedMemory {
    /// Sized by the memory plan, for `tasks` stores.
    pub fn new(plan: &MemoryPlan, tasks: usize) -> Result<Self> {
        const MIB: u64 = 1 << 20;
        let cache = Cache::new_hyper_clock_cache(plan.block_cache as usize, 0);
        let write_buffers =
            WriteBufferManager::new_write_buffer_manager_with_cache(plan.memtables as usize, false, cache.clone());
        let mut env =
            Env::new().map_err(|e| Error::new(Kind::Storage, "RocksDB's environment does not start").because(e))?;
        env.set_background_threads(2);
        env.set_high_priority_background_threads(1);
        let each = (plan.memtables / (2 * tasks.max(1) as u64)).clamp(2 * MIB, 64 * MIB);
        Ok(Self { cache, write_buffers, env, write_buffer_bytes: each as usize })
    }

    /// Options of a task's database.
    pub(super) fn database(&self) -> Options {
        let mut o = Options::default();
        o.create_if_missing(true);
        o.create_missing_column_families(true);
        o.set_env(&self.env);
        o.set_write_buffer_manager(&self.write_buffers);
        o.set_max_background_jobs(3);
        o.set_keep_log_file_num(2);
        o.set_max_log_file_size(4 << 20);
        o.set_bytes_per_sync(1 << 20);
        // Every hour at the latest a quiet store's log is flushed, so that no old log pins its disk space.
        o.set_max_total_wal_size(256 << 20);
        // Families are flushed together. The small one with the positions would keep every log since its last flush, all of which
        // a crash would have to read again: 0.7 s a task beside 100,000 records.
        o.set_atomic_flush(true);
        o
    }

    /// Options of a column family.
    pub(super) fn family(&self) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_block_size(8 << 10);
        table.set_bloom_filter(10.0, false);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(6);
        let mut o = Options::default();
        o.set_block_based_table_factory(&table);
        o.set_write_buffer_size(self.write_buffer_bytes);
        o.set_max_write_buffer_number(3);
        o.set_level_compaction_dynamic_level_bytes(true);
        o.set_compression_type(DBCompressionType::Lz4);
        o
    }

    /// Options of a column family that keys are looked up in: most are in no memtable, and a walk through its list waits for memory at
    /// every step.
    pub(super) fn family_of_lookups(&self) -> Options {
        let mut o = self.family();
        o.set_memtable_whole_key_filtering(true);
        o.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER);
        // What was flushed is compacted soon, and looked up until then.
        o.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::Lz4]);
        o
    }

    /// Bytes that the block cache holds now, memtables included.
    pub fn used(&self) -> u64 {
        self.cache.get_usage() as u64
    }
}
