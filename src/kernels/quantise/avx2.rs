//! The steps compiled for AVX2; planes by `VPMOVMSKB`, which gathers the top bits of 32 bytes.

use std::arch::x86_64::*;

use super::{compiled_for, scalar};
use crate::kernels::vector::avx2::load_i8;

compiled_for!("avx2");

#[target_feature(enable = "avx2")]
pub(super) fn pack(odd: &[i8], bits: usize, planes: &mut [u8]) {
    let limit = _mm256_set1_epi8(((1u32 << bits) - 1) as i8);
    let (chunks, _) = odd.as_chunks::<32>();
    let plane_bytes = odd.len() / 8;
    for (c, chunk) in chunks.iter().enumerate() {
        // Twice the level: even, so that its bits stay inside the byte until the highest is at the top.
        let mut doubled = _mm256_add_epi8(load_i8(chunk), limit);
        doubled = _mm256_sll_epi16(doubled, _mm_cvtsi64_si128(7 - bits as i64));
        for plane in (0..bits).rev() {
            let word = _mm256_movemask_epi8(doubled) as u32;
            planes[plane * plane_bytes + 4 * c..][..4].copy_from_slice(&word.to_le_bytes());
            doubled = _mm256_add_epi8(doubled, doubled);
        }
    }
    scalar::pack_from(4 * chunks.len(), odd, bits, planes);
}
