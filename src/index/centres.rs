//! Which centre the code of a row is relative to.
//!
//! A walk meets rows one by one and asks for each. The rows of a centre stand side by side, so that a table of their
//! ends, and one of where to begin to look, answer from the first cache, where one entry a row would be a miss each.
//! Calls `memory`.

use crate::memory::try_with_capacity;
use crate::types::Result;

/// Runs of rows that are told apart for each centre, and at most: hardly one run has rows of two centres.
const RUNS_A_CENTRE: usize = 16;
const RUNS_MAX: usize = 1 << 16;

/// The centres of the rows of a segment.
#[derive(Debug)]
pub struct RowCentres {
    /// Where the rows of each centre end, ascending.
    ends: Vec<u32>,
    /// For each run of `1 << shift` rows, the centre of its first.
    first: Vec<u32>,
    shift: u32,
}

impl RowCentres {
    /// Of centres with rows each, which end at `ends`.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn new(ends: Vec<u32>) -> Result<Self> {
        let rows = ends.last().copied().unwrap_or(0);
        let runs = (ends.len() * RUNS_A_CENTRE).clamp(1, RUNS_MAX) as u32;
        let shift = rows.div_ceil(runs).next_power_of_two().trailing_zeros();
        let runs = (rows >> shift) + 1;
        let mut first = try_with_capacity(runs as usize)?;
        let mut centre = 0;
        for run in 0..runs {
            while centre + 1 < ends.len() && ends[centre] <= run << shift {
                centre += 1;
            }
            first.push(centre as u32);
        }
        Ok(RowCentres { ends, first, shift })
    }

    /// The centre of the row at `position`. O(1), unless centres have very few rows.
    #[inline]
    pub fn of(&self, position: u32) -> u32 {
        let mut centre = self.first[(position >> self.shift) as usize];
        while self.ends[centre as usize] <= position {
            centre += 1;
        }
        centre
    }

    /// The most bytes of the tables for so many centres.
    pub fn bytes_max(centres: u64) -> u64 {
        let runs = centres.saturating_mul(RUNS_A_CENTRE as u64).min(RUNS_MAX as u64);
        centres.saturating_add(runs + 1).saturating_mul(4)
    }

    /// Bytes of the tables.
    pub fn memory_bytes(&self) -> u64 {
        ((self.ends.len() + self.first.len()) * 4) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;

    #[test]
    fn the_centre_of_a_row_is_the_first_that_ends_behind_it() {
        let mut random = SplitMix64::new(3);
        for (centres, rows_max) in
            [(1, 1), (1, 1_000), (3, 1), (51, 40), (51, 20_000), (5_000, 3), (70_000, 2)]
        {
            let mut end = 0;
            let ends: Vec<u32> = (0..centres)
                .map(|_| {
                    end += 1 + random.below(rows_max) as u32;
                    end
                })
                .collect();
            let found = RowCentres::new(ends.clone()).unwrap();
            for nth in 0..end.min(20_000) {
                let position = if end <= 20_000 { nth } else { random.below(u64::from(end)) as u32 };
                assert_eq!(found.of(position) as usize, ends.partition_point(|end| *end <= position));
            }
            assert!(found.memory_bytes() <= RowCentres::bytes_max(centres));
        }
        // Rows that fill the numbers.
        let found = RowCentres::new(vec![7, u32::MAX]).unwrap();
        assert_eq!([0, 6, 7, u32::MAX - 1].map(|position| found.of(position)), [0, 0, 1, 1]);
    }
}
