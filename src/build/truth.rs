//! The true neighbours of the held-out rows, found while the rows stream by.
//!
//! Held-out rows stand for queries: they are indexed like all others, and the centroids that are stored leave them out.
//! The partition was formed with them, though, so that a leaf's borders bend a little towards them, which no query can
//! hope for; the margin of `tune` has to cover what that flatters the table by.
//!
//! Each group of rows is compared with all of them as bytes about the group's mean, by one kernel; what could be among
//! the nearest for all that bytes tell is compared again in full, by the differences that a search would form, so that
//! rows far from the origin and close to each other are told apart.

use crate::cluster::ByteRows;
use crate::kernels::Kernels;
use crate::memory::{try_collect, try_defaults, try_extend, try_vec};
use crate::topk::heap::TopK;
use crate::types::{Metric, Result};

/// Neighbours that recall is measured on.
pub const TRUTH_K: usize = 10;
/// Held-out rows whose distances to a group are formed at once.
pub const TILE: usize = 64;
/// Of a distance of bytes, the share that rounding may take or add.
const ROUNDING: f32 = 1e-4;

/// Held-out rows and the closest rows to each so far.
pub struct Truth {
    kernels: &'static Kernels,
    metric: Metric,
    dim: usize,
    /// Source rows that are held out, ascending.
    rows: Vec<u64>,
    /// Their vectors, of unit length under cosine.
    vectors: Vec<f32>,
    /// Squared lengths under inner product, otherwise zeros.
    squares: Vec<f32>,
    nearest: Vec<TopK<u32>>,
}

/// What one group of rows contributes: held-out row, distance, source row.
pub struct TruthPart(Vec<(u32, f32, u32)>);

impl Truth {
    /// Held-out `rows` (ascending) with their `vectors`.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn new(
        kernels: &'static Kernels,
        metric: Metric,
        dim: usize,
        rows: Vec<u64>,
        vectors: Vec<f32>,
    ) -> Result<Self> {
        let squares = squares(kernels, metric, &vectors, dim)?;
        let mut nearest: Vec<TopK<u32>> = try_defaults(rows.len())?;
        nearest.iter_mut().try_for_each(|top| top.try_reset(TRUTH_K))?;
        Ok(Truth { kernels, metric, dim, rows, vectors, squares, nearest })
    }

    /// Source rows that are held out.
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// The vector of the nth held-out row.
    pub fn vector(&self, nth: usize) -> &[f32] {
        &self.vectors[nth * self.dim..][..self.dim]
    }

    /// Source rows of the closest to the nth held-out row, in no order, no held-out row among them.
    pub fn nearest(&self, nth: usize) -> impl Iterator<Item = u32> + '_ {
        self.nearest[nth].as_slice().iter().map(|scored| scored.key)
    }

    /// True if the source row is held out.
    pub fn is_held_out(&self, row: u32) -> bool {
        self.rows.binary_search(&u64::from(row)).is_ok()
    }

    /// Compares a group of rows (packed floats, with their source numbers) with every held-out row.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn part(&self, floats: &[f32], numbers: &[u64]) -> Result<TruthPart> {
        let (dim, count) = (self.dim, numbers.len());
        let mut part = TruthPart(Vec::new());
        if self.rows.is_empty() || count == 0 {
            return Ok(part);
        }
        let mean = crate::cluster::mean_of(floats, dim)?;
        let coded = ByteRows::of(floats, dim, &mean)?;
        let row_squares = squares(self.kernels, self.metric, floats, dim)?;
        let farthest = row_squares.iter().fold(0.0f32, |most, square| most.max(*square));
        let mut queries = ByteRows::with_capacity(TILE, dim)?;
        let mut products = try_vec(TILE * count, 0)?;
        let mut distances = try_vec(TILE * count, 0.0)?;
        let mut closest = TopK::default();
        closest.try_reset(TRUTH_K)?;
        for first in (0..self.rows.len()).step_by(TILE) {
            let tile = TILE.min(self.rows.len() - first);
            queries.clear();
            (first..first + tile).for_each(|nth| queries.push(self.vector(nth), &mean));
            let (products, distances) = (&mut products[..tile * count], &mut distances[..tile * count]);
            queries.distances(&coded, 0..count, products, distances);
            // Row and query lie at most half a step off in each dimension. No chance is taken: what is compared in full
            // depends on what was found before, and so on threads.
            let error = (dim as f32).sqrt() * coded.largest_step().max(queries.largest_step());
            for (nth, distances) in (first..).zip(distances.chunks_exact(count)) {
                closest.reset(TRUTH_K);
                let mut threshold = self.nearest[nth].threshold();
                let mut reach = self.reach(nth, threshold, farthest, error);
                for (i, distance) in distances.iter().enumerate() {
                    if *distance - row_squares[i] > reach || self.is_held_out(numbers[i] as u32) {
                        continue;
                    }
                    let row = &floats[i * dim..][..dim];
                    let exact = match self.metric {
                        Metric::L2 => self.kernels.l2_f32(row, self.vector(nth)),
                        _ => -self.kernels.dot_f32(row, self.vector(nth)),
                    };
                    if exact <= threshold {
                        closest.push(exact, numbers[i] as u32);
                        threshold = threshold.min(closest.threshold());
                        reach = self.reach(nth, threshold, farthest, error);
                    }
                }
                let found = closest.as_slice().iter();
                try_extend(&mut part.0, found.map(|near| (nth as u32, near.distance, near.key)))?;
            }
        }
        Ok(part)
    }

    /// What the squared distance of bytes, less the row's own square under inner product, must not exceed for the row's
    /// distance to the nth held-out row to be within `threshold`. `farthest` is the largest square of a row.
    fn reach(&self, nth: usize, threshold: f32, farthest: f32, error: f32) -> f32 {
        let (within, offset) = match self.metric {
            Metric::L2 => (threshold, 0.0),
            // Of rows of length 1, 2 - 2 <x, q>.
            Metric::Cosine => (2.0 + 2.0 * threshold, 0.0),
            // |x - q|^2 = |x|^2 + |q|^2 - 2 <x, q>.
            Metric::InnerProduct => (2.0 * threshold + self.squares[nth] + farthest, farthest),
        };
        let reach = within.max(0.0).sqrt() * (1.0 + ROUNDING) + error;
        reach * reach - offset
    }

    /// Takes over what a group contributes.
    pub fn merge(&mut self, part: TruthPart) {
        for (nth, distance, row) in part.0 {
            self.nearest[nth as usize].push(distance, row);
        }
    }
}

/// Squared lengths under inner product; otherwise zeros.
fn squares(kernels: &Kernels, metric: Metric, vectors: &[f32], dim: usize) -> Result<Vec<f32>> {
    match metric {
        Metric::InnerProduct => try_collect(vectors.chunks_exact(dim).map(|v| kernels.dot_f32(v, v))),
        _ => try_vec(vectors.len() / dim, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;

    /// Rows about a point far from the origin, some of them equal, of lengths that differ under inner product.
    fn rows(metric: Metric, count: usize, dim: usize) -> Vec<f32> {
        let mut random = SplitMix64::new(5);
        let mut rows: Vec<f32> = (0..count * dim).map(|_| random.next_f32() - 0.5).collect();
        for (nth, row) in rows.chunks_exact_mut(dim).enumerate() {
            match metric {
                Metric::L2 => row.iter_mut().for_each(|x| *x = *x * 0.01 + 300.0),
                Metric::InnerProduct => row.iter_mut().for_each(|x| *x *= (1 + nth % 40) as f32),
                Metric::Cosine => {
                    let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                    row.iter_mut().for_each(|x| *x /= length);
                }
            }
        }
        let copy = rows[..dim].to_vec();
        rows[50 * dim..][..dim].copy_from_slice(&copy);
        rows
    }

    #[test]
    fn the_nearest_are_those_of_brute_force_whatever_groups_rows_come_in() {
        let kernels = Kernels::detect();
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for dim in [3, 37, 130] {
                let count = 700;
                let rows = rows(metric, count, dim);
                // More than one tile of them.
                let held: Vec<u64> = (0..count as u64).step_by(9).collect();
                let vectors: Vec<f32> =
                    held.iter().flat_map(|row| &rows[*row as usize * dim..][..dim]).copied().collect();
                for group in [1, 129, 700] {
                    let mut truth = Truth::new(kernels, metric, dim, held.clone(), vectors.clone()).unwrap();
                    let numbers: Vec<u64> = (0..count as u64).collect();
                    // As threads do it: two groups before either is taken over.
                    for pair in numbers.chunks(2 * group) {
                        let parts: Vec<TruthPart> = pair
                            .chunks(group)
                            .map(|part| {
                                truth.part(&rows[part[0] as usize * dim..][..part.len() * dim], part).unwrap()
                            })
                            .collect();
                        parts.into_iter().for_each(|part| truth.merge(part));
                    }
                    for (nth, own) in held.iter().enumerate() {
                        let query = &rows[*own as usize * dim..][..dim];
                        let mut all: Vec<(f32, u32)> = (0..count as u32)
                            .filter(|row| !truth.is_held_out(*row))
                            .map(|row| {
                                (distance(kernels, metric, &rows[row as usize * dim..][..dim], query), row)
                            })
                            .collect();
                        all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                        let mut expected: Vec<u32> = all[..TRUTH_K].iter().map(|near| near.1).collect();
                        let mut found: Vec<u32> = truth.nearest(nth).collect();
                        expected.sort_unstable();
                        found.sort_unstable();
                        assert_eq!(found, expected, "{metric:?}, dim {dim}, groups of {group}, row {own}");
                    }
                }
            }
        }
    }

    fn distance(kernels: &Kernels, metric: Metric, row: &[f32], query: &[f32]) -> f32 {
        match metric {
            Metric::L2 => kernels.l2_f32(row, query),
            _ => -kernels.dot_f32(row, query),
        }
    }
}
