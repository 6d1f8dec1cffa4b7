//! Rows from a source as the build wants them: checked, as floats, of unit length under cosine.
//!
//! One `Loader` a thread; its raw bytes are what the segment stores, the floats are what the numerics see.

use crate::input::Rows;
use crate::kernels::lanes;
use crate::kernels::Kernels;
use crate::memory::{try_hold, AlignedBytes};
use crate::quantize::query::normalise;
use crate::types::params::DIM_MAX;
use crate::types::{ElementType, Error, Metric, Result};

/// Largest magnitude of an element. Two vectors of 65,536 such elements are at most 65,536 x (2e15)^2 = 2.6e35 apart,
/// and their inner product is at most a quarter of that: finite in 32 bits, which end at 3.4e38.
pub const ELEMENT_MAX: f32 = 1e15;

const _: () = assert!(DIM_MAX as f32 * (2.0 * ELEMENT_MAX) * (2.0 * ELEMENT_MAX) < f32::MAX);

/// What the largest element of a vector must reach to have a direction: its square must not vanish in 32 bits.
pub const DIRECTION_MIN: f32 = 1e-15;

/// Reads, checks and converts groups of rows.
pub struct Loader<'a> {
    kernels: &'static Kernels,
    source: &'a dyn Rows,
    metric: Metric,
    /// Elements as given, packed row by row; grows to the largest group.
    raw: AlignedBytes,
}

impl<'a> Loader<'a> {
    /// A loader without a buffer yet.
    pub fn new(kernels: &'static Kernels, source: &'a dyn Rows, metric: Metric) -> Self {
        Loader { kernels, source, metric, raw: AlignedBytes::empty() }
    }

    /// Fills `floats` with the rows from `first` on.
    ///
    /// # Errors
    /// What the source gives; `VDB_INVALID_ARGUMENT` with the row for NaN, infinity, a magnitude above
    /// [`ELEMENT_MAX`], and a zero row under cosine; `VDB_OUT_OF_MEMORY`.
    pub fn range(&mut self, first: u64, floats: &mut [f32]) -> Result<()> {
        let count = floats.len() / self.source.dim();
        if self.source.element_type() == ElementType::F32 {
            self.source.read(first, count, bytemuck::cast_slice_mut(floats))?;
        } else {
            let bytes = count * self.source.row_bytes();
            self.raw.grow(bytes)?;
            self.source.read(first, count, &mut self.raw[..bytes])?;
            self.convert(floats);
        }
        self.check_and_scale(floats, |nth| first + nth as u64)
    }

    /// Fills `floats` with the rows of these numbers, in this order, and keeps their raw bytes.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn gather(&mut self, rows: &[u64], floats: &mut [f32]) -> Result<()> {
        let bytes = rows.len() * self.source.row_bytes();
        self.raw.grow(bytes)?;
        self.source.gather(rows, &mut self.raw[..bytes])?;
        self.convert(floats);
        self.check_and_scale(floats, |nth| rows[nth])
    }

    /// The raw bytes of the nth row that was gathered last.
    pub fn raw_row(&self, nth: usize) -> &[u8] {
        let row_bytes = self.source.row_bytes();
        &self.raw[nth * row_bytes..][..row_bytes]
    }

    fn convert(&self, floats: &mut [f32]) {
        let raw = &self.raw[..floats.len() * self.source.element_type().bytes()];
        match self.source.element_type() {
            ElementType::F32 => floats.copy_from_slice(bytemuck::cast_slice(raw)),
            ElementType::F16 => self.kernels.f16_to_f32(bytemuck::cast_slice(raw), floats),
            ElementType::U8 => self.kernels.u8_to_f32(raw, floats),
        }
    }

    fn check_and_scale(&self, floats: &mut [f32], number: impl Fn(usize) -> u64) -> Result<()> {
        let mut unit = Vec::new();
        if self.metric == Metric::Cosine {
            try_hold(&mut unit, self.source.dim())?;
        }
        let row_number = |nth| self.source.number(number(nth));
        for (nth, row) in floats.chunks_exact_mut(self.source.dim()).enumerate() {
            if !is_usable(row) {
                return Err(bad_row(row_number(nth), "has an element that is NaN, infinite or beyond 1e15"));
            }
            if self.metric == Metric::Cosine {
                if !has_direction(row) {
                    let what = "is all zeros or below 1e-15, which has no direction for the cosine metric";
                    return Err(bad_row(row_number(nth), what));
                }
                unit.clear();
                unit.extend_from_slice(row);
                normalise(self.kernels, &unit, row);
            }
        }
        Ok(())
    }
}

/// True if no element is NaN or beyond [`ELEMENT_MAX`]. Looks at all of them: without an early end it is vector code.
fn is_usable(row: &[f32]) -> bool {
    // The comparison is also false for NaN.
    row.iter().fold(true, |usable, x| usable & (x.abs() <= ELEMENT_MAX))
}

/// True if the cosine metric can tell where a vector points.
pub fn has_direction(vector: &[f32]) -> bool {
    lanes::largest(vector) >= DIRECTION_MIN
}

fn bad_row(row: u64, what: &str) -> Error {
    Error::invalid(format_args!("row {row} {what}; correct or remove it and build again")).with_row(row)
}
