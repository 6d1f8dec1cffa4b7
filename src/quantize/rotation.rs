//! A random rotation that costs O(d log d): signs and Hadamard transforms in rounds.
//!
//! In: a vector of `dim` floats. Out: `padded` floats, the next multiple of 64, of the same length in the
//! Euclidean sense. Where `padded` is no power of two, a round transforms the first and then the last `block`
//! dimensions, `block` being the largest power of two that fits: the overlap mixes the two ends, and no
//! dimension is wasted on padding to a power of two (768 stays 768).
//!
//! Every step is a sign flip, a butterfly or a product with one constant, in a fixed order: all CPUs
//! give the same bits. The signs follow from the seed alone, so that a file need not carry them.

use crate::kernels::Kernels;
use crate::memory::try_with_capacity;
use crate::types::rng::SplitMix64;
use crate::types::Result;

/// Rounds of signs and transforms. Three make the coordinates of any fixed vector close to normal.
const ROUNDS: usize = 3;

/// Codes are made of whole 64-bit words.
pub const PAD: usize = 64;

/// The orthonormal transform of one index.
#[derive(Clone, Debug)]
pub struct Rotation {
    dim: usize,
    padded: usize,
    block: usize,
    /// `ROUNDS` sign vectors of `padded` bits, least significant bit first.
    signs: Vec<u8>,
}

impl Rotation {
    /// The rotation of `dim` dimensions that `seed` names.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(dim: usize, seed: u64) -> Result<Self> {
        let padded = dim.max(1).div_ceil(PAD) * PAD;
        let block = if padded.is_power_of_two() { padded } else { padded.next_power_of_two() / 2 };
        let mut random = SplitMix64::new(seed ^ 0x726f_7461_7469_6f6e);
        let words = ROUNDS * padded / 64;
        let mut signs = try_with_capacity(8 * words)?;
        (0..words).for_each(|_| signs.extend_from_slice(&random.next_u64().to_le_bytes()));
        Ok(Rotation { dim, padded, block, signs })
    }

    /// Dimensions of the input.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Dimensions of the output: `dim` rounded up to a multiple of 64.
    pub fn padded(&self) -> usize {
        self.padded
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.signs.len()
    }

    /// Writes the rotated `vector` (`dim` floats) to `out` (`padded` floats). O(d log d).
    pub fn apply(&self, kernels: &Kernels, vector: &[f32], out: &mut [f32]) {
        debug_assert_eq!((vector.len(), out.len()), (self.dim, self.padded));
        out[..self.dim].copy_from_slice(vector);
        out[self.dim..].fill(0.0);
        let sign_bytes = self.padded / 8;
        let blocks_a_round = if self.block == self.padded { 1 } else { 2 };
        for round in 0..ROUNDS {
            kernels.flip_signs(out, &self.signs[round * sign_bytes..][..sign_bytes]);
            kernels.hadamard(&mut out[..self.block]);
            if blocks_a_round == 2 {
                let scale = 1.0 / (self.block as f32).sqrt();
                kernels.scale(&mut out[..self.block], scale);
                kernels.hadamard(&mut out[self.padded - self.block..]);
                kernels.scale(&mut out[self.padded - self.block..], scale);
            }
        }
        if blocks_a_round == 1 {
            // Three scalings by 1/sqrt(block) at once.
            let scale = 1.0 / ((self.block as f32).sqrt() * self.block as f32);
            kernels.scale(out, scale);
        }
    }

    /// Undoes [`apply`](Self::apply), up to rounding: used to show a centroid in the caller's dimensions.
    pub fn invert(&self, kernels: &Kernels, rotated: &[f32], out: &mut [f32]) {
        debug_assert_eq!((rotated.len(), out.len()), (self.padded, self.dim));
        let mut work = rotated.to_vec();
        let sign_bytes = self.padded / 8;
        let scale = 1.0 / (self.block as f32).sqrt();
        for round in (0..ROUNDS).rev() {
            if self.block != self.padded {
                kernels.hadamard(&mut work[self.padded - self.block..]);
                work[self.padded - self.block..].iter_mut().for_each(|x| *x *= scale);
            }
            kernels.hadamard(&mut work[..self.block]);
            work[..self.block].iter_mut().for_each(|x| *x *= scale);
            kernels.flip_signs(&mut work, &self.signs[round * sign_bytes..][..sign_bytes]);
        }
        out.copy_from_slice(&work[..self.dim]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norm(x: &[f32]) -> f64 {
        x.iter().map(|v| f64::from(*v) * f64::from(*v)).sum()
    }

    #[test]
    fn lengths_and_products_are_kept_at_any_dim() {
        let kernels = Kernels::detect();
        let mut random = SplitMix64::new(3);
        for dim in [1, 2, 3, 63, 64, 65, 100, 128, 300, 384, 768, 784, 1000, 1024, 1536, 3072, 5000] {
            let rotation = Rotation::new(dim, 7).unwrap();
            let a: Vec<f32> = (0..dim).map(|_| random.next_f32() - 0.3).collect();
            let b: Vec<f32> = (0..dim).map(|_| random.next_f32() - 0.6).collect();
            let (mut ra, mut rb) = (vec![0.0; rotation.padded()], vec![0.0; rotation.padded()]);
            rotation.apply(kernels, &a, &mut ra);
            rotation.apply(kernels, &b, &mut rb);
            assert!((norm(&a) / norm(&ra) - 1.0).abs() < 1e-4, "dim {dim}");
            let product = |x: &[f32], y: &[f32]| -> f64 {
                x.iter().zip(y).map(|(p, q)| f64::from(*p) * f64::from(*q)).sum()
            };
            let allowed = 1e-4 * (norm(&a) * norm(&b)).sqrt();
            assert!((product(&a, &b) - product(&ra, &rb)).abs() <= allowed, "dim {dim}");
            let mut back = vec![0.0; dim];
            rotation.invert(kernels, &ra, &mut back);
            for (x, y) in a.iter().zip(&back) {
                assert!((x - y).abs() < 1e-4, "dim {dim}");
            }
        }
    }

    #[test]
    fn a_single_coordinate_is_spread_over_all() {
        // The worst input for a transform without random signs: one nonzero coordinate.
        for dim in [768, 1024, 1000] {
            let rotation = Rotation::new(dim, 11).unwrap();
            let mut unit = vec![0.0; dim];
            unit[dim - 1] = 1.0;
            let mut out = vec![0.0; rotation.padded()];
            rotation.apply(Kernels::detect(), &unit, &mut out);
            let largest = out.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            assert!(f64::from(largest) < 6.0 / (rotation.padded() as f64).sqrt(), "dim {dim}: {largest}");
        }
    }
}
