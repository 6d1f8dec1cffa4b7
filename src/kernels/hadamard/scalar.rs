//! Transform and signs in plain Rust: the oracle, written so that the compiler may vectorise it.

pub(in crate::kernels) fn hadamard(values: &mut [f32]) {
    let mut h = 1;
    while h < values.len() {
        stage(values, h);
        h *= 2;
    }
}

/// The butterflies between elements that lie `h` apart.
#[inline(always)]
pub(in crate::kernels) fn stage(values: &mut [f32], h: usize) {
    for pair in values.chunks_exact_mut(2 * h) {
        let (low, high) = pair.split_at_mut(h);
        for (low, high) in low.iter_mut().zip(high) {
            (*low, *high) = (*low + *high, *low - *high);
        }
    }
}

pub(in crate::kernels) fn flip_signs(values: &mut [f32], signs: &[u8]) {
    for (i, value) in values.iter_mut().enumerate() {
        let sign = u32::from(signs[i / 8] >> (i % 8) & 1) << 31;
        *value = f32::from_bits(value.to_bits() ^ sign);
    }
}
