//! Exact distances in 128-bit registers: eight pairs of them hold the contract's 64 lanes.

use std::arch::aarch64::*;

use super::LANES;
use crate::kernels::vector::neon::*;

/// Pairs of registers that hold the lanes.
const REGISTERS: usize = LANES / 8;

/// Adds the lanes by halves: whole registers first, then inside the last one.
#[inline]
#[target_feature(enable = "neon")]
fn reduce(mut lanes: [Eight; REGISTERS]) -> f32 {
    for half in [4, 2, 1] {
        for i in 0..half {
            lanes[i] = lanes[i].add(lanes[i + half]);
        }
    }
    let four = vaddq_f32(lanes[0].0, lanes[0].1);
    let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
}

#[inline]
#[target_feature(enable = "neon")]
fn square_of_difference(r: Eight, q: Eight) -> Eight {
    let difference = r.sub(q);
    difference.mul(difference)
}

#[inline]
#[target_feature(enable = "neon")]
fn product(r: Eight, q: Eight) -> Eight {
    r.mul(q)
}

#[inline]
#[target_feature(enable = "neon")]
fn square(r: Eight, _: Eight) -> Eight {
    r.mul(r)
}

/// Adds to each of the `$lanes` the `$term` of the row's elements, for those registers of a group of 64 that are
/// numbered `$registers`. Registers behind the row's end are left out: zeros would change no lane, as none is -0.
macro_rules! add_terms {
    (
        ($row:ident, $load:ident, $load_rest:ident), $query:ident, $registers:expr,
        [$($lanes:ident += $term:ident),+]
    ) => {
        let (row_groups, row_tail) = $row.as_chunks::<LANES>();
        let (query_groups, query_tail) = $query.as_chunks::<LANES>();
        for (row, query) in row_groups.iter().zip(query_groups) {
            let (row, query) = (row.as_chunks::<8>().0, query.as_chunks::<8>().0);
            for i in $registers {
                let (r, q) = ($load(&row[i]), load_f32(&query[i]));
                $($lanes[i] = $lanes[i].add($term(r, q));)+
            }
        }
        let (row, row_rest) = row_tail.as_chunks::<8>();
        let (query, query_rest) = query_tail.as_chunks::<8>();
        for i in $registers {
            if i < row.len() && i < query.len() {
                let (r, q) = ($load(&row[i]), load_f32(&query[i]));
                $($lanes[i] = $lanes[i].add($term(r, q));)+
            }
        }
        if !row_rest.is_empty() {
            // One more register, whose number is known late: all the others get zeros.
            let (r, q) = ($load_rest(row_rest), load_f32_rest(query_rest));
            for i in $registers {
                let here = i == row.len();
                $($lanes[i] = $lanes[i].add($term(r, q).or_zero(here));)+
            }
        }
    };
}

/// A module with the three functions for one type of row.
macro_rules! rows {
    ($name:ident, $type:ty, $load:ident, $load_rest:ident) => {
        pub(in crate::kernels) mod $name {
            use super::*;

            #[target_feature(enable = "neon")]
            pub(in crate::kernels) fn l2(row: &[$type], query: &[f32]) -> f32 {
                let mut lanes = [Eight::splat(0.0); REGISTERS];
                add_terms! { (row, $load, $load_rest), query, 0..REGISTERS, [lanes += square_of_difference] }
                reduce(lanes)
            }

            #[target_feature(enable = "neon")]
            pub(in crate::kernels) fn dot(row: &[$type], query: &[f32]) -> f32 {
                let mut lanes = [Eight::splat(0.0); REGISTERS];
                add_terms! { (row, $load, $load_rest), query, 0..REGISTERS, [lanes += product] }
                reduce(lanes)
            }

            /// 32 accumulators and two loads do not fit 32 registers, so the row is passed over twice, one half of
            /// the lanes each time: no element is loaded or widened twice.
            #[target_feature(enable = "neon")]
            pub(in crate::kernels) fn dot_norm(row: &[$type], query: &[f32]) -> (f32, f32) {
                let mut dot = [Eight::splat(0.0); REGISTERS];
                let mut norm = dot;
                add_terms! { (row, $load, $load_rest), query, 0..REGISTERS / 2, [dot += product, norm += square] }
                add_terms! {
                    (row, $load, $load_rest), query, REGISTERS / 2..REGISTERS, [dot += product, norm += square]
                }
                (reduce(dot), reduce(norm))
            }
        }
    };
}

rows!(f32, f32, load_f32, load_f32_rest);
rows!(f16, u16, load_f16, load_f16_rest);
rows!(u8, u8, load_u8, load_u8_rest);
