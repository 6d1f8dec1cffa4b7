//! Realistic vectors of any number: clustered at every scale, never isotropic noise.
//!
//! Row i is a function of (seed, dim, difficulty, i): it does not depend on how many rows are made, in which
//! blocks, or by how many threads, so that the first rows of a large set are a smaller set of the same law.
//!
//! ```text
//! row = mean + R A ( sum over levels of offset(node) + width * M(cluster) S(cluster) g )
//! ```
//!
//! - The *path* of a row down a tree of clusters is drawn child by child with Zipf weights; a node's offset is a
//!   random vector of the node's own key, never stored. Clusters have heavy-tailed sizes and overlap.
//! - g is normal; S a power-law spectrum, steeper or flatter by cluster; M an orthonormal map of the cluster's
//!   own (Hadamard, signs, Hadamard), so that clusters are ellipsoids of different orientation, width and
//!   dimension: that gives the spread of local dimensions that real sets have.
//! - A is the power-law spectrum of the whole set, R a common orthonormal map.
//! - Some rows copy an earlier row, exactly or nearly; early rows are copied most, as boilerplate is.
//!
//! Costs about 4 dim hashes and 4 Hadamard transforms a row; holds a few tables of dim numbers. Calls
//! [`crate::rng`], [`crate::spectrum`], [`crate::mixing`]; knows no files.

use crate::law::Law;
use crate::mixing::{flip, mix_row};
use crate::rng::{exp, ln, mix, Stream};
use crate::spectrum::scales;

pub use crate::law::Difficulty;

/// Numbers that keep the streams of different purposes apart.
mod purpose {
    pub const ROWS: u64 = 1;
    pub const QUERIES: u64 = 2;
    pub const SHIFTED: u64 = 3;
    pub const TREE: u64 = 4;
    pub const MEAN: u64 = 5;
    pub const ROTATION: u64 = 6;
    pub const COPY: u64 = 7;
    pub const NORM: u64 = 8;
    pub const SHAPE: u64 = 9;
}

/// Spectra of clusters between the flattest and the steepest.
const SHAPES: usize = 8;
/// A block below this many rows is not worth a thread of its own.
const ROWS_A_THREAD: usize = 64;

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GenParams {
    /// Dimensions of a row, at least 1.
    pub dim: usize,
    /// Another seed is another set.
    pub seed: u64,
    /// How hard to search.
    pub difficulty: Difficulty,
    /// Deviation of the logarithm of a factor on each row's length; 0 for none, 0.5 for norms that differ
    /// tenfold: what inner product is tested with.
    pub norm_spread: f32,
}

impl GenParams {
    /// Rows of nearly equal length, seed 1.
    #[must_use]
    pub fn new(dim: usize, difficulty: Difficulty) -> Self {
        Self { dim, seed: 1, difficulty, norm_spread: 0.0 }
    }
}

/// A law of vectors, ready to draw from; shared freely between threads.
#[derive(Clone, Debug)]
pub struct Generator {
    params: GenParams,
    law: Law,
    /// Cumulative child weights of each level, ending in 1.
    weights: Vec<Vec<f64>>,
    /// A: scale of each coordinate before the common map.
    colour: Vec<f32>,
    /// S: one row of scales per shape, flattest last.
    shapes: Vec<Vec<f32>>,
    mean: Vec<f32>,
    tree_key: u64,
    rotation_keys: [u64; 2],
}

/// Buffers for one row.
struct Desk {
    sum: Vec<f32>,
    local: Vec<f32>,
}

impl Generator {
    /// Prepares the tables: a few times dim numbers.
    #[must_use]
    pub fn new(params: GenParams) -> Self {
        let law = Law::of(params.difficulty);
        let dim = params.dim;
        let d = dim as f64;
        let whole = (law.spectrum_share * d).max(law.spectrum_least.min(law.spectrum_share_max * d));
        let colour = scales(dim, whole);
        let shapes = (0..SHAPES).map(|i| scales(dim, shape_dim(&law, whole, d, i))).collect();
        let weights = law.levels.iter().map(|level| cumulative(level.children, level.zipf)).collect();
        let mut stream = Stream::new(mix(params.seed, purpose::MEAN));
        let mean = (0..dim).map(|_| stream.normal() * law.mean as f32).collect();
        let rotation = mix(params.seed, purpose::ROTATION);
        Self {
            params,
            law,
            weights,
            colour,
            shapes,
            mean,
            tree_key: mix(params.seed, purpose::TREE),
            rotation_keys: [mix(rotation, 0), mix(rotation, 1)],
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn params(&self) -> &GenParams {
        &self.params
    }

    /// Dimensions of a row.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.params.dim
    }

    /// Rows `first..` of the set, as many as fit in `out` (a multiple of dim).
    pub fn rows(&self, first: u64, out: &mut [f32]) {
        let mut desk = self.desk();
        for (i, row) in out.chunks_exact_mut(self.dim()).enumerate() {
            self.row(first + i as u64, row, &mut desk);
        }
    }

    /// As [`Generator::rows`], by several threads; the same values.
    pub fn rows_parallel(&self, first: u64, out: &mut [f32], threads: usize) {
        let rows = out.len() / self.dim();
        let share = rows.div_ceil(threads.max(1)).max(ROWS_A_THREAD);
        std::thread::scope(|scope| {
            for (i, part) in out.chunks_mut(share * self.dim()).enumerate() {
                scope.spawn(move || self.rows(first + (i * share) as u64, part));
            }
        });
    }

    /// Queries `first..` of the same law as the rows; never copies of rows.
    pub fn queries(&self, first: u64, out: &mut [f32]) {
        let mut desk = self.desk();
        for (i, row) in out.chunks_exact_mut(self.dim()).enumerate() {
            self.fresh(purpose::QUERIES, first + i as u64, row, &mut desk);
        }
    }

    /// Queries `first..` of another law than the rows: about other things, less specific, off the common mean,
    /// as bare words asked of sentences are.
    pub fn shifted_queries(&self, first: u64, out: &mut [f32]) {
        let mut desk = self.desk();
        for (i, row) in out.chunks_exact_mut(self.dim()).enumerate() {
            self.fresh(purpose::SHIFTED, first + i as u64, row, &mut desk);
        }
    }

    fn desk(&self) -> Desk {
        Desk { sum: vec![0.0; self.dim()], local: vec![0.0; self.dim()] }
    }

    /// A row of the set: its own, or a copy of an earlier one.
    fn row(&self, index: u64, row: &mut [f32], desk: &mut Desk) {
        let Some((source, noise, key)) = self.copied(index) else {
            return self.fresh(purpose::ROWS, index, row, desk);
        };
        self.fresh(purpose::ROWS, source, row, desk);
        if noise > 0.0 {
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            let scale = noise * length / (self.dim() as f32).sqrt();
            let mut stream = Stream::new(key);
            row.iter_mut().for_each(|v| *v += scale * stream.normal());
        }
    }

    /// Which earlier row this one copies, with how much noise relative to its length, and the key of that noise.
    /// A copy of a copy would not be of a row in the set; those few are rows of their own.
    fn copied(&self, index: u64) -> Option<(u64, f32, u64)> {
        let draw = |i: u64| {
            let key = mix(mix(self.params.seed, purpose::COPY), i);
            let mut stream = Stream::new(key);
            (stream.unit() < self.law.copies, stream, key)
        };
        let (true, mut stream, key) = draw(index) else { return None };
        let u = stream.unit();
        let source = ((u * u) * index as f64) as u64;
        if index == 0 || source >= index || draw(source).0 {
            return None;
        }
        let exact = stream.unit() < self.law.twins;
        // Three decades of nearness: 0.001 to 0.1 of the length, half of them below 0.01.
        let noise = if exact { 0.0 } else { exp((stream.unit() * 2.0 - 3.0) * std::f64::consts::LN_10) };
        Some((source, noise as f32, mix(key, purpose::COPY)))
    }

    /// A row of its own stream.
    fn fresh(&self, stream_purpose: u64, index: u64, row: &mut [f32], desk: &mut Desk) {
        let key = mix(mix(self.params.seed, stream_purpose), index);
        let mut stream = Stream::new(key);
        let sum = &mut desk.sum;
        sum.fill(0.0);
        let mut node = self.tree_key;
        let mut cluster = node;
        let mut shares = 0.0;
        for (depth, (level, weights)) in self.law.levels.iter().zip(&self.weights).enumerate() {
            let u = stream.unit();
            let child = weights.partition_point(|&w| w <= u).min(level.children - 1);
            node = mix(node, child as u64);
            if depth < 2 {
                cluster = node;
            }
            let scale = level.share.sqrt() as f32;
            let mut offsets = Stream::new(node);
            sum.iter_mut().for_each(|v| *v += scale * offsets.normal());
            shares += level.share;
        }
        let mut shape = Stream::new(mix(cluster, purpose::SHAPE));
        let spread = |stream: &mut Stream, factor: f64| exp((2.0 * stream.unit() - 1.0) * ln(factor));
        let scales = &self.shapes[shape.below(SHAPES as u64) as usize];
        let width = (1.0 - shares).sqrt()
            * spread(&mut shape, self.law.cluster_width)
            * spread(&mut stream, self.law.row_width);
        let local = &mut desk.local;
        for (value, scale) in local.iter_mut().zip(scales) {
            *value = stream.normal() * scale;
        }
        mix_row(local);
        flip(cluster, local);
        mix_row(local);
        for ((out, (centre, own)), colour) in row.iter_mut().zip(sum.iter().zip(&*local)).zip(&self.colour) {
            *out = (centre + width as f32 * own) * colour;
        }
        for key in self.rotation_keys {
            flip(key, row);
            mix_row(row);
        }
        let factor = self.norm_factor(key);
        row.iter_mut().zip(&self.mean).for_each(|(v, m)| *v = factor * (*v + m));
    }

    fn norm_factor(&self, key: u64) -> f32 {
        if self.params.norm_spread == 0.0 {
            return 1.0;
        }
        let mut stream = Stream::new(mix(key, purpose::NORM));
        exp(f64::from(self.params.norm_spread * stream.normal())) as f32
    }
}

/// Effective dimension to give shape i in whitened coordinates. Colouring lowers it: 1/seen = 1/given + 1/whole
/// for an orientation at random, so what should be seen is divided out.
fn shape_dim(law: &Law, whole: f64, dim: f64, i: usize) -> f64 {
    let (low, high) = law.local_dims;
    let seen = low * exp(ln(high / low) * i as f64 / (SHAPES - 1) as f64);
    let rest = 1.0 / seen - 1.0 / whole;
    if rest > 0.0 {
        (1.0 / rest).min(dim)
    } else {
        dim
    }
}

fn cumulative(children: usize, zipf: f64) -> Vec<f64> {
    let weights: Vec<f64> = (0..children).map(|j| exp(-zipf * ln(j as f64 + 2.0))).collect();
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    weights
        .iter()
        .map(|w| {
            sum += w / total;
            sum
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(dim: usize) -> GenParams {
        GenParams::new(dim, Difficulty::Typical)
    }

    #[test]
    fn a_row_is_the_same_in_any_block_and_on_any_number_of_threads() {
        for dim in [1, 3, 100, 256] {
            let generator = Generator::new(params(dim));
            let mut whole = vec![0.0; 1000 * dim];
            generator.rows(0, &mut whole);
            for threads in [1, 2, 5] {
                let mut again = vec![0.0; 700 * dim];
                generator.rows_parallel(300, &mut again, threads);
                assert_eq!(again, whole[300 * dim..], "dim {dim}, {threads} threads");
            }
            let mut one = vec![0.0; dim];
            generator.rows(517, &mut one);
            assert_eq!(one, whole[517 * dim..518 * dim]);
        }
    }

    #[test]
    fn seeds_and_purposes_differ() {
        let dim = 64;
        let (a, b) = (Generator::new(params(dim)), Generator::new(GenParams { seed: 2, ..params(dim) }));
        let mut rows = vec![vec![0.0; dim]; 4];
        a.rows(5, &mut rows[0]);
        b.rows(5, &mut rows[1]);
        a.queries(5, &mut rows[2]);
        a.shifted_queries(5, &mut rows[3]);
        for i in 0..4 {
            for j in 0..i {
                assert_ne!(rows[i], rows[j], "{i} {j}");
            }
        }
    }

    #[test]
    fn a_few_rows_in_a_hundred_are_copies_and_some_of_them_exact() {
        let dim = 32;
        let generator = Generator::new(params(dim));
        let mut rows = vec![0.0f32; 20_000 * dim];
        generator.rows_parallel(0, &mut rows, 2);
        let copies = (0..20_000).filter(|&i| generator.copied(i).is_some()).count();
        assert!((500..1000).contains(&copies), "{copies}");
        let mut sorted: Vec<&[f32]> = rows.chunks_exact(dim).collect();
        sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let twins = sorted.windows(2).filter(|w| w[0] == w[1]).count();
        assert!((80..400).contains(&twins), "{twins}");
    }

    #[test]
    fn norms_vary_on_request_only() {
        let dim = 128;
        let deviation = |norm_spread: f32| {
            let generator = Generator::new(GenParams { norm_spread, ..params(dim) });
            let mut rows = vec![0.0; 2000 * dim];
            generator.rows(0, &mut rows);
            let logs: Vec<f64> = rows
                .chunks_exact(dim)
                .map(|r| r.iter().map(|v| f64::from(v * v)).sum::<f64>().ln() / 2.0)
                .collect();
            let mean = logs.iter().sum::<f64>() / 2000.0;
            (logs.iter().map(|l| (l - mean) * (l - mean)).sum::<f64>() / 2000.0).sqrt()
        };
        let (plain, wide) = (deviation(0.0), deviation(0.8));
        assert!(plain < 0.35 && (wide - 0.8).abs() < 0.15, "{plain} {wide}");
    }
}
