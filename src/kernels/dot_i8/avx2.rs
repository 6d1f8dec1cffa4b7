//! Inner products of signed bytes by `VPMADDUBSW`, which wants one side unsigned: |query| times the row with the
//! query's sign. Two products of at most 127^2 fit its signed 16 bits, so it never saturates.
//!
//! One row after the other: four side by side are 6 % faster from cache and four times slower from memory, where the
//! hardware's prefetch does not follow them.

use std::arch::x86_64::*;

use crate::kernels::vector::{avx2::*, padded};

#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn dot(rows: &[i8], query: &[i8], out: &mut [i32]) {
    for (row, out) in rows.chunks_exact(query.len()).zip(out) {
        *out = dot_row(row, query);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot_row(row: &[i8], query: &[i8]) -> i32 {
    let (blocks, tail) = query.as_chunks::<32>();
    let (row_blocks, row_tail) = row.as_chunks::<32>();
    let mut sum = _mm256_setzero_si256();
    for (query, row) in blocks.iter().zip(row_blocks) {
        sum = add_products(sum, load_i8(query), load_i8(row));
    }
    if !tail.is_empty() {
        sum = add_products(sum, load_i8(&padded(tail)), load_i8(&padded(row_tail)));
    }
    sum_i32(sum)
}

/// `sum` plus the products of 32 bytes, four to a lane.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(sum: __m256i, query: __m256i, row: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(query), _mm256_sign_epi8(row, query));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}
