//! A group of 64 dimensions at a time: its code is repeated in the quarters or halves of a register, each shifted to
//! its own field, and `VPDPBUSD` adds the products of unsigned levels and signed query, four to a lane, exactly.

use std::arch::x86_64::*;

use super::GROUP;
use crate::kernels::vector::avx512::load_i8;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn four(codes: &[u8], query: &[i8], out: &mut [i32]) {
    let shifts = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4);
    let (query, _) = query.as_chunks::<GROUP>();
    for (code, out) in codes.chunks_exact(query.len() * GROUP / 2).zip(out) {
        let mut sum = _mm512_setzero_si512();
        for (group, query) in code.as_chunks::<{ GROUP / 2 }>().0.iter().zip(query) {
            // SAFETY: the reference is to 32 readable bytes; the load asks for no alignment.
            let group = unsafe { _mm256_loadu_si256(group.as_ptr().cast()) };
            let fields = _mm512_srlv_epi64(_mm512_broadcast_i64x4(group), shifts);
            let levels = _mm512_and_si512(fields, _mm512_set1_epi8(0x0f));
            sum = _mm512_dpbusd_epi32(sum, levels, load_i8(query));
        }
        *out = _mm512_reduce_add_epi32(sum);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn two(codes: &[u8], query: &[i8], out: &mut [i32]) {
    let shifts = _mm512_setr_epi64(0, 0, 2, 2, 4, 4, 6, 6);
    let (query, _) = query.as_chunks::<GROUP>();
    for (code, out) in codes.chunks_exact(query.len() * GROUP / 4).zip(out) {
        let mut sum = _mm512_setzero_si512();
        for (group, query) in code.as_chunks::<{ GROUP / 4 }>().0.iter().zip(query) {
            // SAFETY: the reference is to 16 readable bytes; the load asks for no alignment.
            let group = unsafe { _mm_loadu_si128(group.as_ptr().cast()) };
            let fields = _mm512_srlv_epi64(_mm512_broadcast_i32x4(group), shifts);
            let levels = _mm512_and_si512(fields, _mm512_set1_epi8(0x03));
            sum = _mm512_dpbusd_epi32(sum, levels, load_i8(query));
        }
        *out = _mm512_reduce_add_epi32(sum);
    }
}
