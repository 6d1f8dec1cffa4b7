//! Inner products of signed bytes by `VPMADDUBSW`, which wants one side unsigned: |query| times the row with the
//! query's sign. Two products of at most 127^2 fit its signed 16 bits, so it never saturates.

use std::arch::x86_64::*;

use crate::kernels::vector::{avx2::*, padded};

/// Rows that share one pass over the query.
const TILE: usize = 4;

#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn dot(rows: &[i8], query: &[i8], out: &mut [i32]) {
    let dim = query.len();
    let (tiles, rest) = out.as_chunks_mut::<TILE>();
    let (tile_rows, rest_rows) = rows.split_at(tiles.len() * TILE * dim);
    for (rows, out) in tile_rows.chunks_exact(TILE * dim).zip(tiles) {
        *out = dot_rows(rows, query);
    }
    for (row, out) in rest_rows.chunks_exact(dim).zip(rest) {
        [*out] = dot_rows(row, query);
    }
}

/// The inner products of `N` rows.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_rows<const N: usize>(rows: &[i8], query: &[i8]) -> [i32; N] {
    let dim = query.len();
    let mut sums = [_mm256_setzero_si256(); N];
    let (blocks, tail) = query.as_chunks::<32>();
    let rows: [&[i8]; N] = std::array::from_fn(|r| &rows[r * dim..][..dim]);
    let row_blocks: [&[[i8; 32]]; N] = rows.map(|row| &row.as_chunks::<32>().0[..blocks.len()]);
    for (i, block) in blocks.iter().enumerate() {
        let query = load_i8(block);
        for (sum, row) in sums.iter_mut().zip(&row_blocks) {
            *sum = add_products(*sum, query, load_i8(&row[i]));
        }
    }
    if !tail.is_empty() {
        let query = load_i8(&padded(tail));
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = add_products(*sum, query, load_i8(&padded(&row[dim - tail.len()..])));
        }
    }
    let mut out = [0; N];
    for r in 0..N {
        out[r] = sum_i32(sums[r]);
    }
    out
}

/// `sum` plus the products of 32 bytes, four to a lane.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(sum: __m256i, query: __m256i, row: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(query), _mm256_sign_epi8(row, query));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}
