//! Transform and signs in 512-bit registers.
//!
//! The first eight stages, `h` up to 128, happen inside sixteen registers that hold 256 neighbours; later ones four at
//! a time, between sixteen registers that lie `h` apart: 4096 values are done in two passes. Longer transforms do that
//! block by block, so that they leave the first-level cache only for their last stages.

use std::arch::x86_64::*;

use super::{avx2, scalar};
use crate::kernels::vector::avx512::*;

/// Values whose stages are done in one go: 16 KB, half of the smallest first-level cache.
const BLOCK: usize = 4096;

/// Registers that a pass works in.
const REGISTERS: usize = 16;

/// Values that the registers of the first stages hold.
const GROUP: usize = 16 * REGISTERS;

#[target_feature(enable = "avx512f,avx2,fma")]
pub(in crate::kernels) fn hadamard(values: &mut [f32]) {
    let length = values.len();
    match length {
        // 64 values: 14 ns in registers of 256 bits, 16 in these.
        0..128 => return avx2::hadamard(values),
        128 => first_stages::<8>(values),
        _ => {
            for block in values.chunks_mut(BLOCK) {
                for group in block.chunks_exact_mut(GROUP) {
                    first_stages::<REGISTERS>(group);
                }
                later_stages::<REGISTERS>(block, GROUP);
            }
        }
    }
    if length > BLOCK {
        // Lines that lie 16 KB apart share the ways of one set of the cache: eight at least, of which loads and
        // stores of four registers take half.
        later_stages::<4>(values, BLOCK);
    }
}

/// The stages `h` = 1 to `8 * N` of `16 * N` values.
#[inline]
#[target_feature(enable = "avx512f")]
fn first_stages<const N: usize>(group: &mut [f32]) {
    let Some(group) = group.as_chunks_mut::<16>().0.first_chunk_mut::<N>() else { return };
    let mut x = [_mm512_setzero_ps(); N];
    for i in 0..N {
        x[i] = within(load_f32(&group[i]));
    }
    between(&mut x);
    for i in 0..N {
        store_f32(&mut group[i], x[i]);
    }
}

/// The stages between `N` registers, nearest ones first.
#[inline]
#[target_feature(enable = "avx512f")]
fn between<const N: usize>(x: &mut [__m512; N]) {
    for stage in 0..N.trailing_zeros() {
        for i in 0..N {
            let other = i | 1 << stage;
            if i != other {
                (x[i], x[other]) = (_mm512_add_ps(x[i], x[other]), _mm512_sub_ps(x[i], x[other]));
            }
        }
    }
}

/// The stages `h` = 1, 2, 4 and 8, inside one register: each lane's partner, plus the lane with the sign of its
/// place. A product with 1 or -1 is exact, so the fused operation rounds once, as the plain sum or difference does.
#[inline]
#[target_feature(enable = "avx512f")]
fn within(x: __m512) -> __m512 {
    let (one, minus_one) = (_mm512_set1_ps(1.0), _mm512_set1_ps(-1.0));
    // A set bit in the mask is a lane in the upper half of its pair.
    let x = _mm512_fmadd_ps(
        x,
        _mm512_mask_blend_ps(0b1010_1010_1010_1010, one, minus_one),
        _mm512_permute_ps::<0b10_11_00_01>(x),
    );
    let x = _mm512_fmadd_ps(
        x,
        _mm512_mask_blend_ps(0b1100_1100_1100_1100, one, minus_one),
        _mm512_permute_ps::<0b01_00_11_10>(x),
    );
    let x = _mm512_fmadd_ps(
        x,
        _mm512_mask_blend_ps(0b1111_0000_1111_0000, one, minus_one),
        _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x),
    );
    _mm512_fmadd_ps(
        x,
        _mm512_mask_blend_ps(0b1111_1111_0000_0000, one, minus_one),
        _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x),
    )
}

/// The stages from `h` to half the length, between up to `N` registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn later_stages<const N: usize>(values: &mut [f32], mut h: usize) {
    while h < values.len() {
        match N.min(values.len() / h) {
            2 => stages::<2>(values, h),
            4 => stages::<4>(values, h),
            8 => stages::<8>(values, h),
            _ => stages::<N>(values, h),
        }
        h *= N;
    }
}

/// The stages `h` to `h * N / 2`, over all values.
#[inline]
#[target_feature(enable = "avx512f")]
fn stages<const N: usize>(values: &mut [f32], h: usize) {
    for part in values.chunks_exact_mut(N * h) {
        let (part, _) = part.as_chunks_mut::<16>();
        for start in 0..h / 16 {
            let mut x = [_mm512_setzero_ps(); N];
            for i in 0..N {
                x[i] = load_f32(&part[start + i * (h / 16)]);
            }
            between(&mut x);
            for i in 0..N {
                store_f32(&mut part[start + i * (h / 16)], x[i]);
            }
        }
    }
}

/// Sixteen sign bits are a mask of lanes, whose values are XORed with -0.
#[target_feature(enable = "avx512f,avx512dq")]
pub(in crate::kernels) fn flip_signs(values: &mut [f32], signs: &[u8]) {
    let (values, values_tail) = values.as_chunks_mut::<16>();
    let (signs, signs_tail) = signs.split_at(2 * values.len());
    let sign = _mm512_set1_ps(-0.0);
    for (values, signs) in values.iter_mut().zip(signs.as_chunks::<2>().0) {
        let value = load_f32(values);
        store_f32(values, _mm512_mask_xor_ps(value, u16::from_le_bytes(*signs), value, sign));
    }
    scalar::flip_signs(values_tail, signs_tail);
}
