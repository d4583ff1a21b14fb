//! How producers choose the partition of a key.

/// A producer's partitioner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    /// As Java clients: murmur2 of the key, sign bit cleared, modulo partitions.
    Murmur2,
    /// As librdkafka's default (`consistent`): CRC32 of the key modulo partitions.
    Crc32,
    /// Anything; lookups ask every partition, and placement is not checked.
    Any,
}

impl Partitioner {
    /// The partition of `key` among `partitions`; `None` for [`Partitioner::Any`].
    pub fn partition(self, _key: &[u8], _partitions: u32) -> Option<u32> {
        todo!()
    }
}
