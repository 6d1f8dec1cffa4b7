//! Hamming distance by 64-bit words: the oracle, and the table of last resort.

#[inline]
pub(in crate::kernels) fn hamming(a: &[u8], b: &[u8]) -> u64 {
    let (a_words, a_tail) = a.as_chunks::<8>();
    let (b_words, b_tail) = b.as_chunks::<8>();
    let mut sum = 0;
    for (a, b) in a_words.iter().zip(b_words) {
        sum += u64::from((u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)).count_ones());
    }
    for (a, b) in a_tail.iter().zip(b_tail) {
        sum += u64::from((a ^ b).count_ones());
    }
    sum
}
