//! Orthonormal mixing of coordinates in O(dim log dim): random signs, then Walsh-Hadamard blocks.
//!
//! Any dim: one block over the first p coordinates and, when p is not dim, one over the last p, with p the
//! largest power of two within dim. Lengths and angles are kept, up to f32 rounding. A dense random rotation
//! would cost dim^2 a row: ten times what the rest of a row costs at 1,024.

use crate::rng::Stream;

/// Flips the signs of a row by the bits of a key's stream.
pub fn flip(key: u64, row: &mut [f32]) {
    let mut stream = Stream::new(key);
    for part in row.chunks_mut(64) {
        let mut bits = stream.bits();
        for value in part {
            *value = f32::from_bits(value.to_bits() ^ ((bits as u32 & 1) << 31));
            bits >>= 1;
        }
    }
}

/// Mixes a row by Hadamard blocks, orthonormally.
pub fn mix_row(row: &mut [f32]) {
    if row.is_empty() {
        return;
    }
    let block = 1usize << row.len().ilog2();
    hadamard(&mut row[..block]);
    let start = row.len() - block;
    if start > 0 {
        hadamard(&mut row[start..]);
    }
}

/// Walsh-Hadamard transform of a power of two of values, orthonormal.
fn hadamard(values: &mut [f32]) {
    debug_assert!(values.len().is_power_of_two());
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (values.len() as f32).sqrt();
    values.iter_mut().for_each(|v| *v *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(dim: usize, key: u64) -> Vec<f32> {
        let mut stream = Stream::new(key);
        (0..dim).map(|_| stream.normal()).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    }

    #[test]
    fn mixing_keeps_inner_products_at_any_dim() {
        for dim in [1, 2, 3, 63, 64, 65, 100, 384, 1000, 1024] {
            let (mut a, mut b) = (row(dim, 1), row(dim, 2));
            let before = (dot(&a, &b), dot(&a, &a));
            for x in [&mut a, &mut b] {
                flip(9, x);
                mix_row(x);
            }
            let after = (dot(&a, &b), dot(&a, &a));
            assert!((before.0 - after.0).abs() < 1e-4 * before.1, "dim {dim}");
            assert!((before.1 - after.1).abs() < 1e-4 * before.1, "dim {dim}");
        }
        mix_row(&mut []);
    }

    #[test]
    fn two_rounds_spread_one_coordinate_over_all() {
        for dim in [100, 384, 1024] {
            let mut x = vec![0.0f32; dim];
            x[dim / 3] = 1.0;
            for round in 0..2 {
                mix_row(&mut x);
                flip(round, &mut x);
            }
            mix_row(&mut x);
            let largest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            assert!(largest < 0.6, "dim {dim}: {largest}");
        }
    }
}
