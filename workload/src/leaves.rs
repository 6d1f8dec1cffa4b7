//! What a partition alone loses: k-means leaves, and how many of them hold the true neighbours.
//!
//! 4 sqrt(n) leaves, Lloyd's iterations on at most 64 rows a leaf, every row in the leaf of its nearest centroid,
//! the rows of each probed leaf compared in full precision. Then recall@10 after p probes is the share of true
//! neighbours whose leaf is among the p nearest. Deliberately plain, and no code of the engine's.

use std::io;

use crate::exact::read_parallel;
use crate::product::products;
use crate::recall::Truth;
use crate::rng::{mix, Stream};
use crate::rows::{Matrix, Rows};

const ITERATIONS: usize = 8;
const TRAIN_A_LEAF: usize = 64;
const TILE: usize = 256;
/// Rows read and assigned at a time.
const BLOCK: u64 = 8192;

/// Recall against probes, and the sizes of the leaves.
#[derive(Clone, Debug)]
pub struct Leaves {
    /// Rows of each leaf.
    pub sizes: Vec<u32>,
    /// recall@10 after 1, 2, ... probes.
    pub recall: Vec<f64>,
}

impl Leaves {
    /// Probes needed for a recall.
    #[must_use]
    pub fn probes_for(&self, recall: f64) -> usize {
        // The curve ends at 1 up to rounding.
        self.recall.partition_point(|r| *r < recall - 1e-12) + 1
    }

    /// Recall after some probes.
    #[must_use]
    pub fn recall_at(&self, probes: usize) -> f64 {
        self.recall.get(probes.min(self.recall.len()).wrapping_sub(1)).copied().unwrap_or(0.0)
    }

    /// Deviation of the leaf sizes over their mean, and the largest over the mean.
    #[must_use]
    pub fn unevenness(&self) -> (f64, f64) {
        let n = self.sizes.len() as f64;
        let mean = self.sizes.iter().map(|&s| f64::from(s)).sum::<f64>() / n;
        let variance = self.sizes.iter().map(|&s| (f64::from(s) - mean).powi(2)).sum::<f64>() / n;
        (variance.sqrt() / mean, f64::from(self.sizes.iter().copied().max().unwrap_or(0)) / mean)
    }
}

/// Partitions a set and asks where the ten nearest of each query lie (all of them, if the truth has fewer).
///
/// # Errors
/// The base cannot be read.
pub fn partition(
    base: &dyn Rows,
    queries: &Matrix,
    truth: &Truth,
    seed: u64,
    threads: usize,
) -> io::Result<Leaves> {
    let (n, dim) = (base.count(), base.dim());
    let leaves = ((4.0 * (n as f64).sqrt()).round() as usize).clamp(1, n.max(1) as usize);
    let centroids = kmeans(&sample(base, leaves * TRAIN_A_LEAF, seed)?, dim, leaves, seed, threads);
    let mut homes = Vec::with_capacity(n as usize);
    let mut block = vec![0.0; BLOCK.min(n) as usize * dim];
    for first in (0..n).step_by(BLOCK as usize) {
        let block = &mut block[..(n - first).min(BLOCK) as usize * dim];
        read_parallel(base, first, block, threads)?;
        homes.extend(assign(block, &centroids, dim, threads));
    }
    let mut sizes = vec![0; leaves];
    homes.iter().for_each(|&home| sizes[home as usize] += 1);
    let k = truth.k.min(10);
    let mut found = vec![0u64; leaves];
    for (query, ids) in truth.ids.chunks_exact(truth.k.max(1)).enumerate() {
        let mut order: Vec<(f64, u32)> = centroids
            .chunks_exact(dim)
            .zip(0..)
            .map(|(c, i)| (crate::exact::distance(crate::exact::Metric::L2, queries.row(query), c), i))
            .collect();
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut place = vec![0; leaves];
        order.iter().enumerate().for_each(|(at, (_, leaf))| place[*leaf as usize] = at);
        ids[..k].iter().for_each(|id| found[place[homes[*id as usize] as usize]] += 1);
    }
    let total = (truth.queries() * k).max(1) as f64;
    let mut sum = 0;
    let recall = found.iter().map(|f| {
        sum += f;
        sum as f64 / total
    });
    Ok(Leaves { sizes, recall: recall.collect() })
}

/// Different rows drawn evenly from a source, in the order of their ids.
///
/// # Errors
/// The source cannot be read.
pub fn sample(source: &dyn Rows, count: usize, seed: u64) -> io::Result<Vec<f32>> {
    let (n, dim) = (source.count(), source.dim());
    let count = (count as u64).min(n);
    let mut stream = Stream::new(mix(seed, 0x5A));
    let mut values = vec![0.0; count as usize * dim];
    // One row from each of `count` equal stretches: even, without repetition, and read in order.
    for (i, row) in (0..count).zip(values.chunks_exact_mut(dim)) {
        let (start, end) = (i * n / count, (i + 1) * n / count);
        source.read(start + stream.below(end - start), row)?;
    }
    Ok(values)
}

/// Centroids of some rows by Lloyd's iterations from random rows; an empty leaf takes half of the fullest.
fn kmeans(rows: &[f32], dim: usize, leaves: usize, seed: u64, threads: usize) -> Vec<f32> {
    let mut centroids: Vec<f32> = Vec::with_capacity(leaves * dim);
    for i in distinct_below(rows.len() / dim, leaves, seed) {
        centroids.extend(&rows[i * dim..(i + 1) * dim]);
    }
    for _ in 0..ITERATIONS {
        let homes = assign(rows, &centroids, dim, threads);
        let mut sums = vec![0.0f64; leaves * dim];
        let mut counts = vec![0u32; leaves];
        for (row, home) in rows.chunks_exact(dim).zip(homes) {
            let home = home as usize;
            counts[home] += 1;
            sums[home * dim..(home + 1) * dim].iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
        }
        for (leaf, count) in counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            let range = leaf * dim..(leaf + 1) * dim;
            let mean = sums[range.clone()].iter().map(|s| (s / f64::from(*count)) as f32);
            centroids[range].iter_mut().zip(mean).for_each(|(c, m)| *c = m);
        }
        split_fullest(&mut centroids, &mut counts, dim);
    }
    centroids
}

/// Gives each empty leaf a centroid beside that of the fullest leaf, and half of its rows.
fn split_fullest(centroids: &mut [f32], counts: &mut [u32], dim: usize) {
    for empty in 0..counts.len() {
        if counts[empty] > 0 {
            continue;
        }
        let Some(full) = (0..counts.len()).max_by_key(|&leaf| counts[leaf]) else { return };
        for j in 0..dim {
            let (value, nudge) = (centroids[full * dim + j], if j % 2 == 0 { 1.0 } else { -1.0 } / 1024.0);
            centroids[empty * dim + j] = value * (1.0 + nudge);
            centroids[full * dim + j] = value * (1.0 - nudge);
        }
        counts[empty] = counts[full] / 2;
        counts[full] -= counts[empty];
    }
}

/// `count` different numbers below `bound`, at random (Floyd's sampling).
fn distinct_below(bound: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut stream = Stream::new(mix(seed, 0xF1));
    let mut taken = std::collections::BTreeSet::new();
    for top in bound.saturating_sub(count)..bound {
        let draw = stream.below(top as u64 + 1) as usize;
        taken.insert(if taken.contains(&draw) { top } else { draw });
    }
    taken.into_iter().collect()
}

/// The nearest centroid of each row.
fn assign(rows: &[f32], centroids: &[f32], dim: usize, threads: usize) -> Vec<u32> {
    let halves: Vec<f32> =
        centroids.chunks_exact(dim).map(|c| 0.5 * c.iter().map(|v| v * v).sum::<f32>()).collect();
    let mut homes = vec![0; rows.len() / dim];
    let share = homes.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        for (rows, homes) in rows.chunks(share * dim).zip(homes.chunks_mut(share)) {
            let halves = &halves;
            scope.spawn(move || {
                let mut scores = vec![0.0; TILE * halves.len()];
                for (rows, homes) in rows.chunks(TILE * dim).zip(homes.chunks_mut(TILE)) {
                    let scores = &mut scores[..homes.len() * halves.len()];
                    products(rows, centroids, dim, scores);
                    for (home, scores) in homes.iter_mut().zip(scores.chunks_exact(halves.len())) {
                        *home = closest(scores, halves);
                    }
                }
            });
        }
    });
    homes
}

/// The centroid with the largest product less half its square; the first of equal ones.
fn closest(scores: &[f32], halves: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (i, (score, half)) in scores.iter().zip(halves).enumerate() {
        if score - half > best.0 {
            best = (score - half, i as u32);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::{nearest, Metric};
    use crate::gen::{Difficulty, GenParams, Generator};
    use crate::rows::Generated;

    #[test]
    fn the_curve_rises_to_one_and_every_row_has_a_leaf() {
        let generator = Generator::new(GenParams::new(24, Difficulty::Typical));
        let base = Generated::new(&generator, 3000);
        let mut queries = vec![0.0; 50 * 24];
        generator.queries(0, &mut queries);
        let queries = Matrix::new(24, queries);
        let truth = nearest(&base, &queries, Metric::L2, 10, 2).unwrap();
        let leaves = partition(&base, &queries, &truth, 1, 2).unwrap();
        assert_eq!(leaves.sizes.iter().sum::<u32>(), 3000);
        assert_eq!(leaves.sizes.len(), 219);
        assert!(leaves.recall.windows(2).all(|w| w[0] <= w[1]));
        assert!((leaves.recall_at(usize::MAX) - 1.0).abs() < 1e-9 && leaves.recall_at(1) > 0.05);
        assert!(leaves.probes_for(0.9) < leaves.probes_for(0.99) && leaves.probes_for(1.0) <= 219);
        let again = partition(&base, &queries, &truth, 1, 1).unwrap();
        assert_eq!((again.sizes, again.recall), (leaves.sizes, leaves.recall));
    }

    #[test]
    fn far_groups_are_found_whatever_the_first_centroids() {
        let rows: Vec<f32> =
            (0..400).flat_map(|i| [(i % 4) as f32 * 100.0 + (i / 4) as f32 * 0.01, 0.0]).collect();
        let centroids = kmeans(&rows, 2, 16, 3, 2);
        for group in 0..4 {
            assert!(
                centroids.chunks(2).any(|c| (c[0] - group as f32 * 100.0).abs() < 5.0),
                "{group} {centroids:?}"
            );
        }
    }

    #[test]
    fn drawn_numbers_are_different_and_in_range() {
        assert_eq!(distinct_below(5, 9, 1), vec![0, 1, 2, 3, 4]);
        let drawn = distinct_below(1000, 100, 2);
        assert!(drawn.len() == 100 && drawn.windows(2).all(|w| w[0] < w[1]) && drawn[99] < 1000);
    }
}
