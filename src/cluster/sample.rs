//! Which rows to train on, and which to hold out for measuring.
//!
//! In: a count of rows, a wanted count, a seed. Out: ascending row numbers. Nothing is held for the rows
//! that are not chosen: a billion rows cost no more than the sample.
//!
//! Rows of a file often lie in the order of their sources. The sample takes one random row from each of as
//! many equal strata as rows are wanted, so that every part is there in proportion, and a pass over the file
//! meets them in order.

use crate::memory::try_collect;
use crate::types::rng::SplitMix64;
use crate::types::Result;

/// `count` distinct row numbers below `n`, ascending: one from each of `count` equal strata. All of them if
/// there are no more.
///
/// # Errors
/// `OutOfMemory`.
pub fn sample_rows(n: u64, count: usize, seed: u64) -> Result<Vec<u64>> {
    let count = n.min(count as u64);
    let bound = |stratum: u64| (u128::from(stratum) * u128::from(n) / u128::from(count)) as u64;
    let mut random = SplitMix64::new(seed);
    let strata = 0..count as usize;
    try_collect(strata.map(|stratum| {
        let (first, end) = (bound(stratum as u64), bound(stratum as u64 + 1));
        first + random.below(end - first)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_distinct_ascending_and_spread() {
        for (n, count) in [(0, 0), (0, 5), (1, 1), (10, 10), (10, 99), (1000, 7), (1 << 60, 1000)] {
            let rows = sample_rows(n, count, 3).unwrap();
            assert_eq!(rows.len() as u64, n.min(count as u64));
            assert!(rows.is_sorted_by(|a, b| a < b) && rows.iter().all(|&row| row < n));
            let share = n / rows.len().max(1) as u64;
            assert!(rows
                .iter()
                .enumerate()
                .all(|(i, &row)| row.abs_diff(share * i as u64) <= 2 * share + i as u64));
        }
        assert_eq!(sample_rows(1000, 10, 1).unwrap(), sample_rows(1000, 10, 1).unwrap());
        assert_ne!(sample_rows(1000, 10, 1).unwrap(), sample_rows(1000, 10, 2).unwrap());
    }

    #[test]
    fn every_row_is_chosen_about_equally_often() {
        let mut hits = [0u32; 10];
        for seed in 0..3000 {
            sample_rows(10, 3, seed).unwrap().iter().for_each(|&row| hits[row as usize] += 1);
        }
        assert!(hits.iter().all(|&hits| (700..1300).contains(&hits)), "{hits:?}");
    }
}
