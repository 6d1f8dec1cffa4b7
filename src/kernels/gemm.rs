//! Inner products of every row of one block with every row of another: the matrix product of the build.
//!
//! In: two packed blocks of rows of one dimension. Out: a matrix of inner products, row-major.
//! The arithmetic is `matrixmultiply`'s, on the calling thread: it chooses among the CPU's vector units
//! itself, and each product is summed in one order that depends on the dimension and the CPU alone, not on
//! the place in the block. Callers run blocks on several threads.
//!
//! For building only. A search must not rank by it: the order of its sums differs between kinds of CPU.
#![allow(unsafe_code)]

use crate::memory::try_room;
use crate::types::Result;

/// Writes `out[i * m + j]`, the inner product of row `i` of `rows` and row `j` of `others` (`m` rows).
///
/// * `rows`: n x dim, packed
/// * `others`: m x dim, packed
/// * `out`: n x m; overwritten
///
/// # Errors
/// `OutOfMemory`.
///
/// # Panics
/// If `dim` is 0, a block is not whole rows, or `out` is not n x m.
pub fn inner_products(rows: &[f32], others: &[f32], dim: usize, out: &mut [f32]) -> Result<()> {
    assert!(dim > 0 && rows.len().is_multiple_of(dim) && others.len().is_multiple_of(dim));
    let (n, m) = (rows.len() / dim, others.len() / dim);
    assert_eq!(n.checked_mul(m), Some(out.len()));
    if out.is_empty() {
        return Ok(());
    }
    try_room(packed_bytes(n, dim, m))?;
    // Lengths of slices are below isize::MAX, and so are these, which are at most such a length.
    let (row_stride, out_stride) = (dim as isize, m as isize);
    // SAFETY: the product reads `rows` as n x dim with strides (dim, 1), so its last element is
    // `n * dim - 1`; `others` as dim x m with strides (1, dim), last element `m * dim - 1`; and writes `out`
    // as n x m with strides (m, 1), last element `n * m - 1`: all inside by the assertions above. `out` is
    // borrowed mutably, hence apart from both inputs. With beta 0 it is written without being read.
    // Test: `products_equal_the_plain_sums`.
    unsafe {
        matrixmultiply::sgemm(
            n,
            dim,
            m,
            1.0,
            rows.as_ptr(),
            row_stride,
            1,
            others.as_ptr(),
            1,
            row_stride,
            0.0,
            out.as_mut_ptr(),
            out_stride,
            1,
        );
    }
    Ok(())
}

/// The most bytes that the product packs its blocks into, in one allocation that ends the process if it is refused.
fn packed_bytes(n: usize, dim: usize, m: usize) -> usize {
    /// Rows of the left block, rows of the right one, and dimensions that are packed at a time.
    const PACKED: (usize, usize, usize) = (64, 1024, 256);
    /// Rows are filled up to whole tiles of the registers, of at most so many.
    const TILE: usize = 32;
    let rows = n.min(PACKED.0).next_multiple_of(TILE) + m.min(PACKED.1).next_multiple_of(TILE);
    rows * dim.min(PACKED.2) * size_of::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small integers, so that sums are exact in any order.
    fn block(count: usize, dim: usize, salt: usize) -> Vec<f32> {
        (0..count * dim).map(|i| ((i * 31 + salt * 17) % 13) as f32 - 6.0).collect()
    }

    #[test]
    fn products_equal_the_plain_sums() {
        for dim in [1, 2, 7, 8, 9, 31, 64, 100, 257] {
            for (n, m) in [(0, 3), (3, 0), (1, 1), (1, 9), (8, 8), (17, 5), (65, 33)] {
                let (rows, others) = (block(n, dim, 1), block(m, dim, 2));
                let mut out = vec![f32::NAN; n * m];
                inner_products(&rows, &others, dim, &mut out).unwrap();
                for i in 0..n {
                    for j in 0..m {
                        let (a, b) = (&rows[i * dim..][..dim], &others[j * dim..][..dim]);
                        let want: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
                        assert_eq!(out[i * m + j], want, "dim {dim}, {n} x {m}, at {i}, {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_product_does_not_depend_on_its_place_in_the_block() {
        let (n, m, dim) = (70, 45, 100);
        let scale = |v: Vec<f32>| v.iter().map(|x| x * 0.37 + 0.011).collect::<Vec<f32>>();
        let (rows, others) = (scale(block(n, dim, 3)), scale(block(m, dim, 4)));
        let mut whole = vec![0.0; n * m];
        inner_products(&rows, &others, dim, &mut whole).unwrap();
        for (first, count) in [(0, 1), (5, 3), (13, 40), (69, 1)] {
            let mut part = vec![0.0; count * m];
            inner_products(&rows[first * dim..][..count * dim], &others, dim, &mut part).unwrap();
            assert_eq!(part, whole[first * m..][..count * m]);
        }
    }

    #[test]
    #[should_panic]
    fn an_output_of_another_size_is_refused() {
        inner_products(&[1.0; 4], &[1.0; 4], 2, &mut [0.0; 3]).unwrap();
    }
}
