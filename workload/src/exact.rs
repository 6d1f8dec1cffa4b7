//! Exact nearest rows by brute force: the oracle of recall.
//!
//! The base is read once, in blocks of some tens of megabytes. A matrix product in f32 scores a tile of rows for
//! a tile of queries; what cannot be among the k nearest *even if the product's rounding error is as large as it
//! can be* is dropped, the rest is measured in f64. So the answer is that of f64 alone, ties by smaller id, at
//! the price of the product. Rows with infinite or undefined scores are never dropped by a score.
//!
//! Distances: squared L2, 1 - cosine (1 for a row without length), or the negated inner product.

use std::io;

use crate::product::{products, rounding};
use crate::recall::Truth;
use crate::rows::{Matrix, Rows};

/// Bytes of base rows in memory at a time.
const BLOCK_BYTES: usize = 32 << 20;
/// Rows and queries scored by one product.
const TILE_ROWS: usize = 512;
const TILE_QUERIES: usize = 256;

/// What near means; smaller is closer in all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Squared Euclidean distance.
    L2,
    /// Negated inner product.
    InnerProduct,
    /// 1 - cosine.
    Cosine,
}

/// The k nearest rows of each query, fewer if there are fewer rows.
///
/// # Errors
/// The base cannot be read, or rows and queries differ in dim.
pub fn nearest(
    base: &dyn Rows,
    queries: &Matrix,
    metric: Metric,
    k: usize,
    threads: usize,
) -> io::Result<Truth> {
    let dim = base.dim();
    if queries.dim() != dim {
        let what = format!("queries have {} dimensions, rows have {dim}", queries.dim());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let k = k.min(usize::try_from(base.count()).unwrap_or(usize::MAX));
    let mut searches: Vec<Search> =
        (0..queries.len()).map(|i| Search::new(queries.row(i), metric, k)).collect();
    let block_rows = (BLOCK_BYTES / (4 * dim)).max(1) as u64;
    let mut block = vec![0.0; block_rows.min(base.count()) as usize * dim];
    let share = queries.len().div_ceil(threads.max(1)).max(1);
    for first in (0..if k == 0 { 0 } else { base.count() }).step_by(block_rows as usize) {
        let rows = (base.count() - first).min(block_rows) as usize;
        let block = &mut block[..rows * dim];
        read_parallel(base, first, block, threads)?;
        let block = &*block;
        std::thread::scope(|scope| {
            for (part, searches) in searches.chunks_mut(share).enumerate() {
                let queries = &queries.values()[part * share * dim..][..searches.len() * dim];
                scope.spawn(move || scan(block, first, queries, dim, searches));
            }
        });
    }
    let (mut ids, mut distances) = (Vec::new(), Vec::new());
    for search in searches {
        ids.extend(search.best.iter().map(|(_, id)| *id));
        distances.extend(search.best.iter().map(|(distance, _)| *distance));
    }
    Ok(Truth { k, ids, distances })
}

/// The distance of two rows in f64.
#[must_use]
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::L2 => sum_over(a, b, |x, y| (x - y) * (x - y)),
        Metric::InnerProduct => -sum_over(a, b, |x, y| x * y),
        Metric::Cosine => {
            let lengths = (sum_over(a, a, |x, y| x * y) * sum_over(b, b, |x, y| x * y)).sqrt();
            if lengths > 0.0 {
                1.0 - sum_over(a, b, |x, y| x * y) / lengths
            } else {
                1.0
            }
        }
    }
}

/// Fills a block by several threads, each reading some of its rows.
///
/// # Errors
/// The source cannot be read.
pub fn read_parallel(source: &dyn Rows, first: u64, out: &mut [f32], threads: usize) -> io::Result<()> {
    let dim = source.dim();
    let share = (out.len() / dim).div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = out
            .chunks_mut(share * dim)
            .enumerate()
            .map(|(i, part)| scope.spawn(move || source.read(first + (i * share) as u64, part)))
            .collect();
        parts.into_iter().try_for_each(|part| {
            part.join().unwrap_or_else(|_| Err(io::Error::other("a thread that read rows has panicked")))
        })
    })
}

/// Sums in eight lanes, then the lanes: one order everywhere.
fn sum_over(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (whole, rest) = (a.chunks_exact(8), a.chunks_exact(8).remainder());
    for (x, y) in whole.zip(b.chunks_exact(8)) {
        for lane in 0..8 {
            lanes[lane] += term(f64::from(x[lane]), f64::from(y[lane]));
        }
    }
    let tail = &b[a.len() - rest.len()..];
    let tail: f64 = rest.iter().zip(tail).map(|(x, y)| term(f64::from(*x), f64::from(*y))).sum();
    lanes.iter().sum::<f64>() + tail
}

/// One query on its way through the base.
struct Search {
    metric: Metric,
    k: usize,
    length: f64,
    /// The best so far, by distance, then id.
    best: Vec<(f64, u64)>,
}

impl Search {
    fn new(query: &[f32], metric: Metric, k: usize) -> Self {
        let length = sum_over(query, query, |x, y| x * y).sqrt();
        Self { metric, k, length, best: Vec::with_capacity(k + 1) }
    }

    /// Turns inner products into scores: distances less what all rows share.
    fn score(&self, products: &mut [f32], lengths: &[f64]) {
        for (score, length) in products.iter_mut().zip(lengths) {
            let product = f64::from(*score);
            *score = match self.metric {
                Metric::L2 => length * length - 2.0 * product,
                Metric::InnerProduct => -product,
                Metric::Cosine if *length > 0.0 && self.length > 0.0 => -product / (length * self.length),
                Metric::Cosine => 0.0,
            } as f32;
        }
    }

    /// Scores above this cannot be among the k nearest: the k-th distance known so far, or the k-th score of
    /// this tile, widened by what rounding can do.
    fn limit(&self, scores: &[f32], longest: f64, dim: usize) -> f64 {
        let error = rounding(dim)
            * match self.metric {
                Metric::L2 => (longest + self.length) * (longest + self.length),
                Metric::InnerProduct => longest * self.length,
                Metric::Cosine => 1.0,
            };
        let shared = match self.metric {
            Metric::L2 => self.length * self.length,
            Metric::InnerProduct => 0.0,
            Metric::Cosine => 1.0,
        };
        if self.best.len() == self.k {
            return self.best[self.k - 1].0 - shared + error;
        }
        if scores.len() < self.k {
            return f64::INFINITY;
        }
        let mut sorted = scores.to_vec();
        let (_, kth, _) = sorted.select_nth_unstable_by(self.k - 1, f32::total_cmp);
        f64::from(*kth) + 2.0 * error
    }

    fn offer(&mut self, distance: f64, id: u64) {
        let at = self.best.partition_point(|(d, i)| (*d, *i) < (distance, id));
        if at < self.k {
            self.best.insert(at, (distance, id));
            self.best.truncate(self.k);
        }
    }
}

/// Offers all rows of a block that may be near to some queries.
fn scan(block: &[f32], first: u64, queries: &[f32], dim: usize, searches: &mut [Search]) {
    let mut scores = vec![0.0; TILE_ROWS * TILE_QUERIES.min(searches.len())];
    for (tile, rows) in block.chunks(TILE_ROWS * dim).enumerate() {
        let count = rows.len() / dim;
        let lengths: Vec<f64> = rows.chunks_exact(dim).map(|r| sum_over(r, r, |x, y| x * y).sqrt()).collect();
        let longest = lengths.iter().copied().fold(0.0, f64::max);
        for (queries, searches) in queries.chunks(TILE_QUERIES * dim).zip(searches.chunks_mut(TILE_QUERIES)) {
            let scores = &mut scores[..searches.len() * count];
            products(queries, rows, dim, scores);
            let queries = queries.chunks_exact(dim);
            for ((query, search), scores) in queries.zip(searches).zip(scores.chunks_exact_mut(count)) {
                search.score(scores, &lengths);
                let limit = search.limit(scores, longest, dim);
                for (i, score) in scores.iter().enumerate() {
                    if f64::from(*score) > limit {
                        continue;
                    }
                    let row = &rows[i * dim..(i + 1) * dim];
                    search.offer(distance(search.metric, query, row), first + (tile * TILE_ROWS + i) as u64);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gen::{Difficulty, GenParams, Generator};
    use crate::rows::Generated;

    const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];

    fn naive(base: &Matrix, query: &[f32], metric: Metric, k: usize) -> Vec<(f64, u64)> {
        let mut all: Vec<_> =
            (0..base.len()).map(|i| (distance(metric, query, base.row(i)), i as u64)).collect();
        all.sort_by(|a, b| a.partial_cmp(b).unwrap());
        all.truncate(k);
        all
    }

    fn check(base: &Matrix, queries: &Matrix, k: usize, threads: usize) {
        for metric in METRICS {
            let truth = nearest(base, queries, metric, k, threads).unwrap();
            assert_eq!(truth.k, k.min(base.len()));
            for i in 0..queries.len() {
                let expected = naive(base, queries.row(i), metric, truth.k);
                let range = i * truth.k..(i + 1) * truth.k;
                let got: Vec<_> = truth.distances[range.clone()]
                    .iter()
                    .copied()
                    .zip(truth.ids[range].iter().copied())
                    .collect();
                assert_eq!(got, expected, "{metric:?} query {i}");
            }
        }
    }

    #[test]
    fn nearest_agrees_with_a_sort_of_all_distances_id_for_id() {
        for (rows, dim) in [(3000, 24), (700, 1), (1, 5), (1500, 130)] {
            let generator =
                Generator::new(GenParams { norm_spread: 0.5, ..GenParams::new(dim, Difficulty::Typical) });
            let base = Matrix::of(&Generated::new(&generator, rows)).unwrap();
            let mut queries = vec![0.0; 20 * dim];
            generator.queries(0, &mut queries);
            for threads in [1, 3] {
                check(&base, &Matrix::new(dim, queries.clone()), 10, threads);
            }
        }
    }

    #[test]
    fn equal_rows_zero_rows_and_huge_values_keep_the_order_of_ids() {
        let queries = Matrix::new(2, vec![1.0, 1.0, 0.0, 0.0, 3e19, -3e19]);
        check(&Matrix::new(2, vec![0.5; 2 * 1300]), &queries, 40, 2);
        check(&Matrix::new(2, vec![0.0; 2 * 600]), &queries, 7, 2);
        let values: Vec<f32> = (0..2400).map(|i| if i % 3 == 0 { 3e19 } else { i as f32 * 1e-22 }).collect();
        check(&Matrix::new(2, values), &queries, 9, 1);
        assert_eq!(nearest(&Matrix::new(2, vec![]), &queries, Metric::L2, 9, 1).unwrap().k, 0);
    }

    #[test]
    fn another_dim_is_an_error() {
        assert!(
            nearest(&Matrix::new(2, vec![0.0; 4]), &Matrix::new(3, vec![0.0; 3]), Metric::L2, 1, 1).is_err()
        );
    }
}
