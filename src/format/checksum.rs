//! XXH3-64 over whole records and over blocks of sections.
//!
//! 64 bits, so a random change goes unseen once in 2^64; no key, so it proves nothing against an
//! attacker. Blocks are small enough that damage is named closely and that one can be checked when first
//! read, and large enough that all checksums of 4 GB are 512 KiB. Calls xxhash-rust and `memory`.

use super::layout::BLOCK_BYTES;
use super::parse::to_usize;
use crate::memory::try_with_capacity;
use crate::types::Result;
use xxhash_rust::xxh3::Xxh3Default;

/// Checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// How many blocks a section of `bytes` bytes has; the last may be short.
pub fn block_count(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES as u64)
}

/// The checksums of the blocks of a section whose bytes come in pieces.
pub struct BlockSums {
    sums: Vec<u64>,
    /// What came of the block that is not yet whole, and how many bytes that is.
    block: Xxh3Default,
    filled: usize,
}

impl BlockSums {
    /// Of a section of `bytes` bytes, for which there is room then.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(bytes: u64) -> Result<Self> {
        let blocks = to_usize("the checksums of a section", block_count(bytes))?;
        Ok(BlockSums { sums: try_with_capacity(blocks)?, block: Xxh3Default::new(), filled: 0 })
    }

    /// Takes the next bytes; not more in all than were announced.
    pub fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = BLOCK_BYTES.saturating_sub(self.filled);
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            if now.len() == BLOCK_BYTES {
                self.sums.push(checksum(now));
            } else {
                self.block.update(now);
                self.filled = self.filled.saturating_add(now.len());
                if self.filled == BLOCK_BYTES {
                    self.end_block();
                }
            }
            bytes = later;
        }
    }

    fn end_block(&mut self) {
        self.sums.push(self.block.digest());
        self.block.reset();
        self.filled = 0;
    }

    /// All of them; the last block ends here.
    pub fn finish(&mut self) -> &[u64] {
        if self.filled > 0 {
            self.end_block();
        }
        &self.sums
    }
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
        for piece in [1, 1_000, 65_535, 65_536, 65_537, 200_000] {
            for length in [0, 1, 65_536, 70_000, 131_072, 150_000] {
                let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
                let mut sums = BlockSums::new(bytes.len() as u64).unwrap();
                bytes.chunks(piece).for_each(|piece| sums.add(piece));
                let expected: Vec<u64> = bytes.chunks(BLOCK_BYTES).map(checksum).collect();
                assert_eq!(sums.finish(), expected, "{length} bytes in pieces of {piece}");
            }
        }
    }
}
