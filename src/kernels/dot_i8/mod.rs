//! Inner products of signed bytes: codes of 8 bits a dimension against an 8-bit query.
//!
//! ```text
//! dot_i8:      out[r] = sum over i of rows[r * dim + i] * query[i]
//! products_i8: out[r * m + o] = sum over i of rows[r * dim + i] * others[o * dim + i], for each of m others
//! ```
//!
//! In: rows one after the other, values -127..=127 (the AVX2 variant negates bytes, which -128 does not survive).
//! Out: one `i32` a row, exact and therefore the same on every table; `dim` is at most 65,536, so that the sum
//! stays below 65,536 * 127^2 < 2^31. No step saturates.
//!
//! | cycles a row, 1024 dimensions | AVX2 | AVX-512 | NEON | NEON, dotprod |
//! |---|---|---|---|---|
//! | how | `VPMADDUBSW`, `VPMADDWD` | `VPDPBUSD` | `SMULL`, `SADALP` | `SDOT` |
//! | estimated | 32 x 5 / 4: 40 | 16 x 2 loads + 4: 36 | 64 x 5 / 4: 80 | 64 x 2 / 2: 64 |
//! | measured, Zen 3: ns, rows in cache, four at a time | 23 (44 GB/s) | | | |
//! | Zen 4 at 3.7 GHz: ns, rows in cache | 17.8 | 10.4 | | |
//! | from memory, in order | 32 (32 GB/s) | 32 | | |
//! | of all pairs of rows and 64 others, estimated: a load serves four products | as above | 16 | | |
//! | Zen 4, ns a pair, in cache (`cargo bench --bench kernels -- dot_i8`) | 17.5 | 5.4 | | |

use super::gather::{one_by_one, Gather};
use super::Kernels;

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

/// The largest dimension whose sums fit 32 bits.
const DIM_MAX: usize = 65_536;

/// One instruction set's functions.
pub(super) struct Table {
    dot: unsafe fn(&[i8], &[i8], &mut [i32]),
    dot_rows: unsafe fn(Gather, &[i8], &mut [i32]),
    /// Rows, others, dimension and products.
    products: unsafe fn(&[i8], &[i8], usize, &mut [i32]),
}

/// Products of all pairs, by a kernel for blocks: row by row.
macro_rules! row_by_row {
    ($dot:path) => {
        |rows: &[i8], others: &[i8], dim: usize, out: &mut [i32]| {
            let dot: unsafe fn(&[i8], &[i8], &mut [i32]) = $dot;
            let count = others.len() / dim;
            for (row, out) in rows.chunks_exact(dim).zip(out.chunks_exact_mut(count)) {
                // SAFETY: the caller has the CPU that the table is for.
                unsafe { dot(others, row, out) }
            }
        }
    };
}

/// The table of a kernel for blocks, which takes listed rows and rows of a matrix one by one.
macro_rules! table {
    ($dot:path) => {
        Table { dot: $dot, dot_rows: one_by_one!($dot, i8), products: row_by_row!($dot) }
    };
}

pub(super) const SCALAR: Table = table!(scalar::dot);
#[cfg(target_arch = "x86_64")]
pub(super) const AVX2: Table = table!(avx2::dot);
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512: Table =
    Table { dot: avx512::dot, dot_rows: avx512::dot_rows, products: avx512::products };
#[cfg(target_arch = "aarch64")]
pub(super) const NEON: Table = table!(neon::dot);
#[cfg(target_arch = "aarch64")]
pub(super) const NEON_DOTPROD: Table = table!(neon::dot_by_sdot);

impl Kernels {
    /// Writes the inner product of each of `out.len()` rows with `query`, whose length is the dimension.
    ///
    /// # Panics
    /// When `rows` is not `out.len() * query.len()` long, or the dimension is 0 or above 65,536.
    #[inline]
    pub fn dot_i8(&self, rows: &[i8], query: &[i8], out: &mut [i32]) {
        assert!((1..=DIM_MAX).contains(&query.len()));
        assert_eq!(rows.len(), out.len() * query.len());
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.dot_i8.dot)(rows, query, out) }
    }

    /// The same for listed rows at any places: writes to `out[i]` the product of row `listed[i]`, which begins at
    /// `rows[listed[i] * stride]`. Asks for the rows ahead while it multiplies.
    ///
    /// # Panics
    /// When a listed row does not lie inside `rows`, `out` is not as long as `listed`, or the dimension is 0 or
    /// above 65,536.
    #[inline]
    pub fn dot_i8_rows(&self, rows: &[i8], stride: usize, query: &[i8], listed: &[u32], out: &mut [i32]) {
        assert!((1..=DIM_MAX).contains(&query.len()));
        assert_eq!(listed.len(), out.len());
        let list = Gather::new(bytemuck::cast_slice(rows), stride, query.len(), listed);
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.dot_i8.dot_rows)(list, query, out) }
    }

    /// Writes the inner products of all pairs: `out[r * m + o]` is that of row `r` and the `o`th of the m others.
    /// Others are read once for every few rows: a block of them should fit the second-level cache.
    ///
    /// # Panics
    /// When `rows` or `others` is not whole rows of `dim`, `out` does not have a place for each pair, or `dim` is 0
    /// or above 65,536.
    #[inline]
    pub fn products_i8(&self, rows: &[i8], others: &[i8], dim: usize, out: &mut [i32]) {
        assert!((1..=DIM_MAX).contains(&dim));
        assert!(rows.len().is_multiple_of(dim) && others.len().is_multiple_of(dim));
        assert_eq!((rows.len() / dim).checked_mul(others.len() / dim), Some(out.len()));
        if out.is_empty() {
            return;
        }
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.dot_i8.products)(rows, others, dim, out) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Guarded, Rng};
    use super::*;

    fn values(rng: &mut Rng, length: usize) -> Vec<i8> {
        (0..length).map(|_| (rng.below(255) as i16 - 127) as i8).collect()
    }

    fn naive(row: &[i8], query: &[i8]) -> i32 {
        row.iter().zip(query).map(|(&r, &q)| i32::from(r) * i32::from(q)).sum()
    }

    #[test]
    fn every_table_sums_as_one_by_one() {
        let mut rng = Rng::new(7);
        for dim in (1..260).chain([384, 768, 1000, 1024, 1536, 4096]) {
            let (rows, start) = (dim % 8, dim % 64);
            let block = values(&mut rng, start + rows * dim);
            let query = values(&mut rng, dim);
            let expected: Vec<i32> = block[start..].chunks_exact(dim).map(|row| naive(row, &query)).collect();
            for kernels in Kernels::available() {
                let mut out = vec![i32::MIN; rows];
                kernels.dot_i8(&block[start..], &query, &mut out);
                assert_eq!(out, expected, "{} dim {dim}", kernels.name);
            }
        }
    }

    #[test]
    fn listed_rows_sum_as_rows_in_order() {
        let mut rng = Rng::new(10);
        for dim in (1..140).chain([384, 1000, 1024]) {
            let (stride, listed) = (dim + dim % 5, dim % 14);
            let block = Guarded::new(&values(&mut rng, 19 * stride + dim));
            let query = Guarded::new(&values(&mut rng, dim));
            let rows: Vec<u32> = (0..listed).map(|_| rng.below(20) as u32).collect();
            let row = |row: &u32| &block.slice()[*row as usize * stride..][..dim];
            let expected: Vec<i32> = rows.iter().map(|place| naive(row(place), query.slice())).collect();
            for kernels in Kernels::available() {
                let mut out = vec![i32::MIN; listed];
                kernels.dot_i8_rows(block.slice(), stride, query.slice(), &rows, &mut out);
                assert_eq!(out, expected, "{} dim {dim}", kernels.name);
            }
        }
    }

    #[test]
    fn products_of_all_pairs_are_those_of_each() {
        let mut rng = Rng::new(17);
        for dim in (1..140).chain([192, 384, 1000, 1024]) {
            for (rows, others) in [(0, 3), (3, 0), (1, 1), (1, 6), (5, 1), (4, 4), (7, 11), (13, 70)] {
                let a = Guarded::new(&values(&mut rng, rows * dim));
                let b = Guarded::new(&values(&mut rng, others * dim));
                let pairs = |row| b.slice().chunks_exact(dim).map(move |other| naive(row, other));
                let expected: Vec<i32> = a.slice().chunks_exact(dim).flat_map(pairs).collect();
                for kernels in Kernels::available() {
                    let mut out = vec![i32::MIN; rows * others];
                    kernels.products_i8(a.slice(), b.slice(), dim, &mut out);
                    assert_eq!(out, expected, "{} dim {dim}, {rows} x {others}", kernels.name);
                }
            }
        }
    }

    #[test]
    fn extreme_values_do_not_saturate() {
        for dim in [1, 31, 32, 64, 1024, 65_536] {
            for (r, q) in [(127, 127), (-127, 127), (127, -127), (-127, -127)] {
                for kernels in Kernels::available() {
                    let mut out = [0; 5];
                    kernels.dot_i8(&vec![r; 5 * dim], &vec![q; dim], &mut out);
                    let expected = i32::from(r) * i32::from(q) * dim as i32;
                    assert_eq!(out, [expected; 5], "{} dim {dim}", kernels.name);
                    kernels.products_i8(&vec![r; 5 * dim], &vec![q; dim], dim, &mut out);
                    assert_eq!(out, [expected; 5], "{} dim {dim}, of pairs", kernels.name);
                }
            }
        }
    }

    #[test]
    fn block_end_is_never_passed() {
        let mut rng = Rng::new(8);
        for dim in 1..150 {
            let rows = Guarded::new(&values(&mut rng, dim * (dim % 6)));
            let query = Guarded::new(&values(&mut rng, dim));
            let mut out = Guarded::new(&vec![0i32; dim % 6]);
            for kernels in Kernels::available() {
                kernels.dot_i8(rows.slice(), query.slice(), out.slice_mut());
            }
        }
    }
}
