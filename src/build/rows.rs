//! Rows from a source as the build wants them: checked, as floats, of unit length under cosine.
//!
//! One `Loader` a thread; its buffer of raw bytes is what the segment stores, its floats are what the numerics see.

use crate::input::Rows;
use crate::kernels::Kernels;
use crate::memory::AlignedBytes;
use crate::quantize::query::normalise;
use crate::types::{ElementType, Error, Metric, Result};

/// Largest magnitude of an element: squares of sums of 65,536 of them stay finite in 32 bits.
pub const ELEMENT_MAX: f32 = 1e15;

/// Reads, checks and converts groups of rows.
pub struct Loader<'a> {
    kernels: &'static Kernels,
    source: &'a dyn Rows,
    metric: Metric,
    /// Elements as given, packed row by row.
    pub raw: AlignedBytes,
    /// The same as floats, of unit length under cosine.
    pub floats: AlignedBytes,
    count: usize,
}

impl<'a> Loader<'a> {
    /// A loader with room for `rows` rows.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn new(kernels: &'static Kernels, source: &'a dyn Rows, metric: Metric, rows: usize) -> Result<Self> {
        let elements = rows * source.dim();
        Ok(Loader {
            kernels,
            source,
            metric,
            raw: AlignedBytes::zeroed(elements * source.element_type().bytes())?,
            floats: AlignedBytes::zeroed(elements * 4)?,
            count: 0,
        })
    }

    /// Loads `count` rows from `first` on.
    ///
    /// # Errors
    /// What the source gives; `VDB_INVALID_ARGUMENT` with the row for NaN, infinity, a magnitude above
    /// [`ELEMENT_MAX`], and a zero row under cosine.
    pub fn range(&mut self, first: u64, count: usize) -> Result<&[f32]> {
        let bytes = count * self.row_bytes();
        self.source.read(first, count, &mut self.raw[..bytes])?;
        self.convert(count, |nth| first + nth as u64)
    }

    /// Loads the rows of these numbers, in this order.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn gather(&mut self, rows: &[u64]) -> Result<&[f32]> {
        let bytes = rows.len() * self.row_bytes();
        self.source.gather(rows, &mut self.raw[..bytes])?;
        self.convert(rows.len(), |nth| rows[nth])
    }

    /// The floats of the rows that were loaded last.
    pub fn rows(&self) -> &[f32] {
        &self.floats.as_slice::<f32>()[..self.count * self.source.dim()]
    }

    /// The raw bytes of the nth row that was loaded last.
    pub fn raw_row(&self, nth: usize) -> &[u8] {
        &self.raw[nth * self.row_bytes()..][..self.row_bytes()]
    }

    fn row_bytes(&self) -> usize {
        self.source.dim() * self.source.element_type().bytes()
    }

    fn convert(&mut self, count: usize, number: impl Fn(usize) -> u64) -> Result<&[f32]> {
        let dim = self.source.dim();
        let row_bytes = self.row_bytes();
        self.count = count;
        let floats = &mut self.floats.as_mut_slice::<f32>()[..count * dim];
        let raw = &self.raw[..count * row_bytes];
        match self.source.element_type() {
            ElementType::F32 => floats.copy_from_slice(bytemuck::cast_slice(raw)),
            ElementType::F16 => self.kernels.f16_to_f32(bytemuck::cast_slice(raw), floats),
            ElementType::U8 => self.kernels.u8_to_f32(raw, floats),
        }
        let mut unit = Vec::new();
        for (nth, row) in floats.chunks_exact_mut(dim).enumerate() {
            // Also false for NaN.
            if !row.iter().all(|x| x.abs() <= ELEMENT_MAX) {
                return Err(bad_row(number(nth), "has an element that is NaN, infinite or beyond 1e15"));
            }
            if self.metric == Metric::Cosine {
                if row.iter().all(|x| *x == 0.0) {
                    return Err(bad_row(
                        number(nth),
                        "is all zeros, which has no direction for the cosine metric",
                    ));
                }
                unit.clear();
                unit.extend_from_slice(row);
                normalise(self.kernels, &unit, row);
            }
        }
        Ok(floats)
    }
}

fn bad_row(row: u64, what: &str) -> Error {
    Error::invalid(format!("row {row} {what}; correct or remove it and build again")).with_row(row)
}
