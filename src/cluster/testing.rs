//! Rows and measures that the tests of this room share.

use super::assign::Centroids;
use super::numbers::squared_distance;
use crate::types::rng::SplitMix64;

/// Numbers of threads that must give the same bits.
pub(crate) const THREADS: [usize; 3] = [1, 2, 5];

/// A normal number, nearly: the sum of four uniform ones.
pub(crate) fn normal(random: &mut SplitMix64) -> f32 {
    ((0..4).map(|_| random.next_f32()).sum::<f32>() - 2.0) * 1.7
}

/// Rows around `clusters` random centres.
pub(crate) fn clustered(count: usize, dim: usize, clusters: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    let centres: Vec<f32> = (0..clusters * dim).map(|_| normal(&mut random) * 3.0).collect();
    let mut rows = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let centre = random.below(clusters as u64) as usize;
        rows.extend(centres[centre * dim..][..dim].iter().map(|c| c + normal(&mut random)));
    }
    rows
}

/// Rows around centres whose sizes follow Zipf's law; three rows in ten are copies of one.
pub(crate) fn skewed(count: usize, dim: usize, clusters: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    let centres: Vec<f32> = (0..clusters * dim).map(|_| normal(&mut random) * 3.0).collect();
    let mut rows = Vec::with_capacity(count * dim);
    for _ in 0..count {
        if random.below(10) < 3 {
            rows.extend((0..dim).map(|i| i as f32));
            continue;
        }
        // The rank whose logarithm is uniform has frequency 1 / rank.
        let rank = (clusters as f64).powf(f64::from(random.next_f32())) as usize - 1;
        rows.extend(centres[rank * dim..][..dim].iter().map(|c| c + normal(&mut random)));
    }
    rows
}

/// Mean squared distance of a row to its nearest centroid, in the plainest way.
pub(crate) fn objective(rows: &[f32], centroids: &Centroids) -> f64 {
    let dim = centroids.dim;
    let nearest = |row: &[f32]| {
        let all = centroids.data.chunks_exact(dim).map(|centre| squared_distance(row, centre));
        f64::from(all.fold(f32::INFINITY, f32::min))
    };
    rows.chunks_exact(dim).map(nearest).sum::<f64>() / (rows.len() / dim) as f64
}
