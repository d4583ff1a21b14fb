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
    /// The partition of `key` among `partitions`; `None` for [`Partitioner::Any`], and where there are no partitions.
    pub fn partition(self, key: &[u8], partitions: u32) -> Option<u32> {
        let hash = match self {
            Partitioner::Murmur2 => murmur2(key) & 0x7fff_ffff,
            Partitioner::Crc32 => crc32fast::hash(key),
            Partitioner::Any => return None,
        };
        hash.checked_rem(partitions)
    }
}

/// Kafka's variant of 32-bit MurmurHash2: seed 0x9747b28c, little-endian words.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ (data.len() as u32);
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::{Partitioner, murmur2};

    #[test]
    fn murmur2_gives_what_java_clients_compute() {
        let known: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in known {
            assert_eq!(murmur2(key).cast_signed(), expected, "{key:?}");
        }
    }

    #[test]
    fn partitions_follow_the_hash() {
        // -973932308 with the sign bit cleared is 1173551340.
        assert_eq!(Partitioner::Murmur2.partition(b"21", 1000), Some(340));
        // CRC-32 of "123456789" is the check value 0xcbf43926.
        assert_eq!(Partitioner::Crc32.partition(b"123456789", 1 << 16), Some(0x3926));
        assert_eq!(Partitioner::Any.partition(b"21", 8), None);
        assert_eq!(Partitioner::Murmur2.partition(b"21", 0), None);
    }
}
