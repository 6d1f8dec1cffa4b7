//! A query, rotated and quantised once a search.
//!
//! In: `dim` floats. Out: the rotated query, its bit planes for one-bit codes and its 8-bit form for finer codes and
//! for centroids. Both are of `v = q - g`, the query shifted by the mean of the index.
//!
//! The planes hold odd integers `w` with `v ~ step * w`, as a code does for a row, so `<y, v>` is
//! `step * (constant - 2 * weighted Hamming distance)`. The 8-bit form holds `b` with `v ~ step * b`, and with levels
//! `u`, `y = 2 u - limit`, so `<y, v>` is `step * (2 <u, b> - limit * sum b)`. Either step is corrected such that the
//! quantised query has the product `|v|^2` with `v`.
//!
//! Buffers live in the search's scratch and are reused: nothing is allocated once they have grown.

use crate::kernels::Kernels;
use crate::memory::try_hold;
use crate::quantize::encode::{CodeShape, QUERY_BITS};
use crate::quantize::rotation::Rotation;
use crate::types::{Metric, Result};

/// The query of one search in the forms that the stages want.
#[derive(Clone, Debug, Default)]
pub struct PreparedQuery {
    /// The rotated query (a unit vector under cosine), `padded` floats.
    pub rotated: Vec<f32>,
    /// `rotated` minus the mean.
    pub shifted: Vec<f32>,
    /// Bit planes of `shifted`, lowest weight first, and behind them what the kernel made of them.
    pub planes: Vec<u8>,
    /// `<y, v>` is `product_at_zero + product_a_unit * what the kernel counts`.
    pub product_at_zero: f32,
    /// See `product_at_zero`.
    pub product_a_unit: f32,
    /// `|v|`.
    pub length: f32,
    /// `shifted` in 8 bits: `v ~ byte_step * bytes`.
    pub bytes: Vec<i8>,
    /// See `bytes`.
    pub byte_step: f32,
    odd: Vec<i8>,
    unit: Vec<f32>,
}

impl PreparedQuery {
    /// Bytes of the buffers.
    pub fn memory_bytes(&self) -> usize {
        let floats = self.rotated.capacity() + self.shifted.capacity() + self.unit.capacity();
        floats * 4 + self.planes.capacity() + self.bytes.capacity() + self.odd.capacity()
    }

    /// Room for a query of `dim` elements, so that [`prepare`](Self::prepare) allocates nothing.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn reserve(&mut self, shape: CodeShape, metric: Metric, dim: usize) -> Result<()> {
        try_hold(&mut self.rotated, shape.padded)?;
        try_hold(&mut self.shifted, shape.padded)?;
        try_hold(&mut self.bytes, shape.padded)?;
        if metric == Metric::Cosine {
            try_hold(&mut self.unit, dim)?;
        }
        if shape.bits == 1 {
            try_hold(&mut self.odd, shape.padded)?;
            try_hold(&mut self.planes, QUERY_BITS * shape.plane_bytes())?;
        }
        Ok(())
    }

    /// Rotates and quantises `query` (finite; not all zero under cosine). O(d log d).
    pub fn prepare(
        &mut self,
        kernels: &Kernels,
        rotation: &Rotation,
        mean: &[f32],
        shape: CodeShape,
        metric: Metric,
        query: &[f32],
    ) {
        let padded = shape.padded;
        self.rotated.resize(padded, 0.0);
        self.shifted.resize(padded, 0.0);
        if metric == Metric::Cosine {
            self.unit.resize(query.len(), 0.0);
            normalise(kernels, query, &mut self.unit);
            rotation.apply(kernels, &self.unit, &mut self.rotated);
        } else {
            rotation.apply(kernels, query, &mut self.rotated);
        }
        kernels.difference(&self.rotated, &mean[..padded], &mut self.shifted);
        self.quantise(kernels, shape);
    }

    /// As [`prepare`](Self::prepare), of a query that is rotated already.
    pub fn prepare_rotated(&mut self, kernels: &Kernels, mean: &[f32], shape: CodeShape, rotated: &[f32]) {
        self.rotated.clear();
        self.rotated.extend_from_slice(rotated);
        self.shifted.clear();
        self.shifted.extend(rotated.iter().zip(mean).map(|(q, g)| q - g));
        self.quantise(kernels, shape);
    }

    fn quantise(&mut self, kernels: &Kernels, shape: CodeShape) {
        let v = &self.shifted;
        let norm_sq = kernels.dot_f32(v, v);
        let largest = kernels.largest(v);
        self.length = norm_sq.sqrt();

        self.byte_step = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        self.bytes.resize(v.len(), 0);
        kernels.quantise_bytes(v, inverse, &mut self.bytes);

        if shape.bits == 1 {
            self.quantise_planes(kernels, shape, norm_sq, largest);
        } else {
            (self.product_at_zero, self.product_a_unit) = self.levels(kernels, shape.bits);
        }
    }

    fn quantise_planes(&mut self, kernels: &Kernels, shape: CodeShape, norm_sq: f32, largest: f32) {
        let v = &self.shifted;
        let limit = ((1u32 << QUERY_BITS) - 1) as f32;
        // A few coordinates beyond the range cost less than a coarser grid for all.
        let range = largest.min(CLIP_SIGMAS * (norm_sq / v.len() as f32).sqrt());
        let inverse = if range > 0.0 { limit / range } else { 0.0 };
        self.odd.resize(v.len(), 0);
        kernels.quantise_odd(v, inverse, limit, &mut self.odd);
        let step = step(kernels, &self.odd, v, norm_sq);
        self.planes.resize(QUERY_BITS * shape.plane_bytes(), 0);
        kernels.pack_planes(&self.odd, QUERY_BITS, &mut self.planes);
        kernels.prepare_query(shape.planes(), &mut self.planes);
        self.product_at_zero = step * limit * shape.padded as f32;
        self.product_a_unit = -2.0 * step;
    }

    /// Of codes of levels of so many bits: `<y, v>` where the kernel counts nothing, and what one count adds.
    pub fn levels(&self, kernels: &Kernels, bits: usize) -> (f32, f32) {
        let step = step(kernels, &self.bytes, &self.shifted, self.length * self.length);
        let sum: i32 = self.bytes.iter().map(|b| i32::from(*b)).sum();
        let limit = (1i32 << bits) - 1;
        (-step * (limit * sum) as f32, 2.0 * step)
    }
}

/// The scale of integers `w` whose product with `v` is `|v|^2`.
fn step(kernels: &Kernels, w: &[i8], v: &[f32], norm_sq: f32) -> f32 {
    let product = kernels.product(w, v);
    if product > 0.0 {
        (f64::from(norm_sq) / product) as f32
    } else {
        0.0
    }
}

/// Where to clip a normal variable for the least error of 16 levels, in standard deviations (Max, 1960).
const CLIP_SIGMAS: f32 = 2.68;

/// Writes `vector / |vector|` to `out`; zeros for a zero vector. Scales first, so that the square cannot overflow.
pub fn normalise(kernels: &Kernels, vector: &[f32], out: &mut [f32]) {
    let largest = kernels.largest(vector);
    if largest == 0.0 {
        out.fill(0.0);
        return;
    }
    let inverse = 1.0 / largest;
    if inverse.is_finite() {
        out.copy_from_slice(vector);
        kernels.scale(out, inverse);
    } else {
        // Subnormal rows: division keeps what a reciprocal would lose.
        out.iter_mut().zip(vector).for_each(|(o, x)| *o = x / largest);
    }
    let scale = 1.0 / kernels.dot_f32(out, out).sqrt();
    kernels.scale(out, scale);
}
