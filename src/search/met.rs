//! The rows that a walk has met: a set of positions that forgets all of them at once.
//!
//! A hash table of blocks of 32 rows with a bit for each, so that the rows of a leaf take two or three slots and one
//! look tells whether a row is there.

use crate::memory::try_hold;
use crate::types::Result;

/// Rows of one block: the bits of its mask.
const BLOCK: u32 = 32;
/// A slot that no block has: there are fewer blocks than that.
const FREE: u64 = (u32::MAX as u64) << 32;
/// Slots at the start.
const SLOTS_MIN: usize = 1024;

/// A set of positions.
#[derive(Debug, Default)]
pub struct MetRows {
    /// Number of the block, and in the lower half its mask. At least half of the slots are free.
    slots: Vec<u64>,
    used: usize,
    /// Where the slots were before there were more of them; they go back there the next time.
    spare: Vec<u64>,
}

impl MetRows {
    /// Forgets all rows.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn reset(&mut self) -> Result<()> {
        // As many slots as the last search came to need: one that met very many makes no other dearer.
        let slots = (2 * self.used).next_power_of_two().max(SLOTS_MIN);
        self.slots.clear();
        try_hold(&mut self.slots, slots)?;
        self.slots.resize(slots, FREE);
        self.used = 0;
        Ok(())
    }

    /// The most bytes for `met` rows one by one and `runs` of `run_rows` rows together, of a segment of `rows`: while
    /// slots become more, the old ones are there, too.
    pub fn bytes_max(rows: u64, met: u64, runs: u64, run_rows: u64) -> u64 {
        // A run begins and ends within a block. Room is kept for rows to come, and one that is no row.
        let of_runs = (2 * runs).saturating_add(run_rows / u64::from(BLOCK));
        let blocks = met.saturating_add(of_runs).min(rows / u64::from(BLOCK) + 1) + 512;
        let slots = (2 * blocks).next_power_of_two().max(SLOTS_MIN as u64);
        (slots + slots) * 8
    }

    /// Bytes that it has now.
    pub fn memory_bytes(&self) -> usize {
        (self.slots.capacity() + self.spare.capacity()) * 8
    }

    /// The slot of a block, or the free one where it would be.
    #[inline]
    fn slot(&self, block: u32) -> usize {
        let last = self.slots.len() - 1;
        // Fibonacci hashing (Knuth, volume 3, 6.4): the highest bits of the product, as many as slots need.
        let product = u64::from(block).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut slot = (product >> (64 - self.slots.len().trailing_zeros())) as usize;
        while (self.slots[slot] >> 32) as u32 != block && self.slots[slot] != FREE {
            slot = (slot + 1) & last;
        }
        slot
    }

    /// Adds a row; true if it was not there. Room was made by [`reserve`](Self::reserve).
    #[inline]
    pub fn add(&mut self, position: u32) -> bool {
        let bit = 1 << (position % BLOCK);
        let slot = self.entry(position / BLOCK);
        let fresh = *slot & bit == 0;
        *slot |= bit;
        fresh
    }

    /// Adds a row; true if it was not there.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn insert(&mut self, position: u32) -> Result<bool> {
        self.reserve(1)?;
        Ok(self.add(position))
    }

    /// Adds `count` rows from `first` on.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn insert_run(&mut self, first: u32, count: u32) -> Result<()> {
        self.reserve((count / BLOCK) as usize + 2)?;
        let end = first + count;
        let mut at = first;
        while at < end {
            let next = (at - at % BLOCK).saturating_add(BLOCK).min(end);
            let ones = u32::MAX >> (BLOCK - (next - at));
            *self.entry(at / BLOCK) |= u64::from(ones << (at % BLOCK));
            at = next;
        }
        Ok(())
    }

    #[inline]
    fn entry(&mut self, block: u32) -> &mut u64 {
        let slot = self.slot(block);
        if self.slots[slot] == FREE {
            self.used += 1;
            self.slots[slot] = u64::from(block) << 32;
        }
        &mut self.slots[slot]
    }

    /// Makes room for `more` rows.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    #[inline]
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        let wanted = 2 * (self.used + more);
        if wanted > self.slots.len() {
            self.grow(wanted.next_power_of_two())?;
        }
        Ok(())
    }

    #[cold]
    fn grow(&mut self, slots: usize) -> Result<()> {
        self.spare.clear();
        try_hold(&mut self.spare, slots)?;
        self.spare.resize(slots, FREE);
        std::mem::swap(&mut self.slots, &mut self.spare);
        for nth in 0..self.spare.len() {
            let entry = self.spare[nth];
            if entry != FREE {
                let slot = self.slot((entry >> 32) as u32);
                self.slots[slot] = entry;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;
    use std::collections::BTreeSet;

    #[test]
    fn the_rows_met_are_those_of_a_set() {
        let mut random = SplitMix64::new(5);
        let mut met = MetRows::default();
        for round in 0..4 {
            met.reset().unwrap();
            let mut expected = BTreeSet::new();
            for _ in 0..300 {
                let (first, count) = (random.below(1 << 20) as u32, random.below(200) as u32);
                met.insert_run(first, count).unwrap();
                expected.extend(first..first + count);
            }
            for _ in 0..2_000 {
                let position = (u32::MAX - 1) - random.below(1 << (8 + 6 * round)) as u32;
                assert_eq!(met.insert(position).unwrap(), expected.insert(position));
            }
            let around = |p: &u32| [p.wrapping_sub(1), *p, p.wrapping_add(1)];
            for position in expected.iter().flat_map(around).collect::<Vec<_>>() {
                assert_eq!(met.insert(position).unwrap(), expected.insert(position), "{position}");
            }
            assert!(met.insert(u32::MAX).unwrap() == expected.insert(u32::MAX));
        }
    }
}
