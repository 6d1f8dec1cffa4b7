//! Inner products of signed bytes by `VPDPBUSD`, which adds four products of unsigned and signed bytes to a 32-bit
//! lane. The row becomes unsigned by adding 128 (one XOR), which adds 128 times the sum of the query; that is taken
//! off at the end. Products of 255 * 128 and sums of four are exact, so no value saturates; sums of more wrap, and
//! wrap back. The loop is that of `levels`, with codes of eight bits.

use std::arch::x86_64::*;

use crate::kernels::gather::Gather;
use crate::kernels::levels::avx512::{block, listed};
use crate::kernels::vector::avx512::*;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn dot(rows: &[i8], query: &[i8], out: &mut [i32]) {
    block::<8, 1>(bytemuck::cast_slice(rows), query, out);
    take_off(excess(query), out);
}

/// The same for listed rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn dot_rows(list: Gather, query: &[i8], out: &mut [i32]) {
    listed::<8, 1>(list, query, out);
    take_off(excess(query), out);
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

#[inline]
#[target_feature(enable = "avx512f")]
fn take_off(excess: i32, out: &mut [i32]) {
    out.iter_mut().for_each(|out| *out = out.wrapping_sub(excess));
}
