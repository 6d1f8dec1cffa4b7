//! 256-bit loads, stores and sums.
//!
//! Every function needs AVX2 and is therefore callable without `unsafe` only from functions that have it.

use std::arch::x86_64::*;

use super::padded;

#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn load_bytes(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Fewer than four 64-bit words, and zeros.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn load_words(words: &[u8]) -> __m256i {
    let count = _mm256_set1_epi64x((words.len() / 8) as i64);
    let mask = _mm256_cmpgt_epi64(count, _mm256_setr_epi64x(0, 1, 2, 3));
    // SAFETY: the words under the mask are those of the slice; others are not accessed.
    unsafe { _mm256_maskload_epi64(words.as_ptr().cast(), mask) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn load_i8(bytes: &[i8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Stores to exactly 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn store_bytes(bytes: &mut [u8], value: __m256i) {
    assert!(bytes.len() == 32);
    // SAFETY: the slice is of 32 writable bytes; the store asks for no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
}

/// Stores to exactly 8 lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn store_u32(lanes: &mut [u32], value: __m256i) {
    assert!(lanes.len() == 8);
    // SAFETY: the slice is of 8 writable u32; the store asks for no alignment.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn load_f32(lanes: &[f32; 8]) -> __m256 {
    // SAFETY: the reference is to 8 readable f32; the load asks for no alignment.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn store_f32(lanes: &mut [f32; 8], value: __m256) {
    // SAFETY: the reference is to 8 writable f32; the store asks for no alignment.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), value) }
}

/// Eight f16 bit patterns, widened.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::kernels) fn load_f16(lanes: &[u16; 8]) -> __m256 {
    // SAFETY: the reference is to 16 readable bytes; the load asks for no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(lanes.as_ptr().cast()) })
}

/// Eight bytes, widened.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn load_u8(lanes: &[u8; 8]) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*lanes))))
}

/// Fewer than eight floats, and zeros.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn load_f32_rest(lanes: &[f32]) -> __m256 {
    let count = _mm256_set1_epi32(lanes.len() as i32);
    let mask = _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    // SAFETY: the lanes under the mask are those of the slice; others are not accessed.
    unsafe { _mm256_maskload_ps(lanes.as_ptr(), mask) }
}

/// Fewer than eight f16 bit patterns, and zeros, widened.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(in crate::kernels) fn load_f16_rest(lanes: &[u16]) -> __m256 {
    load_f16(&padded(lanes))
}

/// Fewer than eight bytes, and zeros, widened.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn load_u8_rest(lanes: &[u8]) -> __m256 {
    load_u8(&padded(lanes))
}

/// The sum of four 64-bit lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn sum_u64(value: __m256i) -> u64 {
    let pair = _mm_add_epi64(_mm256_castsi256_si128(value), _mm256_extracti128_si256::<1>(value));
    _mm_cvtsi128_si64(_mm_add_epi64(pair, _mm_unpackhi_epi64(pair, pair))) as u64
}

/// The sum of eight 32-bit lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn sum_i32(value: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256::<1>(value));
    let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}
