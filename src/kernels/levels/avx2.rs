//! 32 bytes of codes at a time: shift, mask, multiply-add of unsigned levels with the signed query.
//!
//! `vpmaddubsw` adds two products in 16 bits: at most 2 * 15 * 127 = 3,810, so the four of a load stay below 32,767
//! and are widened to 32 bits once.

use super::GROUP;
use std::arch::x86_64::*;

#[target_feature(enable = "avx2")]
pub(super) fn four(codes: &[u8], query: &[i8], out: &mut [i32]) {
    let mask = _mm256_set1_epi8(0x0f);
    let ones = _mm256_set1_epi16(1);
    for (code, out) in codes.chunks_exact(query.len() / 2).zip(out) {
        let mut sum = _mm256_setzero_si256();
        for (group, query) in code.chunks_exact(GROUP / 2).zip(query.chunks_exact(GROUP)) {
            // SAFETY: `group` has 32 bytes and `query` 64, by `chunks_exact`; the loads need no alignment.
            let (levels, low_query, high_query) = unsafe {
                (
                    _mm256_loadu_si256(group.as_ptr().cast()),
                    _mm256_loadu_si256(query.as_ptr().cast()),
                    _mm256_loadu_si256(query.as_ptr().add(32).cast()),
                )
            };
            let low = _mm256_and_si256(levels, mask);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(levels), mask);
            let pairs = _mm256_add_epi16(
                _mm256_maddubs_epi16(low, low_query),
                _mm256_maddubs_epi16(high, high_query),
            );
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
        }
        *out = horizontal(sum);
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn two(codes: &[u8], query: &[i8], out: &mut [i32]) {
    let mask = _mm256_set1_epi8(0x03);
    let ones = _mm256_set1_epi16(1);
    for (code, out) in codes.chunks_exact(query.len() / 4).zip(out) {
        let mut sum = _mm256_setzero_si256();
        // Two groups a load; a last one alone has zeros above it.
        for (groups, query) in code.chunks(GROUP / 2).zip(query.chunks(2 * GROUP)) {
            let levels = two_halves(groups, 0, GROUP / 4);
            let fields = [
                levels,
                _mm256_srli_epi16::<2>(levels),
                _mm256_srli_epi16::<4>(levels),
                _mm256_srli_epi16::<6>(levels),
            ];
            let mut pairs = _mm256_setzero_si256();
            for (field, levels) in fields.into_iter().enumerate() {
                let query = two_halves(bytemuck::cast_slice(query), field * 16, GROUP);
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(_mm256_and_si256(levels, mask), query));
            }
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
        }
        *out = horizontal(sum);
    }
}

/// 16 bytes at `first`, and above them 16 at `first + apart`, or zeros where the slice has ended by then.
#[inline]
#[target_feature(enable = "avx2")]
fn two_halves(bytes: &[u8], first: usize, apart: usize) -> __m256i {
    let half = |at: usize| match bytes.get(at..at + 16) {
        // SAFETY: the slice has 16 bytes; the load needs no alignment.
        Some(half) => unsafe { _mm_loadu_si128(half.as_ptr().cast()) },
        None => _mm_setzero_si128(),
    };
    _mm256_set_m128i(half(first + apart), half(first))
}

#[inline]
#[target_feature(enable = "avx2")]
fn horizontal(sum: __m256i) -> i32 {
    let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
    let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
    _mm_cvtsi128_si32(sum)
}
