//! The steps compiled for AVX-512; planes by `VPTESTMB`, which gathers a bit of 64 bytes.

use std::arch::x86_64::*;

use super::{compiled_for, scalar};
use crate::kernels::vector::avx512::load_i8;

compiled_for!("avx512f,avx512bw,avx512dq,avx512vl");

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn pack(odd: &[i8], bits: usize, planes: &mut [u8]) {
    let limit = _mm512_set1_epi8(((1u32 << bits) - 1) as i8);
    let (chunks, _) = odd.as_chunks::<64>();
    let plane_bytes = odd.len() / 8;
    for (c, chunk) in chunks.iter().enumerate() {
        let doubled = _mm512_add_epi8(load_i8(chunk), limit);
        for plane in 0..bits {
            let word = _mm512_test_epi8_mask(doubled, _mm512_set1_epi8((2u8 << plane) as i8));
            planes[plane * plane_bytes + 8 * c..][..8].copy_from_slice(&word.to_le_bytes());
        }
    }
    scalar::pack_from(8 * chunks.len(), odd, bits, planes);
}
