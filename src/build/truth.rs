//! The true neighbours of the held-out rows, found while the rows stream by.
//!
//! Held-out rows stand for queries: they are indexed like all others, and the centroids that are stored leave them out.
//! The partition was formed with them, though, so that a leaf's borders bend a little towards them, which no query can
//! hope for; the margin of `tune` has to cover what that flatters the table by. Each group of rows is compared with
//! all of them by one matrix product; the closest are kept with a few to spare, since the product rounds, and `tune`
//! ranks them again by exact distance.

use crate::cluster::inner_products;
use crate::memory::{try_collect, try_defaults, try_vec};
use crate::topk::heap::TopK;
use crate::types::{Metric, Result};

/// Neighbours that recall is measured on.
pub const TRUTH_K: usize = 10;
/// Held-out rows whose products with a group are formed at once: the group is packed anew for each tile.
pub const TILE: usize = 256;
/// Kept beyond them for the rounding of the product.
const SPARE: usize = 6;

/// Held-out rows and the closest rows to each so far.
pub struct Truth {
    metric: Metric,
    dim: usize,
    /// Source rows that are held out, ascending.
    rows: Vec<u64>,
    /// Their vectors, of unit length under cosine.
    vectors: Vec<f32>,
    /// Squared lengths.
    norms: Vec<f32>,
    nearest: Vec<TopK<u32>>,
}

/// What one group of rows contributes: for each held-out row its closest.
pub struct TruthPart(Vec<TopK<u32>>);

impl Truth {
    /// Held-out `rows` (ascending) with their `vectors`.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn new(metric: Metric, dim: usize, rows: Vec<u64>, vectors: Vec<f32>) -> Result<Self> {
        let norms = norms(&vectors, dim)?;
        let nearest = empty(rows.len())?;
        Ok(Truth { metric, dim, rows, vectors, norms, nearest })
    }

    /// Source rows that are held out.
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// The vector of the nth held-out row.
    pub fn vector(&self, nth: usize) -> &[f32] {
        &self.vectors[nth * self.dim..][..self.dim]
    }

    /// Source rows of the closest to the nth held-out row, in no order, itself left out.
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
        let count = numbers.len();
        let mut nearest = empty(self.rows.len())?;
        if self.rows.is_empty() || count == 0 {
            return Ok(TruthPart(nearest));
        }
        let row_norms = match self.metric {
            Metric::L2 => norms(floats, self.dim)?,
            _ => try_vec(count, 0.0)?,
        };
        let mut products = try_vec(TILE.min(self.rows.len()) * count, 0.0f32)?;
        for first in (0..self.rows.len()).step_by(TILE) {
            let tile = TILE.min(self.rows.len() - first);
            let queries = &self.vectors[first * self.dim..][..tile * self.dim];
            inner_products(queries, floats, self.dim, &mut products[..tile * count])?;
            for nth in 0..tile {
                let top = &mut nearest[first + nth];
                let own = self.rows[first + nth];
                let mut threshold = top.threshold();
                for (i, product) in products[nth * count..][..count].iter().enumerate() {
                    let distance = match self.metric {
                        Metric::L2 => self.norms[first + nth] + row_norms[i] - 2.0 * product,
                        _ => -product,
                    };
                    if distance <= threshold && numbers[i] != own {
                        top.push(distance, numbers[i] as u32);
                        threshold = top.threshold();
                    }
                }
            }
        }
        Ok(TruthPart(nearest))
    }

    /// Takes over what a group contributes.
    pub fn merge(&mut self, part: TruthPart) {
        for (all, some) in self.nearest.iter_mut().zip(part.0) {
            for scored in some.as_slice() {
                all.push(scored.distance, scored.key);
            }
        }
    }
}

/// Squared lengths.
fn norms(vectors: &[f32], dim: usize) -> Result<Vec<f32>> {
    try_collect(vectors.chunks_exact(dim.max(1)).map(|v| v.iter().map(|x| x * x).sum()))
}

/// Lists that have the storage for all that they will hold.
fn empty(count: usize) -> Result<Vec<TopK<u32>>> {
    let mut nearest: Vec<TopK<u32>> = try_defaults(count)?;
    nearest.iter_mut().try_for_each(|top| top.try_reset(TRUTH_K + SPARE))?;
    Ok(nearest)
}
