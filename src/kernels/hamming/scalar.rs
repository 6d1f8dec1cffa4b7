//! Hamming distance by 64-bit words: the oracle, and the table of last resort.

use crate::kernels::vector::padded;

pub(in crate::kernels) fn hamming(a: &[u8], b: &[u8]) -> u64 {
    let (a_words, a_tail) = a.as_chunks::<8>();
    let (b_words, b_tail) = b.as_chunks::<8>();
    let count =
        |a: [u8; 8], b: [u8; 8]| u64::from((u64::from_le_bytes(a) ^ u64::from_le_bytes(b)).count_ones());
    let words: u64 = a_words.iter().zip(b_words).map(|(&a, &b)| count(a, b)).sum();
    words + count(padded(a_tail), padded(b_tail))
}
