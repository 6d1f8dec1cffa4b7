//! Inner products of signed bytes by `VPDPBUSD`, which adds four products of unsigned and signed bytes to a 32-bit
//! lane. The row becomes unsigned by adding 128 (one XOR), which adds 128 times the sum of the query; that is taken
//! off at the end. Products of 255 * 128 and sums of four are exact, so no value saturates.

use std::arch::x86_64::*;

use crate::kernels::gather::Gather;
use crate::kernels::vector::avx512::*;

/// Rows that share one pass over the query.
const TILE: usize = 4;

/// Bytes of a register.
const CHUNK: usize = 64;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn dot(rows: &[i8], query: &[i8], out: &mut [i32]) {
    assert!(rows.len() == out.len() * query.len());
    // SAFETY: each is a row.
    unsafe { dot_places(|r| rows.as_ptr().add(r * query.len()), query, out) }
}

/// The same for listed rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn dot_rows(list: Gather, query: &[i8], out: &mut [i32]) {
    assert!(list.len() == out.len() && list.row_bytes() == query.len());
    list.ask_first();
    // SAFETY: each is a row.
    unsafe { dot_places(|r| list.next(r).as_ptr().cast(), query, out) }
}

/// Writes the inner products of rows.
///
/// # Safety
/// `place` points to a row, for each place in `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn dot_places(place: impl Fn(usize) -> *const i8, query: &[i8], out: &mut [i32]) {
    let excess = excess(query);
    let (tiles, rest) = out.as_chunks_mut::<TILE>();
    for (i, out) in tiles.iter_mut().enumerate() {
        let r = i * TILE;
        // SAFETY: as promised by the caller.
        let sums = unsafe { sums([place(r), place(r + 1), place(r + 2), place(r + 3)], query) };
        *out = sum_across(sums).map(|sum| sum.wrapping_sub(excess));
    }
    for (i, out) in rest.iter_mut().enumerate() {
        // SAFETY: as promised by the caller.
        let [sum] = unsafe { sums([place(tiles.len() * TILE + i)], query) };
        *out = _mm512_reduce_add_epi32(sum).wrapping_sub(excess);
    }
}

/// 128 times the sum of the query.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn excess(query: &[i8]) -> i32 {
    let (blocks, tail) = query.as_chunks::<CHUNK>();
    let all_128 = _mm512_set1_epi8(-128);
    let mut sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), all_128, load_i8_rest(tail));
    for block in blocks {
        sum = _mm512_dpbusd_epi32(sum, all_128, load_i8(block));
    }
    _mm512_reduce_add_epi32(sum)
}

/// The inner products of `N` rows plus the excess, to be added across.
///
/// # Safety
/// `rows` point to as many bytes as the query has.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn sums<const N: usize>(rows: [*const i8; N], query: &[i8]) -> [__m512i; N] {
    let (blocks, tail) = query.as_chunks::<CHUNK>();
    let flip = _mm512_set1_epi8(-128);
    let mut sums = [_mm512_setzero_si512(); N];
    for (c, block) in blocks.iter().enumerate() {
        let query = load_i8(block);
        for r in 0..N {
            // SAFETY: as promised by the caller.
            let row = unsafe { _mm512_loadu_si512(rows[r].add(c * CHUNK).cast()) };
            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_xor_si512(row, flip), query);
        }
    }
    if !tail.is_empty() {
        // Behind the end the query is zero, whatever the row becomes there.
        let query = load_i8_rest(tail);
        for r in 0..N {
            // SAFETY: as promised by the caller.
            let row = load_i8_rest(unsafe {
                std::slice::from_raw_parts(rows[r].add(blocks.len() * CHUNK), tail.len())
            });
            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_xor_si512(row, flip), query);
        }
    }
    sums
}
