//! Four-bit codes of all rows, for distances between rows while links are made.
//!
//! A row is kept as its difference from the mean, on a grid of odd integers: half a byte a dimension, an eighth of
//! its floats, and close enough (an error of 0.004 of a cosine at 1,024 dimensions) to tell which of its neighbours
//! are near each other. One row is expanded to integers and meets the codes of others by one kernel.

use crate::build::layout::FINE_BITS;
use crate::kernels::Kernels;
use crate::memory::{try_hold, AlignedBytes};
use crate::quantize::encode::{CodeShape, Factors};
use crate::types::Result;

/// Largest odd integer of the grid.
const LIMIT: i32 = (1 << FINE_BITS) - 1;

/// The codes, in the order of positions.
pub struct FineCodes {
    shape: CodeShape,
    codes: AlignedBytes,
    factors: AlignedBytes,
}

/// One row as integers: `row - mean ~ step * y`.
#[derive(Default)]
pub struct Expanded {
    /// The odd integers `y`.
    pub odd: Vec<i8>,
    sum: i32,
    norm_sq: f32,
    /// See `odd`.
    pub step: f32,
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
        Ok(FineCodes { shape, codes, factors })
    }

    /// Takes over the codes of the rows from `first` on.
    pub fn put(&mut self, first: usize, codes: &[u8], factors: &[Factors]) {
        self.codes[first * self.shape.row_bytes()..][..codes.len()].copy_from_slice(codes);
        self.factors.as_mut_slice::<Factors>()[first..][..factors.len()].copy_from_slice(factors);
    }

    fn factors(&self, position: u32) -> Factors {
        self.factors.as_slice::<Factors>()[position as usize]
    }

    fn codes(&self, first: u32, count: usize) -> &[u8] {
        let bytes = self.shape.row_bytes();
        &self.codes[first as usize * bytes..][..count * bytes]
    }

    /// Asks for a row that will be met soon.
    pub fn prefetch(&self, kernels: &Kernels, position: u32) {
        kernels.prefetch_lines(self.codes(position, 1));
    }

    /// Makes integers of a row.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn expand(&self, position: u32, out: &mut Expanded) -> Result<()> {
        let group_bytes = crate::kernels::levels::GROUP * FINE_BITS / 8;
        out.odd.clear();
        try_hold(&mut out.odd, self.shape.padded)?;
        for group in self.codes(position, 1).chunks_exact(group_bytes) {
            out.odd.extend(group.iter().map(|byte| 2 * (byte & 15) as i8 - LIMIT as i8));
            out.odd.extend(group.iter().map(|byte| 2 * (byte >> 4) as i8 - LIMIT as i8));
        }
        out.sum = out.odd.iter().map(|y| i32::from(*y)).sum();
        let Factors { offset, scale } = self.factors(position);
        (out.norm_sq, out.step) = (offset, 0.5 * scale);
        Ok(())
    }

    /// Squared distances of a row to `count` rows from `first` on.
    pub fn distances(
        &self,
        kernels: &Kernels,
        row: &Expanded,
        first: u32,
        counted: &mut [i32],
        out: &mut [f32],
    ) {
        let count = counted.len();
        kernels.dot_levels(self.codes(first, count), FINE_BITS, &row.odd, counted);
        let factors = &self.factors.as_slice::<Factors>()[first as usize..][..count];
        for ((out, factors), counted) in out.iter_mut().zip(factors).zip(counted) {
            let product = (2 * *counted - LIMIT * row.sum) as f32;
            *out = row.norm_sq + factors.offset - row.step * factors.scale * product;
        }
    }

    /// Squared distance of a row to another.
    #[inline]
    pub fn distance(&self, kernels: &Kernels, row: &Expanded, position: u32) -> f32 {
        let (mut counted, mut out) = ([0], [0.0]);
        self.distances(kernels, row, position, &mut counted, &mut out);
        out[0]
    }
}
