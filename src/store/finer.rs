//! Finer codes of all rows, four bits a dimension, which stand between the candidates of a search and its rows.
//!
//! An eighth of the bytes of a row of floats, with bounds a sixth as wide as those of one-bit codes: most candidates
//! need not be read. They are mapped as the vectors are, and belong to them: navigation does not touch them. Only their
//! factors are in memory. All are relative to the mean of the rows, where queries are shifted to.

use crate::kernels::Kernels;
use crate::memory::AlignedBytes;
use crate::quantize::encode::{metric_weights, CodeShape, Factors};
use crate::quantize::estimate::ROUNDING;
use crate::quantize::query::PreparedQuery;
use crate::types::{Error, Metric, Result};
use crate::vfs::Mapping;

/// Bits a dimension.
pub const BITS: usize = 4;

/// The codes of one segment.
pub struct FinerCodes {
    mapping: Mapping,
    factors: AlignedBytes,
    shape: CodeShape,
    metric: Metric,
    error_width: f32,
}

/// An estimate with the deviation of its error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Of the distance, in the metric's own unit.
    pub distance: f32,
    /// See [`Estimate`].
    pub deviation: f32,
}

impl FinerCodes {
    /// True if an index of such codes has finer ones: of coarse codes only, and where the mean of the rows is what
    /// queries are shifted by.
    pub fn serve(shape: CodeShape, metric: Metric) -> bool {
        shape.bits == 1 && metric != Metric::InnerProduct
    }

    /// Takes the codes of a file, and the factors of as many rows, whose `coarse` codes navigate.
    ///
    /// # Errors
    /// `VDB_CORRUPT` if either is not of so many rows, or a factor is not finite.
    pub fn new(
        mapping: Mapping,
        factors: AlignedBytes,
        coarse: CodeShape,
        metric: Metric,
        error_width: f32,
        rows: u32,
    ) -> Result<Self> {
        let shape = CodeShape { bits: BITS, ..coarse };
        let rows = rows as usize;
        let sizes_agree = rows.checked_mul(shape.row_bytes()).is_some_and(|bytes| mapping.len() >= bytes)
            && factors.len() == rows * std::mem::size_of::<Factors>();
        if !sizes_agree || !Self::serve(coarse, metric) {
            return Err(Error::corrupt("finer codes: they do not fit the rows and their codes"));
        }
        if !factors.as_slice::<f32>().iter().all(|x| x.is_finite()) {
            return Err(Error::corrupt("finer codes: a factor is not a finite number"));
        }
        Ok(FinerCodes { mapping, factors, shape, metric, error_width })
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.factors.len() as u64
    }

    /// What the products of a query are made from, for [`estimates`](Self::estimates).
    pub fn levels(&self, kernels: &Kernels, query: &PreparedQuery) -> (f32, f32) {
        query.levels(kernels, BITS)
    }

    /// Bytes of the file that are mapped.
    pub fn mapped_bytes(&self) -> u64 {
        self.mapping.len() as u64
    }

    /// Asks for the codes of a row.
    #[inline]
    pub fn prefetch(&self, kernels: &Kernels, position: u32) {
        let stride = self.shape.row_bytes();
        kernels.prefetch_lines(&self.mapping[position as usize * stride..][..stride]);
    }

    /// Estimates the rows at `positions` into `out`; both lists have as many places.
    pub fn estimates(
        &self,
        kernels: &Kernels,
        query: &PreparedQuery,
        (at_zero, a_unit): (f32, f32),
        positions: &[u32],
        counted: &mut [i32],
        out: &mut [Estimate],
    ) {
        let stride = self.shape.row_bytes();
        kernels.dot_levels_rows(&self.mapping, stride, BITS, &query.bytes, positions, counted);
        let (_, unit) = metric_weights(self.metric);
        let base = query.length * query.length;
        let factors = self.factors.as_slice::<Factors>();
        for ((position, counted), out) in positions.iter().zip(counted).zip(out) {
            let Factors { offset, scale } = factors[*position as usize];
            let distance = base + offset - scale * (at_zero + a_unit * *counted as f32);
            let deviation = scale * self.error_width * query.length + ROUNDING * (base + offset.abs());
            *out = Estimate { distance: unit * distance, deviation: unit * deviation };
        }
    }
}
