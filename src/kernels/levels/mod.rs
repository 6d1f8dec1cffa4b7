//! Inner products of 2- and 4-bit codes with an 8-bit query: what a code of more than one bit is estimated by.
//!
//! A row holds one level `0 ..= 2^bits - 1` a dimension, packed in groups of 64 dimensions. Four bits: byte
//! `j` of a group's 32 holds dimension `j` low and `j + 32` high. Two bits: byte `j` of a group's 16 holds
//! dimensions `j`, `j + 16`, `j + 32`, `j + 48` from its lowest bits up. So a register unpacks by shifts and
//! masks, without a shuffle, into dimensions that lie as the query's do.
//!
//! `out[row] = sum_i level[row][i] * query[i]`, exact in 32 bits: at most 65,536 * 15 * 127.
//!
//! Rows that meet each other are unpacked instead, to odd integers `2 * level - 15`, for the kernels of `dot_i8`.
//!
//! Why not bit planes, as for one bit: 4 planes of a code against 6 of a query are 24 passes of and, two
//! shuffles and adds; here it is one pass of multiply-add, with a query of 8 bits.
//!
//! | 1024 dimensions | scalar | AVX2 | AVX-512 |
//! |---|---|---|---|
//! | estimated cycles: 7 operations a group, 4 a cycle; 16 `VPDPBUSD`, one a cycle | 1,000 | 28 + 8 | 16 + 8 |
//! | measured, Zen 4 at 3.7 GHz, rows in cache: ns, 4 bits | 74 | 11.0 | 7.1 |
//! | 2 bits | 83 | 11.5 | 7.2 |
//! | 4 bits, 128 dimensions | 9.3 | 2.4 | 1.6 |

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use super::gather::{one_by_one, Gather};
use super::Kernels;

/// Dimensions of a group.
pub const GROUP: usize = 64;

/// Codes, query and products.
type Dot = unsafe fn(&[u8], &[i8], &mut [i32]);

/// Listed codes, query and products.
type DotRows = unsafe fn(Gather, &[i8], &mut [i32]);

/// Codes and integers.
type Unpack = unsafe fn(&[u8], &mut [i8]);

/// One instruction set's functions.
pub(super) struct Table {
    unpack: Unpack,
    two: Dot,
    four: Dot,
    two_rows: DotRows,
    four_rows: DotRows,
}

/// The table of two kernels for blocks, which take listed rows one by one.
macro_rules! table {
    ($unpack:path, $two:path, $four:path) => {
        Table {
            unpack: $unpack,
            two: $two,
            four: $four,
            two_rows: one_by_one!($two, u8),
            four_rows: one_by_one!($four, u8),
        }
    };
}

pub(super) const SCALAR: Table = table!(scalar::unpack, scalar::two, scalar::four);
#[cfg(target_arch = "x86_64")]
pub(super) const AVX2: Table = table!(avx2::unpack, avx2::two, avx2::four);
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512: Table = Table {
    unpack: avx512::unpack,
    two: avx512::two,
    four: avx512::four,
    two_rows: avx512::two_rows,
    four_rows: avx512::four_rows,
};
#[cfg(target_arch = "aarch64")]
pub(super) const NEON: Table = table!(scalar::unpack, neon::two, neon::four);
#[cfg(target_arch = "aarch64")]
pub(super) const NEON_DOTPROD: Table = table!(scalar::unpack, neon::two_by_sdot, neon::four_by_sdot);

impl Kernels {
    /// Writes the inner product of each of `out.len()` rows of 2- or 4-bit levels with `query`, whose length
    /// is the dimension.
    ///
    /// # Panics
    /// When `bits` is neither 2 nor 4, the dimension is no multiple of 64, `codes` is not
    /// `out.len() * dim * bits / 8` long, or the query holds -128.
    #[inline]
    pub fn dot_levels(&self, codes: &[u8], bits: usize, query: &[i8], out: &mut [i32]) {
        assert!(bits == 2 || bits == 4);
        assert!(!query.is_empty() && query.len().is_multiple_of(GROUP));
        assert_eq!(codes.len(), out.len() * (query.len() * bits / 8));
        debug_assert!(!query.contains(&i8::MIN));
        let kernel = if bits == 2 { self.levels.two } else { self.levels.four };
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { kernel(codes, query, out) }
    }

    /// Writes `2 * level - 15` for each level of 4-bit codes.
    ///
    /// # Panics
    /// When `codes` is not whole groups, or `odd` not twice as long.
    #[inline]
    pub fn unpack_levels(&self, codes: &[u8], odd: &mut [i8]) {
        assert!(codes.len().is_multiple_of(GROUP / 2) && odd.len() == 2 * codes.len());
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.levels.unpack)(codes, odd) }
    }

    /// The same for listed rows at any places: writes to `out[i]` the product of row `rows[i]`, whose code begins at
    /// byte `rows[i] * stride` of `codes`. Asks for the rows ahead while it multiplies.
    ///
    /// # Panics
    /// As [`Kernels::dot_levels`], but for `codes`: when a row's code does not lie inside it; and when `out` is not
    /// as long as `rows`.
    #[inline]
    pub fn dot_levels_rows(
        &self,
        codes: &[u8],
        stride: usize,
        bits: usize,
        query: &[i8],
        rows: &[u32],
        out: &mut [i32],
    ) {
        assert!(bits == 2 || bits == 4);
        assert!(!query.is_empty() && query.len().is_multiple_of(GROUP));
        assert_eq!(rows.len(), out.len());
        debug_assert!(!query.contains(&i8::MIN));
        let kernel = if bits == 2 { self.levels.two_rows } else { self.levels.four_rows };
        let list = Gather::new(codes, stride, query.len() * bits / 8, rows);
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { kernel(list, query, out) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Guarded, Rng};
    use super::*;

    fn naive(code: &[u8], bits: usize, query: &[i8]) -> i32 {
        let group_bytes = GROUP * bits / 8;
        let level = |i: usize| {
            let (group, within) = (i / GROUP, i % GROUP);
            let byte = code[group * group_bytes + within % group_bytes];
            i32::from(byte >> (within / group_bytes * bits)) & ((1 << bits) - 1)
        };
        query.iter().enumerate().map(|(i, q)| level(i) * i32::from(*q)).sum()
    }

    #[test]
    fn every_table_sums_as_one_by_one() {
        let mut rng = Rng::new(11);
        for bits in [2, 4] {
            for dim in [64, 128, 192, 256, 320, 384, 1024, 8192] {
                for rows in [0, 1, 2, 3, 5, 9] {
                    let code_bytes = dim * bits / 8;
                    let codes: Vec<u8> = (0..rows * code_bytes).map(|_| rng.below(256) as u8).collect();
                    let query: Vec<i8> = (0..dim).map(|_| (rng.below(255) as i16 - 127) as i8).collect();
                    let (codes, query) = (Guarded::new(&codes), Guarded::new(&query));
                    let (codes, query) = (codes.slice(), query.slice());
                    let expected: Vec<i32> =
                        codes.chunks_exact(code_bytes).map(|code| naive(code, bits, query)).collect();
                    for kernels in Kernels::available() {
                        let mut out = vec![0; rows];
                        kernels.dot_levels(codes, bits, query, &mut out);
                        assert_eq!(out, expected, "{} bits {bits} dim {dim} rows {rows}", kernels.name);
                    }
                }
            }
        }
    }

    #[test]
    fn levels_unpack_to_odd_integers() {
        let mut rng = Rng::new(13);
        for groups in [0, 1, 2, 5, 16] {
            let codes = Guarded::new(&rng.bytes(groups * GROUP / 2));
            let level = |i: usize| {
                let mut unit = vec![0; groups * GROUP];
                unit[i] = 1;
                naive(codes.slice(), 4, &unit)
            };
            let expected: Vec<i8> = (0..groups * GROUP).map(|i| (2 * level(i) - 15) as i8).collect();
            for kernels in Kernels::available() {
                let mut odd = vec![99; groups * GROUP];
                kernels.unpack_levels(codes.slice(), &mut odd);
                assert_eq!(odd, expected, "{}, {groups} groups", kernels.name);
            }
        }
    }

    #[test]
    fn listed_rows_sum_as_rows_in_order() {
        let mut rng = Rng::new(12);
        for bits in [2, 4] {
            for (i, dim) in [64, 128, 192, 256, 320, 384, 512, 832, 1024].into_iter().enumerate() {
                for listed in [0, 1, 2, 3, 4, 5, 8, 11, 40] {
                    let code_bytes = dim * bits / 8;
                    let stride = code_bytes + [0, 8, 13][i % 3];
                    let codes = Guarded::new(&rng.bytes(29 * stride + code_bytes));
                    let query: Vec<i8> = (0..dim).map(|_| (rng.below(255) as i16 - 127) as i8).collect();
                    let query = Guarded::new(&query);
                    let rows: Vec<u32> = (0..listed).map(|_| rng.below(30) as u32).collect();
                    let code = |row: &u32| &codes.slice()[*row as usize * stride..][..code_bytes];
                    let expected: Vec<i32> =
                        rows.iter().map(|row| naive(code(row), bits, query.slice())).collect();
                    for kernels in Kernels::available() {
                        let mut out = vec![0; listed];
                        kernels.dot_levels_rows(codes.slice(), stride, bits, query.slice(), &rows, &mut out);
                        assert_eq!(out, expected, "{} bits {bits} dim {dim} rows {rows:?}", kernels.name);
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        for bits in [2usize, 4] {
            for (sign, dim) in [(127i8, 65_536), (-127, 65_536), (127, 65_472), (-127, 65_408)] {
                let codes = vec![0xffu8; dim * bits / 8];
                let query = vec![sign; dim];
                for kernels in Kernels::available() {
                    let mut out = [0];
                    kernels.dot_levels(&codes, bits, &query, &mut out);
                    let expected = dim as i32 * ((1 << bits) - 1) * i32::from(sign);
                    assert_eq!(out[0], expected, "{} bits {bits}", kernels.name);
                }
            }
        }
    }
}
