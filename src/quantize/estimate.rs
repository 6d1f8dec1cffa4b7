//! Codes and factors -> estimates of distance.
//!
//! `estimate = base + offset - scale * <y, v>`, where `base` belongs to the centre of the codes and the product comes
//! from what the kernel counts. The error of one row is normal to good accuracy, with deviation
//! `scale * width * |v|`, `width` being the index's mean error width, and what rounding adds; a bound at
//! confidence `epsilon` is the estimate less `epsilon` deviations. How often a bound fails on the data at hand is
//! measured by the build.

use crate::kernels::judge::Terms;
use crate::kernels::Kernels;
use crate::quantize::encode::{CodeShape, Factors};
use crate::quantize::query::PreparedQuery;

/// Relative error of the sums behind an estimate. It matters where rows differ in length a thousandfold and more: the
/// large terms cancel, and what they leave is wider than the code's own error.
pub const ROUNDING: f32 = 1e-6;

/// What the kernel counts for each of `out.len()` codes: weighted Hamming distances or products of levels.
#[inline]
pub fn count(kernels: &Kernels, shape: CodeShape, query: &PreparedQuery, codes: &[u8], out: &mut [i32]) {
    if shape.bits == 1 {
        // Below 2^31 in either reading: at most 15 * 65,536.
        kernels.estimate(codes, shape.planes(), &query.planes, bytemuck::cast_slice_mut(out));
    } else {
        kernels.dot_levels(codes, shape.bits, &query.bytes, out);
    }
}

/// The same for the codes of listed rows at any places, row `r`'s code beginning at byte `r * stride` of `codes`.
#[inline]
pub fn count_rows(
    kernels: &Kernels,
    shape: CodeShape,
    query: &PreparedQuery,
    codes: &[u8],
    stride: usize,
    rows: &[u32],
    out: &mut [i32],
) {
    if shape.bits == 1 {
        let out = bytemuck::cast_slice_mut(out);
        kernels.estimate_rows(codes, stride, shape.planes(), &query.planes, rows, out);
    } else {
        kernels.dot_levels_rows(codes, stride, shape.bits, &query.bytes, rows, out);
    }
}

/// The estimated distance of one code from what the kernel counted.
#[inline]
pub fn estimate(query: &PreparedQuery, base: f32, factors: Factors, counted: i32) -> f32 {
    let product = query.product_at_zero + query.product_a_unit * counted as f32;
    base + factors.offset - factors.scale * product
}

/// What the estimates of one query share, for [`Kernels::judge`]: the same bits as [`estimates`].
#[inline]
pub fn terms(query: &PreparedQuery, error_width: f32, epsilon: f32) -> Terms {
    Terms {
        at_zero: query.product_at_zero,
        a_unit: query.product_a_unit,
        deviation: error_width * query.length,
        rounding: ROUNDING,
        epsilon,
    }
}

/// Estimates and deviations of one block of codes, all with one `base`. `estimates` and `deviations` are at
/// least as long as `counted`.
#[inline]
pub fn estimates(
    query: &PreparedQuery,
    base: f32,
    error_width: f32,
    factors: &[Factors],
    counted: &[i32],
    estimates: &mut [f32],
    deviations: &mut [f32],
) {
    let rows = counted.len();
    let (factors, estimates, deviations) =
        (&factors[..rows], &mut estimates[..rows], &mut deviations[..rows]);
    let deviation_a_scale = error_width * query.length;
    for i in 0..rows {
        estimates[i] = estimate(query, base, factors[i], counted[i]);
        let rounding = ROUNDING * (base.abs() + factors[i].offset.abs());
        deviations[i] = factors[i].scale * deviation_a_scale + rounding;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::judge::{Judged, Limits, Rows};
    use crate::quantize::encode::Encoder;
    use crate::quantize::rotation::Rotation;
    use crate::types::rng::SplitMix64;
    use crate::types::Metric;

    fn normal(random: &mut SplitMix64) -> f32 {
        (0..12).map(|_| random.next_f32()).sum::<f32>() - 6.0
    }

    fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
        let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
        match metric {
            Metric::L2 => norm(a) + norm(b) - 2.0 * dot,
            Metric::InnerProduct => -dot,
            Metric::Cosine => 1.0 - dot / (norm(a) * norm(b)).sqrt(),
        }
    }

    /// The kernel's estimates are those of the build.
    fn judge_agrees(
        kernels: &Kernels,
        terms: &Terms,
        base: f32,
        factors: &[Factors],
        counted: &[i32],
        estimates: &[f32],
        deviations: &[f32],
    ) {
        let rows =
            Rows { bases: &vec![base; counted.len()], factors: bytemuck::cast_slice(factors), counted };
        let limits = Limits { bound: f32::INFINITY, estimate: f32::INFINITY };
        let (mut found, mut slacks, mut chosen) = (vec![0.0; 208], vec![0.0; 208], vec![0; 13]);
        let out = Judged { estimates: &mut found, slacks: &mut slacks, chosen: &mut chosen };
        kernels.judge(terms, limits, rows, out);
        assert_eq!(&found[..counted.len()], estimates);
        assert!(slacks.iter().zip(deviations).all(|(slack, deviation)| *slack == terms.epsilon * deviation));
    }

    /// Mean and deviation of (true - estimate) / predicted deviation, over rows and queries.
    fn z_scores(metric: Metric, dim: usize, bits: usize) -> (f64, f64, f64) {
        let kernels = Kernels::detect();
        let mut random = SplitMix64::new(17 + dim as u64);
        let rotation = Rotation::new(dim, 5).unwrap();
        let padded = rotation.padded();
        let shape = CodeShape { padded, bits };
        let vector = |random: &mut SplitMix64, lean: f32| -> Vec<f32> {
            (0..dim).map(|i| normal(random) / (1.0 + i as f32 * 0.02) + lean).collect()
        };
        let prepare_row = |v: &[f32]| -> Vec<f32> {
            let mut unit = v.to_vec();
            if metric == Metric::Cosine {
                crate::quantize::query::normalise(kernels, v, &mut unit);
            }
            let mut out = vec![0.0; padded];
            rotation.apply(kernels, &unit, &mut out);
            out
        };
        let rows: Vec<Vec<f32>> = (0..200).map(|_| vector(&mut random, 0.3)).collect();
        let rotated: Vec<Vec<f32>> = rows.iter().map(|r| prepare_row(r)).collect();
        let mean: Vec<f32> = if metric == Metric::InnerProduct {
            vec![0.0; padded]
        } else {
            (0..padded).map(|i| rotated.iter().map(|r| r[i]).sum::<f32>() / 200.0).collect()
        };
        let centre: Vec<f32> =
            (0..padded).map(|i| rotated[..20].iter().map(|r| r[i]).sum::<f32>() / 20.0).collect();
        let mut encoder = Encoder::new(kernels, shape, metric, &mean).unwrap();
        let mut codes = vec![0u8; 200 * shape.row_bytes()];
        let mut factors = Vec::new();
        let mut widths = 0.0;
        for (row, code) in rotated.iter().zip(codes.chunks_exact_mut(shape.row_bytes())) {
            let (f, width) = encoder.encode(row, &centre, code);
            factors.push(f);
            widths += width / 200.0;
        }
        let (mut sum, mut square, mut relative, mut total) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..20 {
            let query = vector(&mut random, 0.3);
            let mut prepared = PreparedQuery::default();
            prepared.prepare(kernels, &rotation, &mean, shape, metric, &query);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
            let apart: f32 = prepared.rotated.iter().zip(&centre).map(|(q, c)| (q - c) * (q - c)).sum();
            let base = match metric {
                Metric::L2 => apart,
                Metric::Cosine => 0.5 * apart,
                Metric::InnerProduct => -dot(&prepared.rotated, &centre),
            };
            let mut counted = vec![0i32; 200];
            count(kernels, shape, &prepared, &codes, &mut counted);
            let listed: Vec<u32> = (0..200).rev().collect();
            let mut backward = vec![0i32; 200];
            count_rows(kernels, shape, &prepared, &codes, shape.row_bytes(), &listed, &mut backward);
            backward.reverse();
            assert_eq!(backward, counted);
            let (mut est, mut dev) = (vec![0.0; 200], vec![0.0; 200]);
            estimates(&prepared, base, widths, &factors, &counted, &mut est, &mut dev);
            judge_agrees(kernels, &terms(&prepared, widths, 2.0), base, &factors, &counted, &est, &dev);
            for ((row, e), d) in rows.iter().zip(&est).zip(&dev) {
                let error = distance(metric, row, &query) - f64::from(*e);
                let z = error / f64::from(*d);
                sum += z;
                square += z * z;
                relative += f64::from(*d);
                total += 1.0;
            }
        }
        (sum / total, (square / total).sqrt(), relative / total)
    }

    #[test]
    fn estimates_are_unbiased_and_their_deviation_is_the_predicted_one() {
        for metric in [Metric::L2, Metric::Cosine, Metric::InnerProduct] {
            for (dim, bits) in [(100, 4), (256, 2), (384, 1), (768, 1), (1024, 1), (1000, 1), (128, 1)] {
                let (mean, deviation, _) = z_scores(metric, dim, bits);
                assert!(mean.abs() < 0.15, "{metric:?} dim {dim} bits {bits}: mean {mean}");
                assert!(
                    (0.85..1.25).contains(&deviation),
                    "{metric:?} dim {dim} bits {bits}: deviation {deviation}"
                );
            }
        }
    }

    #[test]
    fn each_bit_makes_the_estimate_finer() {
        let widths: Vec<f64> = [1, 2, 4].iter().map(|bits| z_scores(Metric::L2, 128, *bits).2).collect();
        assert!(widths[1] < 0.6 * widths[0] && widths[2] < 0.3 * widths[1], "{widths:?}");
    }
}
