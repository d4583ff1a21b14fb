//! The embedded log: one RocksDB, one instance, the semantics of the contract.
