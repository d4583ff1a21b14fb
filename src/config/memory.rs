//! From one number to its parts: how the memory budget is shared out. Pure.

/// Bytes that each part of the process may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The budget itself.
    pub budget: u64,
    /// RocksDB block cache, memtables charged to it.
    pub block_cache: u64,
    /// Of the block cache: most that memtables of all stores take.
    pub memtables: u64,
    /// Record cache, all workers.
    pub record_cache: u64,
    /// Batches and overlays between merge and apply, all workers.
    pub batches: u64,
    /// Tantivy writer, each table.
    pub index_writer: u64,
    /// Records waiting for the index thread, each table.
    pub index_queue: u64,
    /// Documents that have a word, and documents in the order of a column, kept for searches that ask for the same again, each table.
    pub index_sets: u64,
    /// Prefetched messages, each worker's consumer.
    pub consumer: u64,
    /// Queue of the transactional producer, each worker.
    pub producer: u64,
}

impl MemoryPlan {
    /// Least budget that works, for so many tables and so many workers of each.
    pub fn least(tables: usize, workers: usize) -> u64 {
        let (tables, workers) = (tables as u64, workers as u64);
        (64 + 48 * tables + workers * (24 * tables).max(48)) << 20
    }

    /// Shares `budget` out, but for three sixteenths: the program itself, the live tier of the index, and what the allocator keeps are counted
    /// nowhere; where the floors take more, as of the least budget, no less than an eighth. `workers` are those of each table. Index writers, queues and consumers have floors, the caches take what remains.
    pub fn share(budget: u64, tables: usize, workers: usize) -> Self {
        const MIB: u64 = 1 << 20;
        let spare = budget.saturating_sub(Self::least(tables, workers));
        let tables = tables.max(1) as u64;
        let workers = tables * workers.max(1) as u64;
        let index_writer = (budget / 10 / tables).clamp(16 * MIB, 96 * MIB);
        let index_queue = (budget / 8 / tables).clamp(8 * MIB, 128 * MIB);
        // Twice as much where there is more than the least: searches do without.
        let index_sets = (budget / 64 + spare / 64) / tables;
        let consumer = (budget / 16 / workers).clamp(8 * MIB, 48 * MIB);
        let producer = (budget / 32 / workers).clamp(8 * MIB, 32 * MIB);
        let batches = (budget / 10).clamp(16 * MIB, 128 * MIB);
        let spent = (index_writer + index_queue + index_sets) * tables + (consumer + producer) * workers + batches;
        let rest = (budget - kept_back(budget)).saturating_sub(spent).max(32 * MIB);
        let record_cache = rest / 2;
        let block_cache = rest - record_cache;
        Self {
            budget,
            block_cache,
            memtables: block_cache / 5 * 3,
            record_cache,
            batches,
            index_writer,
            index_queue,
            index_sets,
            consumer,
            producer,
        }
    }

    /// The parts by name, for the log, status and metrics.
    pub fn parts(&self) -> [(&'static str, u64); 10] {
        [
            ("budget", self.budget),
            ("block_cache", self.block_cache),
            ("memtables", self.memtables),
            ("record_cache", self.record_cache),
            ("batches", self.batches),
            ("index_writer", self.index_writer),
            ("index_queue", self.index_queue),
            ("index_sets", self.index_sets),
            ("consumer", self.consumer),
            ("producer", self.producer),
        ]
    }
}

/// What is given to nobody.
fn kept_back(budget: u64) -> u64 {
    budget / 16 * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_leave_three_sixteenths_of_the_budget() {
        for (tables, workers) in [(1, 1), (1, 4), (2, 2), (3, 8), (4, 4)] {
            let least = MemoryPlan::least(tables, workers);
            for budget in [least, 1 << 30, 4 << 30, 64 << 30].into_iter().filter(|budget| *budget >= least) {
                let plan = MemoryPlan::share(budget, tables, workers);
                let tables_take = (plan.index_writer + plan.index_queue + plan.index_sets) * tables as u64;
                let workers_take = (plan.consumer + plan.producer) * (workers * tables) as u64;
                let taken = plan.block_cache + plan.record_cache + plan.batches + tables_take + workers_take;
                // Of the least budget the floors leave less.
                let most = if budget == least { budget - budget / 8 } else { budget - kept_back(budget) };
                assert!(taken <= most, "{tables} tables, {workers} workers: {taken} of {budget}");
                assert!(taken > budget / 2, "{tables} tables, {workers} workers: {taken} of {budget}");
                assert!(plan.memtables < plan.block_cache, "{plan:?}");
            }
        }
    }
}
