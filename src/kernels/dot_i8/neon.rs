//! Inner products of signed bytes: by widening products that are added up in pairs, or by `SDOT`, which adds four
//! products to a 32-bit lane.

use std::arch::aarch64::*;

use crate::kernels::vector::{neon::*, padded};

/// Rows that share one pass over the query.
const TILE: usize = 4;

/// A function that adds the products of sixteen bytes to four lanes, and the kernel made with it.
macro_rules! kernel {
    ($name:ident, $features:literal, $add_products:ident) => {
        #[target_feature(enable = $features)]
        pub(in crate::kernels) fn $name(rows: &[i8], query: &[i8], out: &mut [i32]) {
            /// The inner products of `N` rows.
            #[inline]
            #[target_feature(enable = $features)]
            fn dot_rows<const N: usize>(rows: &[i8], query: &[i8]) -> [i32; N] {
                let dim = query.len();
                let (blocks, tail) = query.as_chunks::<16>();
                let rows: [&[i8]; N] = std::array::from_fn(|r| &rows[r * dim..][..dim]);
                let row_blocks: [&[[i8; 16]]; N] = rows.map(|row| &row.as_chunks::<16>().0[..blocks.len()]);
                let mut sums = [vdupq_n_s32(0); N];
                for (i, block) in blocks.iter().enumerate() {
                    let query = load_i8(block);
                    for r in 0..N {
                        sums[r] = $add_products(sums[r], query, load_i8(&row_blocks[r][i]));
                    }
                }
                let mut out = [0; N];
                let query = load_i8(&padded(tail));
                for r in 0..N {
                    let row = load_i8(&padded(&rows[r][dim - tail.len()..]));
                    out[r] = vaddvq_s32($add_products(sums[r], query, row));
                }
                out
            }

            let dim = query.len();
            let (tiles, rest) = out.as_chunks_mut::<TILE>();
            let (tile_rows, rest_rows) = rows.split_at(tiles.len() * TILE * dim);
            for (rows, out) in tile_rows.chunks_exact(TILE * dim).zip(tiles) {
                *out = dot_rows(rows, query);
            }
            for (row, out) in rest_rows.chunks_exact(dim).zip(rest) {
                [*out] = dot_rows(row, query);
            }
        }
    };
}

kernel!(dot, "neon", widen_and_add);
kernel!(dot_by_sdot, "neon,dotprod", sdot);

#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) fn widen_and_add(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    vpadalq_s16(vpadalq_s16(sum, low), vmull_high_s8(a, b))
}
