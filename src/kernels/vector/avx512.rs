//! 512-bit loads and stores, whole or of a part, and sums.
//!
//! Every function needs AVX-512 and is therefore callable without `unsafe` only from functions that have it. A masked
//! load does not access what its mask leaves out, so slices need no padding.

use std::arch::x86_64::*;

#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn load_bytes(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Up to 64 bytes, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(in crate::kernels) fn load_bytes_rest(bytes: &[u8]) -> __m512i {
    let mask = u64::MAX.checked_shr(64 - bytes.len().min(64) as u32).unwrap_or(0);
    // SAFETY: the bytes under the mask are those of the slice; others are not accessed.
    unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn load_i8(bytes: &[i8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Up to 64 bytes, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(in crate::kernels) fn load_i8_rest(bytes: &[i8]) -> __m512i {
    let mask = u64::MAX.checked_shr(64 - bytes.len().min(64) as u32).unwrap_or(0);
    // SAFETY: the bytes under the mask are those of the slice; others are not accessed.
    unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn load_f32(lanes: &[f32; 16]) -> __m512 {
    // SAFETY: the reference is to 16 readable f32; the load asks for no alignment.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn store_f32(lanes: &mut [f32; 16], value: __m512) {
    // SAFETY: the reference is to 16 writable f32; the store asks for no alignment.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), value) }
}

/// Sixteen bytes, widened.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn load_u8(lanes: &[u8; 16]) -> __m512 {
    // SAFETY: the reference is to 16 readable bytes; the load asks for no alignment.
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(lanes.as_ptr().cast()) }))
}

/// A bit for each lane that a slice of this length fills, at most 16.
#[inline(always)]
fn mask_16(length: usize) -> u16 {
    ((1u32 << length.min(16)) - 1) as u16
}

/// The first sixteen floats, or fewer and zeros.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn load_f32_rest(lanes: &[f32]) -> __m512 {
    // SAFETY: the lanes under the mask are those of the slice; others are not accessed.
    unsafe { _mm512_maskz_loadu_ps(mask_16(lanes.len()), lanes.as_ptr()) }
}

/// The first sixteen bytes, or fewer and zeros, widened.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) fn load_u8_rest(lanes: &[u8]) -> __m512 {
    // SAFETY: the lanes under the mask are those of the slice; others are not accessed.
    let bytes = unsafe { _mm_maskz_loadu_epi8(mask_16(lanes.len()), lanes.as_ptr().cast()) };
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
}

/// The sum of the sixteen 32-bit lanes of each of four registers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::kernels) fn sum_across(x: [__m512i; 4]) -> [i32; 4] {
    // Each quarter first becomes the sums of its pairs of lanes, then of all four, one register's in each lane.
    let pair = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (ab, cd) = (pair(x[0], x[1]), pair(x[2], x[3]));
    let all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
    let mut out = [0; 4];
    // SAFETY: the reference is to 4 writable i32; the store asks for no alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sums) };
    out
}
