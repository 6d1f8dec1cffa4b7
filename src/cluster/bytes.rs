//! Rows and centres as signed bytes about an origin, and the squared distances between them.
//!
//! A row `x` is kept as `step * b` near `x - origin`, `b` being integers of which the largest is 127. All products of
//! two blocks are exact sums of integers, formed by one kernel: the same on every CPU, and several times as fast as in
//! floats. Roundings of many dimensions mostly cancel: at 1,024 of them a distance is off by some thousandth, far less
//! than what tells two centres apart.
//!
//! What is near its origin is told apart best: callers take the mean of what they compare.
//!
//! Calls `kernels`.

use crate::kernels::Kernels;
use crate::memory::{try_vec, try_with_capacity};
use crate::types::Result;

/// Rows as bytes.
#[derive(Clone, Debug)]
pub struct ByteRows {
    dim: usize,
    bytes: Vec<i8>,
    steps: Vec<f32>,
    /// Squared lengths, of what the bytes say.
    squares: Vec<f32>,
    /// A row less the origin.
    difference: Vec<f32>,
}

impl ByteRows {
    /// Room for so many rows.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn with_capacity(rows: usize, dim: usize) -> Result<Self> {
        Ok(ByteRows {
            dim,
            bytes: try_with_capacity(rows * dim)?,
            steps: try_with_capacity(rows)?,
            squares: try_with_capacity(rows)?,
            difference: try_vec(dim, 0.0)?,
        })
    }

    /// Packed rows about an origin.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn of(rows: &[f32], dim: usize, origin: &[f32]) -> Result<Self> {
        let mut these = Self::with_capacity(rows.len() / dim, dim)?;
        rows.chunks_exact(dim).for_each(|row| these.push(row, origin));
        Ok(these)
    }

    /// Bytes that so many rows take, less than 1 KiB aside.
    pub fn bytes_of(rows: usize, dim: usize) -> usize {
        rows * (dim + 8) + dim * 4
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.steps.len()
    }

    /// The largest step.
    pub fn largest_step(&self) -> f32 {
        self.steps.iter().fold(0.0, |largest, step| largest.max(*step))
    }

    /// Takes out all rows.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.steps.clear();
        self.squares.clear();
    }

    /// Adds a row; there is room for it. One that is too far from the origin for its square to be a number is far from
    /// everything.
    pub fn push(&mut self, row: &[f32], origin: &[f32]) {
        let kernels = Kernels::detect();
        let first = self.bytes.len();
        self.bytes.resize(first + self.dim, 0);
        let bytes = &mut self.bytes[first..];
        kernels.difference(row, origin, &mut self.difference);
        let largest = kernels.largest(&self.difference);
        let step = if largest.is_finite() { largest / 127.0 } else { 0.0 };
        if step.is_normal() {
            kernels.quantise_bytes(&self.difference, 127.0 / largest, bytes);
        }
        let mut product = [0];
        kernels.dot_i8(bytes, bytes, &mut product);
        self.steps.push(step);
        self.squares.push(if largest.is_finite() { step * step * product[0] as f32 } else { f32::INFINITY });
    }

    /// Writes the squared distances to the others in `range`: row by row, as many as `products` and `out` have places.
    pub fn distances(
        &self,
        others: &ByteRows,
        range: std::ops::Range<usize>,
        products: &mut [i32],
        out: &mut [f32],
    ) {
        if range.is_empty() {
            return;
        }
        let bytes = &others.bytes[range.start * self.dim..range.end * self.dim];
        Kernels::detect().products_i8(&self.bytes, bytes, self.dim, products);
        let (steps, squares) = (&others.steps[range.clone()], &others.squares[range.clone()]);
        let rows = products.chunks_exact(range.len()).zip(out.chunks_exact_mut(range.len()));
        for ((products, out), (step, square)) in rows.zip(self.steps.iter().zip(&self.squares)) {
            for (nth, out) in out.iter_mut().enumerate() {
                let product = step * steps[nth] * products[nth] as f32;
                *out = (square + squares[nth] - 2.0 * product).max(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::numbers::{mean_of, squared_distance};
    use super::super::testing::clustered;
    use super::*;

    /// Between each of some rows and each of others.
    fn distances(rows: &[f32], others: &[f32], dim: usize, origin: &[f32]) -> Vec<f32> {
        let (rows, others) =
            (ByteRows::of(rows, dim, origin).unwrap(), ByteRows::of(others, dim, origin).unwrap());
        let pairs = rows.count() * others.count();
        let (mut products, mut out) = (vec![0; pairs], vec![f32::NAN; pairs]);
        rows.distances(&others, 0..others.count(), &mut products, &mut out);
        out
    }

    #[test]
    fn distances_are_near_the_true_ones() {
        for dim in [1, 2, 17, 100, 1024] {
            let (rows, others) = (clustered(20, dim, 5, 1), clustered(9, dim, 5, 2));
            let origin = mean_of(&others, dim).unwrap();
            let got = distances(&rows, &others, dim, &origin);
            let pairs = rows.chunks(dim).flat_map(|row| others.chunks(dim).map(move |other| (row, other)));
            for ((row, other), got) in pairs.zip(got) {
                // Half a step at most in each dimension, of each of the two.
                let step = |row: &[f32]| {
                    row.iter().zip(&origin).map(|(x, o)| (x - o).abs()).fold(0.0, f32::max) / 127.0
                };
                let allowed = 0.51 * (step(row) + step(other)) * (dim as f32).sqrt();
                let (got, true_one) = (got.sqrt(), squared_distance(row, other).sqrt());
                assert!((got - true_one).abs() <= allowed, "dim {dim}: {got} for {true_one}");
            }
        }
    }

    #[test]
    fn equal_rows_are_at_distance_zero_and_order_is_kept_far_from_the_origin() {
        let rows: Vec<f32> = clustered(30, 16, 4, 3).iter().map(|x| x + 30_000.0).collect();
        let origin = mean_of(&rows, 16).unwrap();
        let got = distances(&rows, &rows, 16, &origin);
        for nth in 0..30 {
            assert_eq!(got[nth * 31], 0.0);
        }
        assert!(got.iter().filter(|distance| **distance > 1.0).count() > 30 * 20);
    }

    #[test]
    fn what_overflows_is_far_and_what_vanishes_is_the_origin() {
        let got = distances(&[3e38, -3e38, 1e-44, 0.0], &[0.0, 0.0], 2, &[-3e38, 0.0]);
        assert_eq!(got[0], f32::INFINITY);
        let got = distances(&[1e-44, 0.0], &[0.0, 0.0], 2, &[0.0, 0.0]);
        assert_eq!(got, [0.0]);
    }
}
