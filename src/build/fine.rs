//! Four-bit codes of all rows, for distances between rows while links are made.
//!
//! A row is kept as its difference from the mean of all rows, whatever the metric, on a grid of odd integers: half a
//! byte a dimension, an eighth of its floats, and close enough (an error of 0.004 of a cosine at 1,024 dimensions) to
//! tell which of its neighbours are near each other. Rows are expanded to integers, and meet each other by kernels.

use std::ops::Range;

use crate::build::layout::FINE_BITS;
use crate::kernels::Kernels;
use crate::memory::{try_vec, try_with_capacity, AlignedBytes};
use crate::quantize::encode::{CodeShape, Factors};
use crate::types::Result;

/// Largest odd integer of the grid.
const LIMIT: i32 = (1 << FINE_BITS) - 1;

/// The codes, in the order of positions.
pub struct FineCodes {
    shape: CodeShape,
    codes: AlignedBytes,
    factors: AlignedBytes,
    /// As many ones as a row has integers: the product with them is their sum.
    ones: Vec<i8>,
}

/// One row as odd integers `y`: `row - mean ~ step * y`.
pub struct Expanded {
    odd: Vec<i8>,
    sum: i32,
    norm_sq: f32,
    step: f32,
}

/// Rows as odd integers, one after the other.
pub struct FineRows {
    padded: usize,
    odd: Vec<i8>,
    norms: Vec<f32>,
    /// Twice the steps.
    scales: Vec<f32>,
}

impl FineCodes {
    /// Room for the codes of `rows` rows.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn zeroed(rows: usize, padded: usize) -> Result<Self> {
        let shape = CodeShape { padded, bits: FINE_BITS };
        let codes = AlignedBytes::zeroed(rows * shape.row_bytes())?;
        let factors = AlignedBytes::zeroed(rows * std::mem::size_of::<Factors>())?;
        Ok(FineCodes { shape, codes, factors, ones: try_vec(padded, 1)? })
    }

    /// Dimensions of a row's integers.
    pub fn padded(&self) -> usize {
        self.shape.padded
    }

    /// Takes over the codes of the rows from `first` on.
    pub fn put(&mut self, first: usize, codes: &[u8], factors: &[Factors]) {
        self.codes[first * self.shape.row_bytes()..][..codes.len()].copy_from_slice(codes);
        self.factors.as_mut_slice::<Factors>()[first..][..factors.len()].copy_from_slice(factors);
    }

    /// The codes of all rows.
    pub fn all(&self) -> &[u8] {
        &self.codes
    }

    /// The factors of all rows, as bytes.
    pub fn all_factors(&self) -> &[u8] {
        &self.factors
    }

    fn factors(&self, position: u32) -> Factors {
        self.factors.as_slice::<Factors>()[position as usize]
    }

    fn codes(&self, first: u32, count: usize) -> &[u8] {
        let bytes = self.shape.row_bytes();
        &self.codes[first as usize * bytes..][..count * bytes]
    }

    /// Makes integers of a row.
    pub fn expand(&self, kernels: &Kernels, position: u32, out: &mut Expanded) {
        kernels.unpack_levels(self.codes(position, 1), &mut out.odd);
        let mut sum = [0];
        kernels.dot_i8(&out.odd, &self.ones, &mut sum);
        out.sum = sum[0];
        let Factors { offset, scale } = self.factors(position);
        (out.norm_sq, out.step) = (offset, 0.5 * scale);
    }

    /// Makes integers of the rows in `positions`, in place of those that `out` had, which has room for them.
    pub fn expand_rows(&self, kernels: &Kernels, positions: Range<u32>, out: &mut FineRows) {
        let count = positions.len();
        out.odd.resize(count * self.shape.padded, 0);
        kernels.unpack_levels(self.codes(positions.start, count), &mut out.odd);
        let factors = &self.factors.as_slice::<Factors>()[positions.start as usize..][..count];
        out.norms.clear();
        out.norms.extend(factors.iter().map(|factors| factors.offset));
        out.scales.clear();
        out.scales.extend(factors.iter().map(|factors| factors.scale));
    }

    /// Squared distances of a row to those at `positions`, for which there is room.
    pub fn distances_to(
        &self,
        kernels: &Kernels,
        row: &Expanded,
        positions: &[u32],
        counted: &mut Vec<i32>,
        out: &mut Vec<f32>,
    ) {
        counted.resize(positions.len(), 0);
        // They travel while the codes are worked on.
        for position in positions {
            kernels
                .prefetch_lines(bytemuck::bytes_of(&self.factors.as_slice::<Factors>()[*position as usize]));
        }
        let stride = self.shape.row_bytes();
        kernels.dot_levels_rows(&self.codes, stride, FINE_BITS, &row.odd, positions, counted);
        out.clear();
        let products = positions.iter().zip(counted.iter());
        out.extend(products.map(|(position, counted)| row.distance(self.factors(*position), *counted)));
    }
}

impl Expanded {
    /// Room for a row.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn new(padded: usize) -> Result<Self> {
        Ok(Expanded { odd: try_vec(padded, 0)?, sum: 0, norm_sq: 0.0, step: 0.0 })
    }

    /// The squared distance to a row of these factors, from the product of its levels with `odd`.
    fn distance(&self, factors: Factors, counted: i32) -> f32 {
        let product = (2 * counted - LIMIT * self.sum) as f32;
        self.norm_sq + factors.offset - self.step * factors.scale * product
    }
}

impl FineRows {
    /// Room for so many rows.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn with_capacity(rows: usize, padded: usize) -> Result<Self> {
        Ok(FineRows {
            padded,
            odd: try_with_capacity(rows * padded)?,
            norms: try_with_capacity(rows)?,
            scales: try_with_capacity(rows)?,
        })
    }

    /// Bytes of so many rows.
    pub fn bytes(rows: usize, padded: usize) -> usize {
        rows * (padded + 8)
    }

    /// Takes out all rows.
    pub fn clear(&mut self) {
        self.odd.clear();
        self.norms.clear();
        self.scales.clear();
    }

    /// Adds a copy of the nth of other rows; there is room.
    pub fn push(&mut self, rows: &FineRows, nth: usize) {
        self.odd.extend_from_slice(&rows.odd[nth * self.padded..][..self.padded]);
        self.norms.push(rows.norms[nth]);
        self.scales.push(rows.scales[nth]);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.norms.len()
    }

    /// The integers.
    pub fn odd(&self) -> &[i8] {
        &self.odd
    }

    /// The step of the nth row.
    pub fn step(&self, nth: usize) -> f32 {
        0.5 * self.scales[nth]
    }

    /// Puts the nth row out of reach of all others.
    pub fn hide(&mut self, nth: usize) {
        self.norms[nth] = f32::INFINITY;
    }

    /// The squared distance of the nth row to one like it.
    pub fn own_distance(&self, kernels: &Kernels, nth: usize) -> f32 {
        let odd = &self.odd[nth * self.padded..][..self.padded];
        let (mut square, mut out) = ([0], [0.0]);
        kernels.dot_i8(odd, odd, &mut square);
        self.distances(nth, square.as_slice(), &self.norms[nth..], &self.scales[nth..], &mut out);
        out[0]
    }

    /// Writes the squared distances of each of these rows to each of the others, row by row.
    pub fn distances_to(&self, kernels: &Kernels, others: &FineRows, products: &mut [i32], out: &mut [f32]) {
        kernels.products_i8(&self.odd, &others.odd, self.padded, products);
        let count = others.count();
        for (nth, (products, out)) in
            products.chunks_exact(count).zip(out.chunks_exact_mut(count)).enumerate()
        {
            self.distances(nth, products, &others.norms, &others.scales, out);
        }
    }

    fn distances(&self, nth: usize, products: &[i32], norms: &[f32], scales: &[f32], out: &mut [f32]) {
        let (norm, step) = (self.norms[nth], self.step(nth));
        for (((out, product), other_norm), scale) in out.iter_mut().zip(products).zip(norms).zip(scales) {
            *out = norm + other_norm - step * scale * *product as f32;
        }
    }
}
