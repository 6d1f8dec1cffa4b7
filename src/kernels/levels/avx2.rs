//! A group at a time: shift, mask, `VPMADDUBSW` of unsigned levels with the signed query.
//!
//! `VPMADDUBSW` adds two products in 16 bits: at most 2 * 15 * 127 = 3,810 for four bits and 762 for two. A lane
//! takes two of them a group, so as many groups as stay below 32,767 are added up before they are widened.

use std::arch::x86_64::*;

use super::GROUP;
use crate::kernels::vector::avx2::{load_i8, sum_i32};

/// Groups that are added up in 16 bits: 8 * 3,810 and 16 * 762.
const GROUPS_FOUR: usize = 4;
const GROUPS_TWO: usize = 8;

#[target_feature(enable = "avx2")]
pub(super) fn four(codes: &[u8], query: &[i8], out: &mut [i32]) {
    let mask = _mm256_set1_epi8(0x0f);
    for (code, out) in codes.chunks_exact(query.len() / 2).zip(out) {
        let mut sum = _mm256_setzero_si256();
        let groups = code.chunks(GROUPS_FOUR * GROUP / 2).zip(query.chunks(GROUPS_FOUR * GROUP));
        for (code, query) in groups {
            let mut pairs = _mm256_setzero_si256();
            let (code, query) = (code.as_chunks::<{ GROUP / 2 }>().0, query.as_chunks::<GROUP>().0);
            for (code, query) in code.iter().zip(query) {
                // SAFETY: the reference is to 32 readable bytes; the load asks for no alignment.
                let levels = unsafe { _mm256_loadu_si256(code.as_ptr().cast()) };
                let low = _mm256_and_si256(levels, mask);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(levels), mask);
                pairs = add_products(pairs, low, high, query);
            }
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
        *out = sum_i32(sum);
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn two(codes: &[u8], query: &[i8], out: &mut [i32]) {
    let mask = _mm256_set1_epi8(0x03);
    // The upper half of a register holds the next field.
    let shifts = _mm256_setr_epi64x(0, 0, 2, 2);
    for (code, out) in codes.chunks_exact(query.len() / 4).zip(out) {
        let mut sum = _mm256_setzero_si256();
        for (code, query) in code.chunks(GROUPS_TWO * GROUP / 4).zip(query.chunks(GROUPS_TWO * GROUP)) {
            let mut pairs = _mm256_setzero_si256();
            let (code, query) = (code.as_chunks::<{ GROUP / 4 }>().0, query.as_chunks::<GROUP>().0);
            for (code, query) in code.iter().zip(query) {
                // SAFETY: the reference is to 16 readable bytes; the load asks for no alignment.
                let group = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(code.as_ptr().cast()) });
                let fields = _mm256_srlv_epi64(group, shifts);
                let low = _mm256_and_si256(fields, mask);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(fields), mask);
                pairs = add_products(pairs, low, high, query);
            }
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
        *out = sum_i32(sum);
    }
}

/// `pairs` plus the products of the levels of a group's halves, two to a lane of each half.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(pairs: __m256i, low: __m256i, high: __m256i, query: &[i8; GROUP]) -> __m256i {
    let (query, _) = query.as_chunks::<32>();
    let low = _mm256_maddubs_epi16(low, load_i8(&query[0]));
    let high = _mm256_maddubs_epi16(high, load_i8(&query[1]));
    _mm256_add_epi16(pairs, _mm256_add_epi16(low, high))
}

/// The scalar loops, compiled with more of the CPU.
#[target_feature(enable = "avx2")]
pub(super) fn unpack(codes: &[u8], odd: &mut [i8]) {
    super::scalar::unpack(codes, odd);
}
