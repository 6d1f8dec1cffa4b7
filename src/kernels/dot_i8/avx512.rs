//! Inner products of signed bytes by `VPDPBUSD`, which adds four products of unsigned and signed bytes to a 32-bit
//! lane. The row becomes unsigned by adding 128 (one XOR), which adds 128 times the sum of the query; that is taken
//! off at the end. Products of 255 * 128 and sums of four are exact, so no value saturates.

use std::arch::x86_64::*;

use crate::kernels::vector::avx512::*;

/// Rows that share one pass over the query.
const TILE: usize = 4;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn dot(rows: &[i8], query: &[i8], out: &mut [i32]) {
    let dim = query.len();
    let excess = excess(query);
    let (tiles, rest) = out.as_chunks_mut::<TILE>();
    let (tile_rows, rest_rows) = rows.split_at(tiles.len() * TILE * dim);
    for (rows, out) in tile_rows.chunks_exact(TILE * dim).zip(tiles) {
        *out = dot_rows(rows, query, excess);
    }
    for (row, out) in rest_rows.chunks_exact(dim).zip(rest) {
        [*out] = dot_rows(row, query, excess);
    }
}

/// 128 times the sum of the query.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn excess(query: &[i8]) -> i32 {
    let (blocks, tail) = query.as_chunks::<64>();
    let all_128 = _mm512_set1_epi8(-128);
    let mut sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), all_128, load_i8_rest(tail));
    for block in blocks {
        sum = _mm512_dpbusd_epi32(sum, all_128, load_i8(block));
    }
    _mm512_reduce_add_epi32(sum)
}

/// The inner products of `N` rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_rows<const N: usize>(rows: &[i8], query: &[i8], excess: i32) -> [i32; N] {
    let dim = query.len();
    let (blocks, tail) = query.as_chunks::<64>();
    let rows: [&[i8]; N] = std::array::from_fn(|r| &rows[r * dim..][..dim]);
    let row_blocks: [&[[i8; 64]]; N] = rows.map(|row| &row.as_chunks::<64>().0[..blocks.len()]);
    let flip = _mm512_set1_epi8(-128);
    let mut sums = [_mm512_setzero_si512(); N];
    for (i, block) in blocks.iter().enumerate() {
        let query = load_i8(block);
        for r in 0..N {
            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_xor_si512(load_i8(&row_blocks[r][i]), flip), query);
        }
    }
    // Behind the end the query is zero, whatever the row becomes there.
    let query = load_i8_rest(tail);
    let mut out = [0; N];
    for r in 0..N {
        let row = _mm512_xor_si512(load_i8_rest(&rows[r][dim - tail.len()..]), flip);
        let sum = _mm512_dpbusd_epi32(sums[r], row, query);
        out[r] = _mm512_reduce_add_epi32(sum).wrapping_sub(excess);
    }
    out
}
