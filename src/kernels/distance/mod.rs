//! Exact distances between a stored row (f32, f16 or u8) and an f32 query.
//!
//! ```text
//! l2(row, query)       = sum (row[i] - query[i])^2
//! dot(row, query)      = sum row[i] * query[i]
//! dot_norm(row, query) = (sum row[i] * query[i], sum row[i] * row[i])
//! ```
//!
//! In: slices of one length, any length; f16 as bit patterns. Out: f32.
//!
//! **The reduction contract: the same bits on every table.** Rounding makes a sum of floats depend on its order,
//! so the order is fixed, whatever the registers' width:
//! 1. the row is widened to f32, which is exact;
//! 2. 64 lanes start at zero; lane `i` adds the terms of elements `i`, `i + 64`, `i + 128`, ... in this order;
//!    each term is rounded before it is added (no fused multiply-add);
//! 3. the last, shorter group counts as padded with zeros;
//! 4. the lanes are added by halves: lane `i` takes lane `i + 32` for all `i < 32`, then `i + 16` for `i < 16`, and
//!    so on with 8, 4, 2, 1; lane 0 is the sum.
//!
//! So a distance is the same in a single search and a batch, in an index built on one machine and read on another,
//! and equal distances tie everywhere. The 64 lanes also keep the error small: it grows with `dim / 64`.
//! The loss against fused operations is nothing where memory is the limit, as it is for rows that are reranked.
//!
//! | cycles a row, 1024 dimensions | scalar (SSE2) | AVX2 | AVX-512 | NEON |
//! |---|---|---|---|---|
//! | `l2`, `dot`, f32: two loads a register | 256 | 128 | 64 | 256 |
//! | the same, f16: and one conversion | 1,500 | 128 | 64 | 256 |
//! | the same, u8: and two conversions | 700 | 160 | 80 | 320 |
//! | `dot_norm` | + 50 % | + 10 % | + 0 % | + 10 % |
//! | measured, Zen 3, AVX2: ns, rows in cache but not aligned | | 69 (f32), 65 (f16), 80 (u8), 74 (`dot_norm`) | | |
//! | Zen 4: ns, AVX2, rows in cache, aligned | | 40-43 (f32), 40-54 (f16), 51-69 (u8) | | |
//! | Zen 4: ns, AVX-512 | | | 42 (f32 `l2`), 44-56 (u8) | |
//!
//! An f32 row of 4 KB takes 124 ns at 33 GB/s: from memory all of them wait.

use super::Kernels;

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

/// Partial sums of the contract.
const LANES: usize = 64;

/// What the functions for one type of row look like.
pub(super) struct RowTable<T> {
    l2: unsafe fn(&[T], &[f32]) -> f32,
    dot: unsafe fn(&[T], &[f32]) -> f32,
    dot_norm: unsafe fn(&[T], &[f32]) -> (f32, f32),
}

/// One instruction set's functions.
pub(super) struct Table {
    f32: RowTable<f32>,
    f16: RowTable<u16>,
    u8: RowTable<u8>,
}

/// The table of a module that has `f32`, `f16` and `u8` modules.
macro_rules! table {
    ($isa:ident) => {
        Table {
            f32: RowTable { l2: $isa::f32::l2, dot: $isa::f32::dot, dot_norm: $isa::f32::dot_norm },
            f16: RowTable { l2: $isa::f16::l2, dot: $isa::f16::dot, dot_norm: $isa::f16::dot_norm },
            u8: RowTable { l2: $isa::u8::l2, dot: $isa::u8::dot, dot_norm: $isa::u8::dot_norm },
        }
    };
}

pub(super) const SCALAR: Table = table!(scalar);
#[cfg(target_arch = "x86_64")]
pub(super) const AVX2: Table = table!(avx2);
#[cfg(target_arch = "x86_64")]
// Chosen by measurement on Zen 4, rows in cache: there AVX2 is 5 % faster for `dot` of f32, and for f16 by 4 % (`l2`)
// to 15 %, since the conversion is divided anyway.
pub(super) const AVX512: Table = Table {
    f32: RowTable { l2: avx512::f32::l2, dot: avx2::f32::dot, dot_norm: avx512::f32::dot_norm },
    f16: RowTable { l2: avx2::f16::l2, dot: avx2::f16::dot, dot_norm: avx2::f16::dot_norm },
    u8: RowTable { l2: avx512::u8::l2, dot: avx512::u8::dot, dot_norm: avx512::u8::dot_norm },
};
#[cfg(target_arch = "aarch64")]
pub(super) const NEON: Table = table!(neon);

impl<T> RowTable<T> {
    #[inline]
    fn l2(&self, row: &[T], query: &[f32]) -> f32 {
        assert_eq!(row.len(), query.len());
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.l2)(row, query) }
    }

    #[inline]
    fn dot(&self, row: &[T], query: &[f32]) -> f32 {
        assert_eq!(row.len(), query.len());
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.dot)(row, query) }
    }

    #[inline]
    fn dot_norm(&self, row: &[T], query: &[f32]) -> (f32, f32) {
        assert_eq!(row.len(), query.len());
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.dot_norm)(row, query) }
    }
}

/// All of these panic when the lengths of row and query differ.
impl Kernels {
    /// Squared L2 distance of an f32 row.
    #[inline]
    pub fn l2_f32(&self, row: &[f32], query: &[f32]) -> f32 {
        self.distance.f32.l2(row, query)
    }

    /// Inner product with an f32 row.
    #[inline]
    pub fn dot_f32(&self, row: &[f32], query: &[f32]) -> f32 {
        self.distance.f32.dot(row, query)
    }

    /// Inner product with an f32 row, and the row's with itself.
    #[inline]
    pub fn dot_norm_f32(&self, row: &[f32], query: &[f32]) -> (f32, f32) {
        self.distance.f32.dot_norm(row, query)
    }

    /// Squared L2 distance of an f16 row, given as bit patterns.
    #[inline]
    pub fn l2_f16(&self, row: &[u16], query: &[f32]) -> f32 {
        self.distance.f16.l2(row, query)
    }

    /// Inner product with an f16 row, given as bit patterns.
    #[inline]
    pub fn dot_f16(&self, row: &[u16], query: &[f32]) -> f32 {
        self.distance.f16.dot(row, query)
    }

    /// Inner product with an f16 row, given as bit patterns, and the row's with itself.
    #[inline]
    pub fn dot_norm_f16(&self, row: &[u16], query: &[f32]) -> (f32, f32) {
        self.distance.f16.dot_norm(row, query)
    }

    /// Squared L2 distance of a u8 row.
    #[inline]
    pub fn l2_u8(&self, row: &[u8], query: &[f32]) -> f32 {
        self.distance.u8.l2(row, query)
    }

    /// Inner product with a u8 row.
    #[inline]
    pub fn dot_u8(&self, row: &[u8], query: &[f32]) -> f32 {
        self.distance.u8.dot(row, query)
    }

    /// Inner product with a u8 row, and the row's with itself.
    #[inline]
    pub fn dot_norm_u8(&self, row: &[u8], query: &[f32]) -> (f32, f32) {
        self.distance.u8.dot_norm(row, query)
    }
}

#[cfg(test)]
mod tests;
