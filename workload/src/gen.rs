//! Realistic vectors of any number: clustered at every scale, never isotropic noise.
//!
//! Row i is a function of (seed, dim, difficulty, i): it does not depend on how many rows are made, in which
//! blocks, or by how many threads, so that the first rows of a large set are a smaller set of the same law.
//!
//! ```text
//! row = mean + R ( A ( tree + M(node) S(node) g + noise ) + C h )
//! ```
//!
//! - *tree* is a mixture of a few paths down a tree of topics ([`crate::tree`]) with Zipf-like sizes: rows are
//!   about more than one thing, so that clusters overlap and neighbours of a row lie in several of them. Hard rows
//!   share such mixtures, so that the set gets denser the more rows it has.
//! - g is normal; S a power-law spectrum of 32 dimensions; M an orthonormal map of the node's own (rotation of
//!   coordinates, Hadamard, signs, Hadamard): rows about one thing spread in few dimensions, other ones for each. There
//!   is one such part of the topic and one of a node below it.
//! - h is normal too and C a spectrum of a few dimensions that all rows share, which smears topics.
//! - A is the power-law spectrum of the rest, R a common orthonormal map.
//! - Rows have length 1, unless lengths are asked to differ.
//! - Some rows and queries copy an earlier row, exactly or nearly; early rows are copied most, as boilerplate is.
//!
//! What the figures are and what they were fitted to stands in `law.rs`.
//! Costs some dozens of passes and 8 Hadamard blocks a row; holds a few tables of dim numbers. Calls
//! [`crate::rng`], [`crate::spectrum`], [`crate::mixing`], [`crate::tree`]; knows no files.

use crate::law::Law;
use crate::mixing::{flip, mix_row};
use crate::rng::{exp, ln, mix, Stream};
use crate::spectrum::{leading_scales, scales};
use crate::tree::Tree;

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
    pub const ASK: u64 = 10;
}

/// Spectra of nodes between the flattest and the steepest.
const SHAPES: usize = 8;
/// Queries copy one of as many rows.
const ASKED: u64 = 4096;
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
    /// Deviation of the logarithm of each row's length; 0: all of length 1, as embeddings mostly are; 0.5: lengths that
    /// differ tenfold, what inner product is tested with.
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
    tree: Tree,
    /// A: scale of each coordinate before the common map.
    colour: Vec<f32>,
    /// C, likewise.
    common: Vec<f32>,
    /// S: one row of scales per shape, flattest last.
    shapes: Vec<Vec<f32>>,
    mean: Vec<f32>,
    rotation_keys: [u64; 2],
}

/// Buffers for one row.
struct Desk {
    tree: Vec<f32>,
    own: Vec<f32>,
    part: Vec<f32>,
}

/// A copy of a row: which, with how much noise relative to its length, and the key of that noise.
struct Copied {
    source: u64,
    noise: f32,
    key: u64,
}

impl Generator {
    /// Prepares the tables: a few times dim numbers.
    #[must_use]
    pub fn new(params: GenParams) -> Self {
        let law = Law::of(params.difficulty, params.dim);
        let dim = params.dim;
        let (low, high) = law.own_dims;
        let own_dims = |i: usize| low * exp(ln(high / low) * i as f64 / (SHAPES - 1) as f64);
        let mut stream = Stream::new(mix(params.seed, purpose::MEAN));
        let mean = (0..dim).map(|_| stream.normal() * law.mean as f32).collect();
        let rotation = mix(params.seed, purpose::ROTATION);
        Self {
            params,
            tree: Tree::new(&law, mix(params.seed, purpose::TREE)),
            colour: scales(dim, law.spectrum * dim as f64),
            common: scales(dim, law.common_dims),
            shapes: (0..SHAPES).map(|i| leading_scales(dim, law.own_rank, own_dims(i))).collect(),
            mean,
            rotation_keys: [mix(rotation, 0), mix(rotation, 1)],
            law,
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

    /// Queries `first..` of the same law as the rows; a few copy one of the first 4096 rows, exactly or nearly.
    pub fn queries(&self, first: u64, out: &mut [f32]) {
        let mut desk = self.desk();
        for (i, row) in out.chunks_exact_mut(self.dim()).enumerate() {
            let index = first + i as u64;
            match self.copied(purpose::ASK, index, ASKED) {
                Some(copied) => self.copy(&copied, row, &mut desk),
                None => self.fresh(purpose::QUERIES, index, row, &mut desk),
            }
        }
    }

    /// Queries `first..` from a stream of their own, none of them copies. Meant for another law than that of the
    /// rows, as bare words asked of sentences are; as yet it is the same law.
    pub fn shifted_queries(&self, first: u64, out: &mut [f32]) {
        let mut desk = self.desk();
        for (i, row) in out.chunks_exact_mut(self.dim()).enumerate() {
            self.fresh(purpose::SHIFTED, first + i as u64, row, &mut desk);
        }
    }

    fn desk(&self) -> Desk {
        let zeros = || vec![0.0; self.dim()];
        Desk { tree: zeros(), own: zeros(), part: zeros() }
    }

    /// A row of the set: its own, or a copy of an earlier one.
    fn row(&self, index: u64, row: &mut [f32], desk: &mut Desk) {
        match self.copied(purpose::COPY, index, index) {
            Some(copied) => self.copy(&copied, row, desk),
            None => self.fresh(purpose::ROWS, index, row, desk),
        }
    }

    fn copy(&self, copied: &Copied, row: &mut [f32], desk: &mut Desk) {
        self.fresh(purpose::ROWS, copied.source, row, desk);
        if copied.noise > 0.0 {
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            let scale = copied.noise * length / (self.dim() as f32).sqrt();
            let mut stream = Stream::new(copied.key);
            row.iter_mut().for_each(|v| *v += scale * stream.normal());
            self.set_length(copied.key, row);
        }
    }

    fn copies(&self, copy_purpose: u64, index: u64) -> Option<Stream> {
        let mut stream = Stream::new(mix(mix(self.params.seed, copy_purpose), index));
        (stream.unit() < self.law.copies).then_some(stream)
    }

    /// Which of the rows before `end` this row or query copies, if any. A copy of a copy would not be of a row in
    /// the set; those few are rows of their own.
    fn copied(&self, copy_purpose: u64, index: u64, end: u64) -> Option<Copied> {
        let mut stream = self.copies(copy_purpose, index)?;
        let u = stream.unit();
        let source = ((u * u) * end as f64) as u64;
        if source >= end || self.copies(purpose::COPY, source).is_some() {
            return None;
        }
        let exact = stream.unit() < self.law.twins;
        // Two decades of nearness: 0.001 to 0.1 of the length, half of them below 0.01.
        let noise = if exact { 0.0 } else { exp((stream.unit() * 2.0 - 3.0) * std::f64::consts::LN_10) };
        Some(Copied { source, noise: noise as f32, key: stream.bits() })
    }

    /// A row of its own stream.
    fn fresh(&self, stream_purpose: u64, index: u64, row: &mut [f32], desk: &mut Desk) {
        let law = &self.law;
        let key = mix(mix(self.params.seed, stream_purpose), index);
        let mut stream = Stream::new(key);
        let place = self.tree.place(&mut stream);
        desk.tree.fill(0.0);
        self.tree.add(&place, &mut desk.tree);
        let square = desk.tree.iter().map(|v| v * v).sum::<f32>() / self.dim() as f32;
        let mut spread = |factor: f64| exp((2.0 * stream.unit() - 1.0) * ln(factor));
        let own = law.own * spread(law.own_spread);
        let rest = (1.0 - law.common).sqrt();
        let tree = (rest * ((1.0 - own) / f64::from(square).max(1e-12)).sqrt()) as f32;
        let noise = (rest * law.noise.sqrt()) as f32;
        let common = law.common.sqrt() as f32;
        desk.own.fill(0.0);
        for (level, part) in [(0, law.own_in_topic), (law.own_level, 1.0 - law.own_in_topic)] {
            if part > 0.0 {
                let scale = (rest * (own * part).sqrt()) as f32;
                self.add_own_part(place.node(level), scale, &mut stream, desk);
            }
        }
        let parts = desk.tree.iter().zip(&desk.own).zip(self.colour.iter().zip(&self.common));
        for (out, ((centre, own), (colour, shared))) in row.iter_mut().zip(parts) {
            *out =
                (tree * centre + own + noise * stream.normal()) * colour + common * shared * stream.normal();
        }
        for key in self.rotation_keys {
            flip(key, row);
            mix_row(row);
        }
        row.iter_mut().zip(&self.mean).for_each(|(v, m)| *v += m);
        self.set_length(key, row);
    }

    /// Adds a normal vector of the subspace of a node to the desk's own part.
    fn add_own_part(&self, node: u64, scale: f32, stream: &mut Stream, desk: &mut Desk) {
        let Desk { own, part, .. } = desk;
        let mut shape = Stream::new(mix(node, purpose::SHAPE));
        let scales = &self.shapes[shape.below(SHAPES as u64) as usize];
        // Begins at any coordinate: where dim is no power of two, one round takes the same few coordinates of
        // all nodes to nearly the same subspace.
        let start = shape.below(part.len() as u64) as usize;
        let (end, begin) = part.split_at_mut(start);
        for (value, width) in begin.iter_mut().chain(end).zip(scales) {
            *value = scale * width * stream.normal();
        }
        mix_row(part);
        flip(node, part);
        mix_row(part);
        own.iter_mut().zip(part).for_each(|(sum, value)| *sum += *value);
    }

    /// Scales a row to length 1, or to the length that its key draws.
    fn set_length(&self, key: u64, row: &mut [f32]) {
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        let mut factor = 1.0 / length.max(f32::MIN_POSITIVE);
        if self.params.norm_spread != 0.0 {
            let mut stream = Stream::new(mix(key, purpose::NORM));
            factor *= exp(f64::from(self.params.norm_spread * stream.normal())) as f32;
        }
        row.iter_mut().for_each(|v| *v *= factor);
    }
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
        let copies = (0..20_000).filter(|&i| generator.copied(purpose::COPY, i, i).is_some()).count();
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
        assert!(plain < 1e-6 && (wide - 0.8).abs() < 0.05, "{plain} {wide}");
    }
}
