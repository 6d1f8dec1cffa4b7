//! Hamming distance by `CNT`, which counts the bits of each byte.

use std::arch::aarch64::*;

use super::scalar;
use crate::kernels::vector::neon::*;

#[target_feature(enable = "neon")]
pub(in crate::kernels) fn hamming(a: &[u8], b: &[u8]) -> u64 {
    let (a_blocks, a_tail) = a.as_chunks::<16>();
    let (b_blocks, b_tail) = b.as_chunks::<16>();
    let mut sum = scalar::hamming(a_tail, b_tail);
    // A block adds at most 8 to a byte, so 31 of them fit before the bytes are summed up.
    for (a, b) in a_blocks.chunks(31).zip(b_blocks.chunks(31)) {
        let mut bytes = vdupq_n_u8(0);
        for (a, b) in a.iter().zip(b) {
            bytes = vaddq_u8(bytes, vcntq_u8(veorq_u8(load_bytes(a), load_bytes(b))));
        }
        sum += u64::from(vaddlvq_u8(bytes));
    }
    sum
}
