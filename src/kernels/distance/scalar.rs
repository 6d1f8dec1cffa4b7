//! Exact distances in plain Rust: the contract's 64 lanes are an array, which the compiler may keep in registers.

use super::LANES;
use crate::kernels::convert::scalar::widen_f16;

/// Adds the terms of all elements to the lanes, in the contract's order.
///
/// The last group is not padded: adding a zero would change no lane, as none is ever -0.
#[inline(always)]
fn lanes<T: Copy>(row: &[T], query: &[f32], widen: fn(T) -> f32, term: fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    let (row_groups, row_tail) = row.as_chunks::<LANES>();
    let (query_groups, query_tail) = query.as_chunks::<LANES>();
    for (row, query) in row_groups.iter().zip(query_groups) {
        for i in 0..LANES {
            lanes[i] += term(widen(row[i]), query[i]);
        }
    }
    for (lane, (&r, &q)) in lanes.iter_mut().zip(row_tail.iter().zip(query_tail)) {
        *lane += term(widen(r), q);
    }
    lanes
}

/// Adds the lanes by halves.
#[inline(always)]
fn reduce(mut lanes: [f32; LANES]) -> f32 {
    for half in [32, 16, 8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

#[inline(always)]
fn square_of_difference(r: f32, q: f32) -> f32 {
    let difference = r - q;
    difference * difference
}

#[inline(always)]
fn product(r: f32, q: f32) -> f32 {
    r * q
}

#[inline(always)]
fn square(r: f32, _: f32) -> f32 {
    r * r
}

/// A module with the three functions for one type of row.
macro_rules! rows {
    ($name:ident, $type:ty, $widen:expr) => {
        pub(in crate::kernels) mod $name {
            use super::*;

            pub(in crate::kernels) fn l2(row: &[$type], query: &[f32]) -> f32 {
                reduce(lanes(row, query, $widen, square_of_difference))
            }

            pub(in crate::kernels) fn dot(row: &[$type], query: &[f32]) -> f32 {
                reduce(lanes(row, query, $widen, product))
            }

            pub(in crate::kernels) fn dot_norm(row: &[$type], query: &[f32]) -> (f32, f32) {
                (dot(row, query), reduce(lanes(row, query, $widen, square)))
            }
        }
    };
}

rows!(f32, f32, |r| r);
rows!(f16, u16, widen_f16);
rows!(u8, u8, f32::from);
