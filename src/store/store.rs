//! One task's RocksDB.

use crate::Result;
use crate::broker::Offset;

/// Block cache, write buffers and background threads shared by all stores of the process.
#[derive(Clone)]
pub struct SharedMemory {}

/// One task's RocksDB.
#[derive(Debug)]
pub struct Store {}

/// What a committed batch brings into the store.
#[derive(Debug, Default)]
pub struct Batch {}
/// Cumulative accounting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounting {}
/// How far a store has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {}
/// What a store keeps about itself.
#[derive(Clone, Debug, Default)]
pub struct StoreMeta {}
/// A batch that was applied.
#[derive(Clone, Debug, Default)]
pub struct Applied {}

impl Store {
    /// The stored bytes of a record.
    pub fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>> {
        todo!()
    }
    /// The stored bytes of many records, in the order asked.
    pub fn get_many(&self, _keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        todo!()
    }
    /// Hands every record to `visit`, by key, from `from` on, until it returns false.
    pub fn scan(&self, _from: &[u8], _visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool>) -> Result<()> {
        todo!()
    }
    /// Changelog position that the store covers.
    pub fn changelog(&self) -> Offset {
        todo!()
    }
    /// Bytes on disk, approximate.
    pub fn bytes(&self) -> u64 {
        todo!()
    }
    /// Records, approximate.
    pub fn approximate_records(&self) -> u64 {
        todo!()
    }
}
