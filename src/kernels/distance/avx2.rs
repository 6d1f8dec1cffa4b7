//! Exact distances in 256-bit registers: eight of them hold the contract's 64 lanes.

use std::arch::x86_64::*;

use super::LANES;
use crate::kernels::vector::avx2::*;

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
fn square_of_difference(r: __m256, q: __m256) -> __m256 {
    let difference = _mm256_sub_ps(r, q);
    _mm256_mul_ps(difference, difference)
}

#[inline]
#[target_feature(enable = "avx2")]
fn product(r: __m256, q: __m256) -> __m256 {
    _mm256_mul_ps(r, q)
}

#[inline]
#[target_feature(enable = "avx2")]
fn square(r: __m256, _: __m256) -> __m256 {
    _mm256_mul_ps(r, r)
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
                $($lanes[i] = _mm256_add_ps($lanes[i], $term(r, q));)+
            }
        }
        let (row, row_rest) = row_tail.as_chunks::<8>();
        let (query, query_rest) = query_tail.as_chunks::<8>();
        for i in $registers {
            if i < row.len() && i < query.len() {
                let (r, q) = ($load(&row[i]), load_f32(&query[i]));
                $($lanes[i] = _mm256_add_ps($lanes[i], $term(r, q));)+
            }
        }
        if !row_rest.is_empty() {
            // One more register, whose number is known late: all the others get zeros.
            let (r, q) = ($load_rest(row_rest), load_f32_rest(query_rest));
            for i in $registers {
                let here = _mm256_castsi256_ps(_mm256_set1_epi32(-i32::from(i == row.len())));
                $($lanes[i] = _mm256_add_ps($lanes[i], _mm256_and_ps(here, $term(r, q)));)+
            }
        }
    };
}

/// A module with the three functions for one type of row.
macro_rules! rows {
    ($name:ident, $type:ty, $load:ident, $load_rest:ident) => {
        pub(in crate::kernels) mod $name {
            use super::*;

            #[target_feature(enable = "avx2,f16c")]
            pub(in crate::kernels) fn l2(row: &[$type], query: &[f32]) -> f32 {
                let mut lanes = [_mm256_setzero_ps(); REGISTERS];
                add_terms! { (row, $load, $load_rest), query, 0..REGISTERS, [lanes += square_of_difference] }
                reduce(lanes)
            }

            #[target_feature(enable = "avx2,f16c")]
            pub(in crate::kernels) fn dot(row: &[$type], query: &[f32]) -> f32 {
                let mut lanes = [_mm256_setzero_ps(); REGISTERS];
                add_terms! { (row, $load, $load_rest), query, 0..REGISTERS, [lanes += product] }
                reduce(lanes)
            }

            /// Sixteen accumulators and two loads do not fit sixteen registers, so the row is passed over twice,
            /// one half of the lanes each time: no element is loaded or widened twice.
            #[target_feature(enable = "avx2,f16c")]
            pub(in crate::kernels) fn dot_norm(row: &[$type], query: &[f32]) -> (f32, f32) {
                let mut dot = [_mm256_setzero_ps(); REGISTERS];
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
