//! All inner products of two sets of rows, in f32: the one matrix product behind search, k-means and covariance.
//!
//! Rounds as `matrixmultiply` does; callers that need exact answers widen by [`rounding`] and look again in f64.
#![allow(unsafe_code)]

use matrixmultiply::sgemm;

/// `out[i * b_rows + j]` = inner product of row i of `a` and row j of `b`; rows are `dim` long.
///
/// # Panics
/// `dim` is 0, a side is no whole number of rows, or `out` does not have room for exactly all products.
pub fn products(a: &[f32], b: &[f32], dim: usize, out: &mut [f32]) {
    let (rows, columns) = check(a, b, dim, out);
    // SAFETY: `check` asserted that `a` is rows x dim and `b` columns x dim in row order and `out` exactly rows x
    // columns; the strides below stay within that (b is read as its transpose). `out` is borrowed mutably, so it
    // overlaps neither. Test: `products_agree_with_plain_loops_at_any_shape`.
    unsafe {
        sgemm(
            rows,
            dim,
            columns,
            1.0,
            a.as_ptr(),
            dim as isize,
            1,
            b.as_ptr(),
            1,
            dim as isize,
            0.0,
            out.as_mut_ptr(),
            columns as isize,
            1,
        );
    }
}

/// Adds to `out` (dim x dim) the products of all pairs of columns of `a`: its uncentred covariance times its rows.
///
/// # Panics
/// `a` is no whole number of rows, or `out` is not dim x dim.
pub fn add_gram(a: &[f32], dim: usize, out: &mut [f32]) {
    assert!(dim > 0 && a.len().is_multiple_of(dim) && out.len() == dim * dim, "shapes of a gram matrix");
    let rows = a.len() / dim;
    // SAFETY: `a` is rows x dim and `out` dim x dim by the assertion; `a` is read once as its transpose, once as
    // it is, and `out`, borrowed mutably, does not overlap it. Test: `gram_is_the_product_with_the_transpose`.
    unsafe {
        sgemm(
            dim,
            rows,
            dim,
            1.0,
            a.as_ptr(),
            1,
            dim as isize,
            a.as_ptr(),
            dim as isize,
            1,
            1.0,
            out.as_mut_ptr(),
            dim as isize,
            1,
        );
    }
}

/// No product of [`products`] is further from the truth than this times the lengths of both rows: dim roundings
/// of half a unit in the last place, in whichever order, and some for the caller's own few operations.
#[must_use]
pub fn rounding(dim: usize) -> f64 {
    (dim as f64 + 8.0) / f64::from(1u32 << 24)
}

fn check(a: &[f32], b: &[f32], dim: usize, out: &[f32]) -> (usize, usize) {
    assert!(dim > 0 && a.len().is_multiple_of(dim) && b.len().is_multiple_of(dim), "whole rows");
    let (rows, columns) = (a.len() / dim, b.len() / dim);
    assert!(rows.checked_mul(columns) == Some(out.len()), "room for all products");
    (rows, columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn rows(count: usize, dim: usize, key: u64) -> Vec<f32> {
        let mut stream = Stream::new(key);
        (0..count * dim).map(|_| stream.normal()).collect()
    }

    #[test]
    fn products_agree_with_plain_loops_at_any_shape() {
        for (m, n, dim) in [(0, 3, 2), (1, 1, 1), (5, 7, 3), (33, 65, 100), (8, 9, 257)] {
            let (a, b) = (rows(m, dim, 1), rows(n, dim, 2));
            let mut out = vec![f32::NAN; m * n];
            products(&a, &b, dim, &mut out);
            for (i, x) in a.chunks_exact(dim).enumerate() {
                for (j, y) in b.chunks_exact(dim).enumerate() {
                    let exact: f64 = x.iter().zip(y).map(|(p, q)| f64::from(*p) * f64::from(*q)).sum();
                    let length = |v: &[f32]| v.iter().map(|p| f64::from(p * p)).sum::<f64>().sqrt();
                    let error = (f64::from(out[i * n + j]) - exact).abs();
                    assert!(error <= rounding(dim) * length(x) * length(y), "{m} {n} {dim}: {error}");
                }
            }
        }
    }

    #[test]
    fn gram_is_the_product_with_the_transpose() {
        let (dim, count) = (7, 40);
        let a = rows(count, dim, 3);
        let mut out = vec![1.0; dim * dim];
        add_gram(&a, dim, &mut out);
        for i in 0..dim {
            for j in 0..dim {
                let sum: f32 = a.chunks_exact(dim).map(|row| row[i] * row[j]).sum();
                assert!((out[i * dim + j] - 1.0 - sum).abs() < 1e-3);
            }
        }
    }

    #[test]
    #[should_panic(expected = "room for all products")]
    fn an_output_too_small_is_refused() {
        products(&[1.0; 4], &[1.0; 4], 2, &mut [0.0; 3]);
    }
}
