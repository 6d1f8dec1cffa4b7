//! Four-bit codes of all rows, for distances between rows while links are made.
//!
//! A row is kept as its difference from the mean, on a grid of odd integers: half a byte a dimension, an eighth of
//! its floats, and close enough (an error of 0.004 of a cosine at 1,024 dimensions) to tell which of its neighbours
//! are near each other. One row is expanded to integers and meets the codes of others by one kernel.

use crate::build::layout::FINE_BITS;
use crate::kernels::levels::GROUP;
use crate::kernels::Kernels;
use crate::memory::AlignedBytes;
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

    /// Makes integers of a row.
    pub fn expand(&self, position: u32, out: &mut Expanded) {
        const GROUP_BYTES: usize = GROUP * FINE_BITS / 8;
        out.odd.resize(self.shape.padded, 0);
        let (groups, _) = self.codes(position, 1).as_chunks::<GROUP_BYTES>();
        let (odd, _) = out.odd.as_chunks_mut::<GROUP>();
        for (group, odd) in groups.iter().zip(odd) {
            let (low, high) = odd.split_at_mut(GROUP_BYTES);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(group) {
                *low = 2 * (byte & 15) as i8 - LIMIT as i8;
                *high = 2 * (byte >> 4) as i8 - LIMIT as i8;
            }
        }
        out.sum = out.odd.iter().map(|y| i32::from(*y)).sum();
        let Factors { offset, scale } = self.factors(position);
        (out.norm_sq, out.step) = (offset, 0.5 * scale);
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
            *out = row.distance(*factors, *counted);
        }
    }

    /// Squared distances of a row to those at `positions`.
    pub fn distances_to(
        &self,
        kernels: &Kernels,
        row: &Expanded,
        positions: &[u32],
        counted: &mut Vec<i32>,
        out: &mut Vec<f32>,
    ) {
        counted.resize(positions.len(), 0);
        let stride = self.shape.row_bytes();
        kernels.dot_levels_rows(&self.codes, stride, FINE_BITS, &row.odd, positions, counted);
        out.clear();
        let products = positions.iter().zip(counted.iter());
        out.extend(products.map(|(position, counted)| row.distance(self.factors(*position), *counted)));
    }
}

impl Expanded {
    /// The squared distance to a row of these factors, from the product of its levels with `odd`.
    fn distance(&self, factors: Factors, counted: i32) -> f32 {
        let product = (2 * counted - LIMIT * self.sum) as f32;
        self.norm_sq + factors.offset - self.step * factors.scale * product
    }
}
