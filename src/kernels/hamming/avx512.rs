//! Hamming distance by `VPOPCNTQ`, 64 bytes at a time.

use std::arch::x86_64::*;

use crate::kernels::vector::avx512::*;

#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
pub(in crate::kernels) fn hamming(a: &[u8], b: &[u8]) -> u64 {
    let (a_blocks, a_tail) = a.as_chunks::<64>();
    let (b_blocks, b_tail) = b.as_chunks::<64>();
    let mut sum = _mm512_popcnt_epi64(_mm512_xor_si512(load_bytes_rest(a_tail), load_bytes_rest(b_tail)));
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        let differ = _mm512_xor_si512(load_bytes(a), load_bytes(b));
        sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(differ));
    }
    _mm512_reduce_add_epi64(sum) as u64
}
