//! One rotated vector -> its code and two factors.
//!
//! A vector `r` is stored as its residual `x = r - c` to a centre `c` near it. The code is a vector `y` of odd
//! integers, one a dimension, `-(2^bits - 1) ..= 2^bits - 1`: for one bit the sign of `x`, for more the odd grid
//! whose scale makes the angle to `x` smallest. Stored is the level `u = (y + 2^bits - 1) / 2`: one bit as a bit
//! plane, more bits packed as `kernels::levels` wants them.
//!
//! RaBitQ's estimator of a product is `<x, v> ~ |x|^2 / <y, x> * <y, v>`: unbiased, for the rotation makes the part
//! of `y` across `x` random. With `g` the mean that queries are shifted by, the squared distance to a query `q` is
//!
//! `|r - q|^2 = |x|^2 + 2 <x, c - g>   +   |q - c|^2   -   2 <x, q - g>`
//! `          = offset (of the row)    +   base (of the centre, once a search)   -   scale * <y, q - g>`
//!
//! so a row's factors are `offset` and `scale`, 8 bytes, and any row can be met in any order.

use bytemuck::{Pod, Zeroable};

use crate::kernels::estimate::Shape;
use crate::kernels::lanes::{self, nearest_i8, nearest_odd};
use crate::kernels::levels::GROUP;
use crate::kernels::Kernels;
use crate::memory::try_vec;
use crate::types::{Metric, Result};

/// Bits of a query that meets one-bit codes: its rounding stays well below their own error.
pub const QUERY_BITS: usize = 4;

/// What a code needs beside itself, in the metric's own distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Factors {
    /// The part of the distance that does not depend on the query.
    pub offset: f32,
    /// What one unit of `<y, q - g>` takes off the distance.
    pub scale: f32,
}

/// Sizes that follow from dimension and bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeShape {
    /// Rotated dimensions, a multiple of 64.
    pub padded: usize,
    /// Bits a dimension: 1, 2 or 4.
    pub bits: usize,
}

impl CodeShape {
    /// Bytes of one bit plane, a multiple of 8.
    pub fn plane_bytes(&self) -> usize {
        self.padded / 8
    }

    /// Bytes of one code.
    pub fn row_bytes(&self) -> usize {
        self.bits * self.plane_bytes()
    }

    /// The planes of a one-bit code and of a query, for the kernels.
    pub fn planes(&self) -> Shape {
        Shape { code_planes: 1, query_planes: QUERY_BITS, plane_bytes: self.plane_bytes() }
    }

    /// Bits a dimension when the caller does not say: about 512 bits a row at low dimensions, one bit from 512 on.
    pub fn default_bits(dim: usize) -> usize {
        match dim {
            0..=160 => 4,
            161..=448 => 2,
            _ => 1,
        }
    }
}

/// The multiple that turns `<x, q - g>` into distance, and the part of squared distance that is one unit of it.
pub fn metric_weights(metric: Metric) -> (f32, f32) {
    match metric {
        Metric::L2 => (2.0, 1.0),
        Metric::Cosine => (1.0, 0.5),
        Metric::InnerProduct => (1.0, 0.0),
    }
}

/// Encodes residuals; owns the buffers that one thread needs.
pub struct Encoder<'a> {
    kernels: &'static Kernels,
    shape: CodeShape,
    metric: Metric,
    mean: &'a [f32],
    residual: Vec<f32>,
    /// From the mean to the centre.
    across: Vec<f32>,
    odd: Vec<i8>,
}

impl<'a> Encoder<'a> {
    /// `mean` is the rotated vector that queries are shifted by.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(kernels: &'static Kernels, shape: CodeShape, metric: Metric, mean: &'a [f32]) -> Result<Self> {
        debug_assert_eq!(mean.len(), shape.padded);
        Ok(Encoder {
            kernels,
            shape,
            metric,
            mean,
            residual: try_vec(shape.padded, 0.0)?,
            across: try_vec(shape.padded, 0.0)?,
            odd: try_vec(shape.padded, 0)?,
        })
    }

    /// Encodes the rotated `vector` relative to the rotated `centre` into `code` (`row_bytes`).
    ///
    /// Returns the factors and the width of the error: the standard deviation of `<y, v>` for a unit `v` across
    /// `x`, which is nearly the same number for every row.
    pub fn encode(&mut self, vector: &[f32], centre: &[f32], code: &mut [u8]) -> (Factors, f32) {
        for ((x, r), c) in self.residual.iter_mut().zip(vector).zip(centre) {
            *x = r - c;
        }
        let x = &self.residual;
        let norm_sq = self.kernels.dot_f32(x, x);
        if norm_sq <= f32::MIN_POSITIVE {
            code.fill(0);
            return (Factors { offset: 0.0, scale: 0.0 }, 0.0);
        }
        let (y_dot_x, y_sq) = if self.shape.bits == 1 {
            for (o, v) in self.odd.iter_mut().zip(x) {
                *o = if *v >= 0.0 { 1 } else { -1 };
            }
            (lanes::sum(x, &self.odd, |x, o| f64::from(x) * f64::from(o)), x.len() as f64)
        } else {
            best_grid(x, norm_sq, self.shape.bits, &mut self.odd)
        };
        if self.shape.bits == 1 {
            self.kernels.pack_planes(&self.odd, 1, code);
        } else {
            pack_levels(&self.odd, self.shape.bits, code);
        }

        let (weight, unit) = metric_weights(self.metric);
        let norm_sq = f64::from(norm_sq);
        let scale = norm_sq / y_dot_x;
        let offset = match self.metric {
            // -<r, q> = -<c, q> - <x, q - g> - <x, g>.
            Metric::InnerProduct => -lanes::sum(x, self.mean, |x, g| f64::from(x) * f64::from(g)),
            _ => {
                for ((a, c), g) in self.across.iter_mut().zip(centre).zip(self.mean) {
                    *a = c - g;
                }
                let across = lanes::sum(x, &self.across, |x, a| f64::from(x) * f64::from(a));
                f64::from(unit) * (norm_sq + 2.0 * across)
            }
        };
        let cos_sq = (y_dot_x * y_dot_x / (norm_sq * y_sq)).min(1.0);
        let width = (y_sq * (1.0 - cos_sq) / (x.len() as f64 - 1.0)).sqrt();
        (Factors { offset: offset as f32, scale: weight * scale as f32 }, width as f32)
    }
}

/// The odd grid `t * y` whose `y` has the smallest angle to `x`, among 12 scales around the best one for normal
/// coordinates. Returns `<y, x>` and `|y|^2`.
fn best_grid(x: &[f32], norm_sq: f32, bits: usize, odd: &mut [i8]) -> (f64, f64) {
    let limit = ((1i32 << bits) - 1) as f32;
    let sigma = (norm_sq / x.len() as f32).sqrt();
    // Half the best step of a uniform quantiser of a normal variable with 4 and 16 levels (Max, 1960).
    let ideal = sigma * if bits == 2 { 0.498 } else { 0.168 };
    let mut best = (0.0f64, 1.0f64, ideal);
    for trial in 0..12 {
        let step = ideal * (0.7 + 0.06 * trial as f32);
        let inverse = 1.0 / step;
        let (y_dot_x, y_sq) = products_with_grid(x, inverse, limit);
        if y_dot_x * y_dot_x * best.1 > best.0 * best.0 * y_sq {
            best = (y_dot_x, y_sq, step);
        }
    }
    let inverse = 1.0 / best.2;
    for (o, v) in odd.iter_mut().zip(x) {
        *o = nearest_i8(nearest_odd(v * inverse, limit));
    }
    (best.0, best.1)
}

/// `<y, x>` and `|y|^2` for the odd grid `y` nearest to `x * inverse`.
fn products_with_grid(x: &[f32], inverse: f32, limit: f32) -> (f64, f64) {
    const LANES: usize = 16;
    let (mut products, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
    for x in x.chunks_exact(LANES) {
        for lane in 0..LANES {
            let y = nearest_odd(x[lane] * inverse, limit);
            products[lane] += y * x[lane];
            squares[lane] += y * y;
        }
    }
    let sum = |lanes: [f32; LANES]| lanes.into_iter().map(f64::from).sum();
    (sum(products), sum(squares))
}

/// Packs odd integers `-(2^bits - 1) ..= 2^bits - 1` as levels, in the layout of `kernels::levels`.
fn pack_levels(odd: &[i8], bits: usize, code: &mut [u8]) {
    let limit = ((1i16 << bits) - 1) as i8;
    let group_bytes = GROUP * bits / 8;
    code.fill(0);
    for (group, out) in odd.chunks_exact(GROUP).zip(code.chunks_exact_mut(group_bytes)) {
        for (field, levels) in group.chunks_exact(group_bytes).enumerate() {
            for (byte, y) in out.iter_mut().zip(levels) {
                *byte |= (((y + limit) / 2) as u8) << (field * bits);
            }
        }
    }
}
