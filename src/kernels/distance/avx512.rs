//! Exact distances in 512-bit registers: four of them hold the contract's 64 lanes, eight both sums of `dot_norm`.
//!
//! What is not here is as fast or faster in 256-bit registers, and taken from there.

use std::arch::x86_64::*;

use super::LANES;
use crate::kernels::vector::avx512::*;

/// Registers that hold the lanes.
const REGISTERS: usize = LANES / 16;

/// Adds the lanes by halves: whole registers first, then inside the last one.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn reduce(lanes: [__m512; REGISTERS]) -> f32 {
    let low = _mm512_add_ps(lanes[0], lanes[2]);
    let high = _mm512_add_ps(lanes[1], lanes[3]);
    let sixteen = _mm512_add_ps(low, high);
    let eight = _mm256_add_ps(_mm512_castps512_ps256(sixteen), _mm512_extractf32x8_ps::<1>(sixteen));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn square_of_difference(r: __m512, q: __m512) -> __m512 {
    let difference = _mm512_sub_ps(r, q);
    _mm512_mul_ps(difference, difference)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn product(r: __m512, q: __m512) -> __m512 {
    _mm512_mul_ps(r, q)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn square(r: __m512, _: __m512) -> __m512 {
    _mm512_mul_ps(r, r)
}

/// Adds to each of the `$lanes` the `$term` of the row's elements. The last group is loaded under a mask: zeros
/// behind the end, as the contract has it.
macro_rules! add_terms {
    (($row:ident, $load:ident, $load_rest:ident), $query:ident, [$($lanes:ident += $term:ident),+]) => {
        let (row_groups, row_tail) = $row.as_chunks::<LANES>();
        let (query_groups, query_tail) = $query.as_chunks::<LANES>();
        for (row, query) in row_groups.iter().zip(query_groups) {
            let (row, query) = (row.as_chunks::<16>().0, query.as_chunks::<16>().0);
            for i in 0..REGISTERS {
                let (r, q) = ($load(&row[i]), load_f32(&query[i]));
                $($lanes[i] = _mm512_add_ps($lanes[i], $term(r, q));)+
            }
        }
        if !row_tail.is_empty() {
            for i in 0..REGISTERS {
                let start = row_tail.len().min(16 * i);
                let (r, q) = ($load_rest(&row_tail[start..]), load_f32_rest(&query_tail[start..]));
                $($lanes[i] = _mm512_add_ps($lanes[i], $term(r, q));)+
            }
        }
    };
}

/// `l2` and `dot_norm` for one type of row.
macro_rules! l2_and_dot_norm {
    ($type:ty, $load:ident, $load_rest:ident) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        pub(in crate::kernels) fn l2(row: &[$type], query: &[f32]) -> f32 {
            let mut lanes = [_mm512_setzero_ps(); REGISTERS];
            add_terms! { (row, $load, $load_rest), query, [lanes += square_of_difference] }
            reduce(lanes)
        }

        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        pub(in crate::kernels) fn dot_norm(row: &[$type], query: &[f32]) -> (f32, f32) {
            let mut dot = [_mm512_setzero_ps(); REGISTERS];
            let mut norm = dot;
            add_terms! { (row, $load, $load_rest), query, [dot += product, norm += square] }
            (reduce(dot), reduce(norm))
        }
    };
}

pub(in crate::kernels) mod f32 {
    use super::*;

    l2_and_dot_norm!(f32, load_f32, load_f32_rest);
}

pub(in crate::kernels) mod u8 {
    use super::*;

    l2_and_dot_norm!(u8, load_u8, load_u8_rest);

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(in crate::kernels) fn dot(row: &[u8], query: &[f32]) -> f32 {
        let mut lanes = [_mm512_setzero_ps(); REGISTERS];
        add_terms! { (row, load_u8, load_u8_rest), query, [lanes += product] }
        reduce(lanes)
    }
}
