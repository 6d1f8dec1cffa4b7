//! The weighted Hamming distance between row codes and a quantised query: what a scan reads every code for.
//!
//! A code holds `code_planes` bit planes of a row, a query `query_planes` bit planes, plane `p` being worth `2^p`:
//!
//! ```text
//! out[r] = sum over b, j of 2^(b + j) * popcount(code[r].plane[b] ^ query.plane[j])
//! ```
//!
//! In: codes row after row, each row its planes one after the other, `plane_bytes` a plane; the query likewise.
//! `plane_bytes` is a multiple of 8. Out: one `u32` a row, exact and therefore the same on every table: the largest
//! possible sum, 65,536 dimensions of 4 x 8 bits, is 15 * 255 * 65,536 < 2^28.
//!
//! | cycles a row, 1 x 4 planes, 1024 dimensions | scalar | AVX2 | AVX2, prepared | AVX-512 | NEON | NEON, dotprod |
//! |---|---|---|---|---|---|---|
//! | how | words | nibbles, `VPSHUFB` | columns, `VPSHUFB` | `VPOPCNTQ` | `CNT` | `CNT`, `UDOT` |
//! | operations | 64 x 12 | 16 x 7 + 12 | 240 x 4 / 16 | 8 x 2 + 10 + 3 | 32 x 3 + 20 | 32 x 3 + 5 |
//! | estimated at 4 a cycle | 200 | 31 | 15 | 9 | 29 | 25 |
//! | measured, Zen 3 at about 3 GHz: ns, rows in cache | | 13.7 | 6.3 | | | |
//! | Zen 4 at 3.7 GHz: ns, rows in cache | 39 | 11.5 | 5.0 | 4.4 | | |
//! | from memory, in order, at 33 GB/s | 39 | 11.6 | 9 to 12 | 4.6 | | |
//! | from memory, listed rows | 68 | | 13 | 11 | | |
//!
//! A row is two cache lines: from DRAM, in order, it cannot take less than 3.9 ns at 33 GB/s, so the AVX-512 form is
//! where arithmetic stops to matter. What was tried on the way is in `docs/experiments.md`.

use super::gather::Gather;
use super::Kernels;

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

/// The bytes and planes of a code and of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bit planes of a row's code, 1 to 4.
    pub code_planes: usize,
    /// Bit planes of the query, 1 to 8.
    pub query_planes: usize,
    /// Bytes of one plane of either, a multiple of 8 from 8 to 8,192.
    pub plane_bytes: usize,
}

impl Shape {
    /// Bytes of a row's code.
    #[inline]
    pub fn row_bytes(&self) -> usize {
        self.code_planes * self.plane_bytes
    }

    /// Bytes of a query's planes.
    #[inline]
    pub fn query_bytes(&self) -> usize {
        self.query_planes * self.plane_bytes
    }
}

/// Codes, shape, query and sums.
type Estimate = unsafe fn(&[u8], Shape, &[u8], &mut [u32]);

/// Listed codes, shape, query and sums.
type EstimateRows = unsafe fn(Gather, Shape, &[u8], &mut [u32]);

/// One instruction set's functions.
pub(super) struct Table {
    estimate: Estimate,
    estimate_rows: EstimateRows,
    prepared_bytes: fn(Shape) -> usize,
    prepare: unsafe fn(Shape, &mut [u8]),
}

/// A table whose kernels want the planes as they are.
const fn of_planes(estimate: Estimate, estimate_rows: EstimateRows) -> Table {
    Table { estimate, estimate_rows, prepared_bytes: |shape| shape.query_bytes(), prepare: |_, _| () }
}

pub(super) const SCALAR: Table = of_planes(scalar::estimate, scalar::estimate_rows);
#[cfg(target_arch = "x86_64")]
pub(super) const AVX2: Table = Table {
    estimate: avx2::estimate,
    estimate_rows: avx2::estimate_rows,
    prepared_bytes: avx2::prepared_bytes,
    prepare: avx2::prepare,
};
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512: Table = of_planes(avx512::estimate, avx512::estimate_rows);
#[cfg(target_arch = "aarch64")]
pub(super) const NEON: Table = of_planes(neon::estimate, neon::estimate_rows);
#[cfg(target_arch = "aarch64")]
pub(super) const NEON_DOTPROD: Table = of_planes(neon::estimate_by_udot, neon::estimate_rows_by_udot);

impl Kernels {
    /// Appends to a query's planes what this table's kernel is faster with (tables on AVX2, elsewhere nothing).
    /// Worth its price, that of about 30 rows, for a query that meets more rows than that. The vector keeps its
    /// capacity when it is cut back to `shape.query_bytes()` for the next query.
    ///
    /// # Panics
    /// When a number of `shape` is out of its range, or `query` is not `shape.query_bytes()` long.
    pub fn prepare_query(&self, shape: Shape, query: &mut Vec<u8>) {
        assert_eq!(query.len(), shape.query_bytes());
        self.check(shape, query);
        query.resize((self.estimate.prepared_bytes)(shape), 0);
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.estimate.prepare)(shape, query) }
    }

    /// Writes the weighted Hamming distance of each row of `codes` to `query`: see the module. `query` holds the
    /// planes, as they are or prepared by the same table ([`Kernels::prepare_query`]).
    ///
    /// # Panics
    /// When a number of `shape` is out of its range, `query` has neither length or `codes` is not
    /// `out.len() * shape.row_bytes()` long.
    #[inline]
    pub fn estimate(&self, codes: &[u8], shape: Shape, query: &[u8], out: &mut [u32]) {
        self.check(shape, query);
        assert_eq!(codes.len(), out.len() * shape.row_bytes());
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.estimate.estimate)(codes, shape, query, out) }
    }

    /// The same for listed rows at any places: writes to `out[i]` the distance of row `rows[i]`, whose code begins at
    /// byte `rows[i] * stride` of `codes`. Asks for the rows ahead while it counts, so that rows from memory cost a
    /// fraction of a cache miss each; worth a call from one row up.
    ///
    /// # Panics
    /// When a number of `shape` is out of its range, `query` has neither length, a row's code does not lie inside
    /// `codes` or `out` is not as long as `rows`.
    #[inline]
    pub fn estimate_rows(
        &self,
        codes: &[u8],
        stride: usize,
        shape: Shape,
        query: &[u8],
        rows: &[u32],
        out: &mut [u32],
    ) {
        self.check(shape, query);
        assert_eq!(rows.len(), out.len());
        let gather = Gather::new(codes, stride, shape.row_bytes(), rows);
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.estimate.estimate_rows)(gather, shape, query, out) }
    }

    #[inline]
    fn check(&self, shape: Shape, query: &[u8]) {
        assert!((1..=4).contains(&shape.code_planes));
        assert!((1..=8).contains(&shape.query_planes));
        assert!((8..=8192).contains(&shape.plane_bytes) && shape.plane_bytes.is_multiple_of(8));
        let length = query.len();
        assert!(length == shape.query_bytes() || length == (self.estimate.prepared_bytes)(shape));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Guarded, Rng};
    use super::*;

    fn naive(code: &[u8], shape: Shape, query: &[u8]) -> u32 {
        let mut sum = 0;
        for b in 0..shape.code_planes {
            for j in 0..shape.query_planes {
                for byte in 0..shape.plane_bytes {
                    let differ = code[b * shape.plane_bytes + byte] ^ query[j * shape.plane_bytes + byte];
                    sum += differ.count_ones() << (b + j);
                }
            }
        }
        sum
    }

    /// The query's planes as they are, and prepared.
    fn both_forms(kernels: &Kernels, shape: Shape, planes: &[u8]) -> [Vec<u8>; 2] {
        let mut prepared = planes.to_vec();
        kernels.prepare_query(shape, &mut prepared);
        assert_eq!(&prepared[..planes.len()], planes);
        [planes.to_vec(), prepared]
    }

    fn shapes() -> Vec<Shape> {
        let mut shapes = Vec::new();
        for code_planes in 1..=4 {
            for query_planes in 1..=8 {
                for plane_bytes in
                    [8, 16, 24, 32, 40, 56, 64, 72, 96, 104, 120, 128, 136, 192, 200, 248, 256, 1000]
                {
                    shapes.push(Shape { code_planes, query_planes, plane_bytes });
                }
            }
        }
        shapes
    }

    #[test]
    fn every_table_counts_as_bit_by_bit() {
        let mut rng = Rng::new(3);
        for (i, shape) in shapes().into_iter().enumerate() {
            let rows = [0, 1, 3, 16, 37, 70][i % 6];
            let start = i % 64;
            let codes = rng.bytes(start + rows * shape.row_bytes());
            let query = rng.bytes(start + shape.query_bytes());
            let (codes, query) = (&codes[start..], &query[start..]);
            let expected: Vec<u32> =
                codes.chunks_exact(shape.row_bytes()).map(|code| naive(code, shape, query)).collect();
            for kernels in Kernels::available() {
                for query in both_forms(kernels, shape, query) {
                    let mut out = vec![u32::MAX; rows];
                    kernels.estimate(codes, shape, &query, &mut out);
                    assert_eq!(out, expected, "{} {shape:?}", kernels.name);
                }
            }
        }
    }

    #[test]
    fn every_number_of_rows_and_every_offset() {
        let mut rng = Rng::new(4);
        for query_planes in [4, 6] {
            let shape = Shape { code_planes: 1, query_planes, plane_bytes: 128 };
            let codes = rng.bytes(100 * 128 + 64);
            let query = rng.bytes(shape.query_bytes());
            for rows in 0..100 {
                let start = rows % 64;
                let codes = &codes[start..start + rows * 128];
                let expected: Vec<u32> =
                    codes.chunks_exact(128).map(|code| naive(code, shape, &query)).collect();
                for kernels in Kernels::available() {
                    for query in both_forms(kernels, shape, &query) {
                        let mut out = vec![u32::MAX; rows];
                        kernels.estimate(codes, shape, &query, &mut out);
                        assert_eq!(out, expected, "{} {rows} rows", kernels.name);
                    }
                }
            }
        }
    }

    #[test]
    fn listed_rows_count_as_rows_in_order() {
        let mut rng = Rng::new(5);
        for (i, shape) in shapes().into_iter().enumerate() {
            let stride = shape.row_bytes() + [0, 0, 16, 33][i % 4];
            let count = 1 + i % 50;
            // The last row ends where the block ends, whatever the stride.
            let codes = Guarded::new(&rng.bytes((count - 1) * stride + shape.row_bytes()));
            let query = rng.bytes(shape.query_bytes());
            let listed = [0, 1, 2, 7, 8, 9, 17, 33, 70][i % 9];
            let rows: Vec<u32> = (0..listed).map(|_| rng.below(count as u64) as u32).collect();
            let expected: Vec<u32> = rows
                .iter()
                .map(|&row| {
                    naive(&codes.slice()[row as usize * stride..][..shape.row_bytes()], shape, &query)
                })
                .collect();
            for kernels in Kernels::available() {
                for query in both_forms(kernels, shape, &query) {
                    let mut out = Guarded::new(&vec![u32::MAX; listed]);
                    kernels.estimate_rows(codes.slice(), stride, shape, &query, &rows, out.slice_mut());
                    assert_eq!(out.slice(), expected, "{} {shape:?} {listed} rows", kernels.name);
                }
            }
        }
    }

    #[test]
    fn extreme_codes_do_not_overflow() {
        for plane_bytes in [8, 128, 1024, 4096, 8192] {
            for (code_planes, query_planes) in [(1, 4), (1, 6), (2, 4), (4, 8)] {
                let shape = Shape { code_planes, query_planes, plane_bytes };
                let weight = ((1u32 << code_planes) - 1) * ((1 << query_planes) - 1);
                for kernels in Kernels::available() {
                    let mut out = [0; 33];
                    kernels.estimate(
                        &vec![255; 33 * shape.row_bytes()],
                        shape,
                        &vec![0; shape.query_bytes()],
                        &mut out,
                    );
                    assert_eq!(out, [weight * 8 * plane_bytes as u32; 33], "{} {shape:?}", kernels.name);
                }
            }
        }
    }

    #[test]
    fn block_end_is_never_passed() {
        let mut rng = Rng::new(6);
        for (i, shape) in shapes().into_iter().enumerate() {
            let rows = i % 40;
            let codes = Guarded::new(&rng.bytes(rows * shape.row_bytes()));
            let query = Guarded::new(&rng.bytes(shape.query_bytes()));
            let mut out = Guarded::new(&vec![0u32; rows]);
            for kernels in Kernels::available() {
                for query in both_forms(kernels, shape, query.slice()) {
                    let query = Guarded::new(&query);
                    kernels.estimate(codes.slice(), shape, query.slice(), out.slice_mut());
                }
            }
        }
    }
}
