//! Hamming distance by table look-up: `VPSHUFB` counts the bits of 32 nibbles at a time (Mula's method).

use std::arch::x86_64::*;

use super::scalar;
use crate::kernels::vector::avx2::*;

/// The bits set in each value of a nibble.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn nibble_counts() -> __m256i {
    _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4))
}

/// The number of bits set in each byte.
#[inline]
#[target_feature(enable = "avx2")]
fn popcount_bytes(value: __m256i) -> __m256i {
    let (counts, nibble) = (nibble_counts(), _mm256_set1_epi8(15));
    let low = _mm256_shuffle_epi8(counts, _mm256_and_si256(value, nibble));
    let high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16::<4>(value), nibble));
    _mm256_add_epi8(low, high)
}

#[target_feature(enable = "avx2,popcnt")]
pub(in crate::kernels) fn hamming(a: &[u8], b: &[u8]) -> u64 {
    let (a_blocks, a_tail) = a.as_chunks::<32>();
    let (b_blocks, b_tail) = b.as_chunks::<32>();
    let mut sum = _mm256_setzero_si256();
    // A block adds at most 8 to a byte, so 31 of them fit before the bytes are summed up.
    for (a, b) in a_blocks.chunks(31).zip(b_blocks.chunks(31)) {
        let mut bytes = _mm256_setzero_si256();
        for (a, b) in a.iter().zip(b) {
            bytes = _mm256_add_epi8(bytes, popcount_bytes(_mm256_xor_si256(load_bytes(a), load_bytes(b))));
        }
        sum = _mm256_add_epi64(sum, _mm256_sad_epu8(bytes, _mm256_setzero_si256()));
    }
    sum_u64(sum) + scalar::hamming(a_tail, b_tail)
}
