//! XXH3-64 over whole records and over blocks of sections.
//!
//! 64 bits, so a random change goes unseen once in 2^64; no key, so it proves nothing against an
//! attacker. Blocks are small enough that damage is named closely and that one can be checked when first
//! read, and large enough that all checksums of 4 GB are 512 KiB. Calls xxhash-rust.

use super::layout::BLOCK_BYTES;

/// Checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// How many blocks a section of `bytes` bytes has; the last may be short.
pub fn block_count(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES as u64)
}

/// The checksums of `bytes`, block by block.
pub fn block_checksums(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks(BLOCK_BYTES).map(checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value is part of the format: it may never change.
    #[test]
    fn the_checksum_is_xxh3_64_with_seed_0() {
        assert_eq!(checksum(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(checksum(b"libvdb"), xxhash_rust::xxh3::xxh3_64_with_seed(b"libvdb", 0));
    }

    #[test]
    fn the_last_block_may_be_short() {
        for (bytes, blocks) in [(0, 0), (1, 1), (65_536, 1), (65_537, 2), (u64::MAX, 1 << 48)] {
            assert_eq!(block_count(bytes), blocks);
        }
        let bytes = vec![7; 70_000];
        let sums: Vec<u64> = block_checksums(&bytes).collect();
        assert_eq!(sums, [checksum(&bytes[..65_536]), checksum(&bytes[65_536..])]);
    }
}
