//! First centres of k-means: rows far apart, no two alike.
//!
//! Few centres are drawn by greedy k-means++ from a small sample: each new centre is the best of a few
//! candidates drawn in proportion to the squared distance from the centres so far (Arthur & Vassilvitskii
//! 2007, with the greedy choice of their section 6). The distances within the sample are formed at
//! once, of bytes. Many centres are random rows: the sample would have to be large, and with many rows a centre
//! the rounds that follow repair more than seeding can.
//!
//! Calls `bytes`.

use super::bytes::ByteRows;
use super::numbers::MeanSum;
use crate::memory::{try_collect, try_extend, try_reserve, try_vec, try_with_capacity};
use crate::types::rng::SplitMix64;
use crate::types::{Error, Result};
use std::collections::HashSet;
use xxhash_rust::xxh3::xxh3_64;

/// Above this many centres, random rows.
const SPREAD_CENTRES_MAX: usize = 256;

/// Sampled rows a centre.
const SAMPLE_ROWS: usize = 4;

/// Least rows of the sample, so that small counts miss no part of the rows either.
const SAMPLE_ROWS_MIN: usize = 256;

/// Candidates for each centre.
const CANDIDATES: usize = 4;

/// Positions of at most `count` rows to begin with (not 0): fewer if there are fewer distinct rows, never two
/// equal ones.
pub(crate) fn seeds(rows: &[f32], dim: usize, count: usize, random: &mut SplitMix64) -> Result<Vec<u32>> {
    if count > SPREAD_CENTRES_MAX {
        return distinct(rows, dim, count, random);
    }
    let sample = distinct(rows, dim, (count * SAMPLE_ROWS).max(SAMPLE_ROWS_MIN), random)?;
    if sample.len() <= count {
        return Ok(sample);
    }
    let chosen = spread(&Distances::new(rows, dim, &sample)?, count, random)?;
    try_collect(chosen.into_iter().map(|index| sample[index]))
}

/// Positions of `wanted` random rows of which no two are equal, or of one of each kind if there are fewer.
fn distinct(rows: &[f32], dim: usize, wanted: usize, random: &mut SplitMix64) -> Result<Vec<u32>> {
    let mut seen = HashSet::new();
    seen.try_reserve(wanted).map_err(|_| Error::out_of_memory("a table of rows", 16 * wanted as u64))?;
    let mut positions = try_with_capacity(wanted)?;
    let count = rows.len() / dim;
    let mut bytes = Vec::new();
    for position in shuffled(count, random)? {
        if positions.len() == wanted {
            break;
        }
        if seen.insert(row_hash(&rows[position as usize * dim..][..dim], &mut bytes)?) {
            positions.push(position);
        }
    }
    Ok(positions)
}

/// `0..count` in random order.
pub(crate) fn shuffled(count: usize, random: &mut SplitMix64) -> Result<Vec<u32>> {
    let mut order: Vec<u32> = try_collect(0..count as u32)?;
    for i in 0..count {
        order.swap(i, i + random.below((count - i) as u64) as usize);
    }
    Ok(order)
}

/// A hash by which equal rows are found; both zeros are equal.
pub(crate) fn row_hash(row: &[f32], bytes: &mut Vec<u8>) -> Result<u64> {
    bytes.clear();
    try_reserve(bytes, size_of_val(row))?;
    // -0 + 0 is 0.
    row.iter().for_each(|x| bytes.extend_from_slice(&(x + 0.0).to_ne_bytes()));
    Ok(xxh3_64(bytes))
}

/// Squared distances between the rows of a sample.
struct Distances {
    count: usize,
    distances: Vec<f32>,
}

impl Distances {
    fn new(rows: &[f32], dim: usize, sample: &[u32]) -> Result<Self> {
        let row = |position: &u32| &rows[*position as usize * dim..][..dim];
        let (mut sum, mut mean) = (MeanSum::new(dim)?, try_vec(dim, 0.0)?);
        sample.iter().for_each(|position| sum.add(row(position)));
        sum.take_mean(&mut mean);
        let mut coded = ByteRows::with_capacity(sample.len(), dim)?;
        sample.iter().for_each(|position| coded.push(row(position), &mean));
        let count = sample.len();
        let mut products = try_vec(count * count, 0)?;
        let mut distances = try_vec(count * count, 0.0)?;
        coded.distances(&coded, 0..count, &mut products, &mut distances);
        Ok(Distances { count, distances })
    }

    /// From row `index` to each.
    fn from(&self, index: usize) -> impl Iterator<Item = f32> + '_ {
        self.distances[index * self.count..][..self.count].iter().copied()
    }
}

/// Greedy k-means++: indices of at most `count` rows.
fn spread(distances: &Distances, count: usize, random: &mut SplitMix64) -> Result<Vec<usize>> {
    let first = random.below(distances.count as u64) as usize;
    let mut chosen = try_with_capacity(count)?;
    try_extend(&mut chosen, [first])?;
    let mut nearest: Vec<f32> = try_collect(distances.from(first))?;
    while chosen.len() < count {
        let total: f64 = nearest.iter().map(|&d| f64::from(d)).sum();
        if !(total > 0.0 && total.is_finite()) {
            break;
        }
        let mut best = (f64::INFINITY, 0);
        for _ in 0..CANDIDATES {
            let candidate = draw(&nearest, f64::from(random.next_f32()) * total);
            let left = distances.from(candidate).zip(&nearest).map(|(d, &old)| f64::from(d.min(old))).sum();
            if left < best.0 {
                best = (left, candidate);
            }
        }
        chosen.push(best.1);
        nearest[best.1] = 0.0;
        nearest.iter_mut().zip(distances.from(best.1)).for_each(|(old, d)| *old = old.min(d));
    }
    Ok(chosen)
}

/// The index at which the running sum of `weights` passes `point`; the last that weighs, if rounding hides
/// it.
pub(crate) fn draw(weights: &[f32], mut point: f64) -> usize {
    let mut last = 0;
    for (index, &weight) in weights.iter().enumerate() {
        if weight > 0.0 {
            last = index;
            point -= f64::from(weight);
            if point < 0.0 {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_seeds_are_equal_and_none_is_missing() {
        let kinds = 37;
        let rows: Vec<f32> = (0..500).flat_map(|i| [(i % kinds) as f32, 1.0, -0.0]).collect();
        for count in [1, 5, 36, 37, 38, 300, 499] {
            let seeds = seeds(&rows, 3, count, &mut SplitMix64::new(3)).unwrap();
            let kinds_found: HashSet<u32> = seeds.iter().map(|s| s % kinds).collect();
            assert_eq!(seeds.len(), count.min(kinds as usize), "{count}");
            assert_eq!(kinds_found.len(), seeds.len());
        }
    }

    #[test]
    fn a_shuffle_keeps_every_number_once() {
        for count in [0, 1, 10, 1000] {
            let mut order = shuffled(count, &mut SplitMix64::new(7)).unwrap();
            assert!(count < 10 || !order.is_sorted());
            order.sort_unstable();
            assert_eq!(order, (0..count as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn both_zeros_are_one_row() {
        assert_eq!(distinct(&[0.0, -0.0, -0.0, 0.0], 1, 4, &mut SplitMix64::new(1)).unwrap().len(), 1);
    }

    #[test]
    fn seeds_fall_into_every_far_cluster() {
        let rows: Vec<f32> = (0..800).map(|i| (i % 8 * 1000) as f32 + (i / 8) as f32 * 0.01).collect();
        for seed in 0..20 {
            let seeds = seeds(&rows, 1, 8, &mut SplitMix64::new(seed)).unwrap();
            let clusters: HashSet<u32> = seeds.iter().map(|s| s % 8).collect();
            assert_eq!(clusters.len(), 8);
        }
    }
}
