//! Exact distances in 256-bit registers: eight of them hold the contract's 64 lanes.

use std::arch::x86_64::*;

use super::LANES;
use crate::kernels::vector::{avx2::*, padded};

/// Registers that hold the lanes.
const REGISTERS: usize = LANES / 8;

/// Adds the lanes by halves: whole registers first, then inside the last one.
#[inline]
#[target_feature(enable = "avx2")]
fn reduce(mut lanes: [__m256; REGISTERS]) -> f32 {
    for half in [4, 2, 1] {
        for i in 0..half {
            lanes[i] = _mm256_add_ps(lanes[i], lanes[i + half]);
        }
    }
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes[0]), _mm256_extractf128_ps::<1>(lanes[0]));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_square_of_difference(lane: __m256, r: __m256, q: __m256) -> __m256 {
    let difference = _mm256_sub_ps(r, q);
    _mm256_add_ps(lane, _mm256_mul_ps(difference, difference))
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_product(lane: __m256, r: __m256, q: __m256) -> __m256 {
    _mm256_add_ps(lane, _mm256_mul_ps(r, q))
}

/// Sixteen accumulators and two loads do not fit sixteen registers, so the row is passed over twice, one half of
/// the lanes each time: no cache line is read twice, and no element is widened twice.
macro_rules! dot_norm {
    ($row:expr, $query:expr, $load:ident) => {{
        let mut dots = [_mm256_setzero_ps(); REGISTERS];
        let mut norms = [_mm256_setzero_ps(); REGISTERS];
        let (row_groups, row_tail) = $row.as_chunks::<LANES>();
        let (query_groups, query_tail) = $query.as_chunks::<LANES>();
        let tails = (padded::<_, LANES>(row_tail), padded::<_, LANES>(query_tail));
        let tail = (!row_tail.is_empty()).then_some((&tails.0, &tails.1));
        for half in [0, REGISTERS / 2] {
            let mut dot = [_mm256_setzero_ps(); REGISTERS / 2];
            let mut norm = [_mm256_setzero_ps(); REGISTERS / 2];
            for (row, query) in row_groups.iter().zip(query_groups).chain(tail) {
                let (row, query) = (&row.as_chunks::<8>().0[half..], &query.as_chunks::<8>().0[half..]);
                for i in 0..REGISTERS / 2 {
                    let r = $load(&row[i]);
                    dot[i] = add_product(dot[i], r, load_f32(&query[i]));
                    norm[i] = add_product(norm[i], r, r);
                }
            }
            dots[half..half + REGISTERS / 2].copy_from_slice(&dot);
            norms[half..half + REGISTERS / 2].copy_from_slice(&norm);
        }
        (reduce(dots), reduce(norms))
    }};
}

/// A module with the three functions for one type of row.
macro_rules! rows {
    ($name:ident, $type:ty, $load:ident) => {
        pub(in crate::kernels) mod $name {
            use super::*;

            /// The sum over one row of what `$add` adds.
            macro_rules! sum {
                ($row:expr, $query:expr, $add:ident) => {{
                    let mut lanes = [_mm256_setzero_ps(); REGISTERS];
                    let (row_groups, row_tail) = $row.as_chunks::<LANES>();
                    let (query_groups, query_tail) = $query.as_chunks::<LANES>();
                    for (row, query) in row_groups.iter().zip(query_groups) {
                        let (row, query) = (row.as_chunks::<8>().0, query.as_chunks::<8>().0);
                        for i in 0..REGISTERS {
                            lanes[i] = $add(lanes[i], $load(&row[i]), load_f32(&query[i]));
                        }
                    }
                    if !row_tail.is_empty() {
                        let (row, query) = (padded::<_, LANES>(row_tail), padded::<_, LANES>(query_tail));
                        let (row, query) = (row.as_chunks::<8>().0, query.as_chunks::<8>().0);
                        for i in 0..REGISTERS {
                            lanes[i] = $add(lanes[i], $load(&row[i]), load_f32(&query[i]));
                        }
                    }
                    reduce(lanes)
                }};
            }

            #[target_feature(enable = "avx2,f16c")]
            pub(in crate::kernels) fn l2(row: &[$type], query: &[f32]) -> f32 {
                sum!(row, query, add_square_of_difference)
            }

            #[target_feature(enable = "avx2,f16c")]
            pub(in crate::kernels) fn dot(row: &[$type], query: &[f32]) -> f32 {
                sum!(row, query, add_product)
            }

            #[target_feature(enable = "avx2,f16c")]
            pub(in crate::kernels) fn dot_norm(row: &[$type], query: &[f32]) -> (f32, f32) {
                dot_norm!(row, query, $load)
            }
        }
    };
}

rows!(f32, f32, load_f32);
rows!(f16, u16, load_f16);
rows!(u8, u8, load_u8);

#[target_feature(enable = "avx2,f16c")]
pub(in crate::kernels) fn l2_block(rows: &[f32], query: &[f32], out: &mut [f32]) {
    for (r, out) in out.iter_mut().enumerate() {
        *out = f32::l2(&rows[r * query.len()..][..query.len()], query);
    }
}

#[target_feature(enable = "avx2,f16c")]
pub(in crate::kernels) fn dot_block(rows: &[f32], query: &[f32], out: &mut [f32]) {
    for (r, out) in out.iter_mut().enumerate() {
        *out = f32::dot(&rows[r * query.len()..][..query.len()], query);
    }
}
