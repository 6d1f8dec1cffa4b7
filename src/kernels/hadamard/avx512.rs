//! Transform and signs in 512-bit registers.
//!
//! The first seven stages, `h` up to 64, happen inside eight registers that hold 128 neighbours; later ones two at a
//! time, between four registers, block by block as in the AVX2 variant.

use std::arch::x86_64::*;

use super::{avx2, scalar};
use crate::kernels::vector::avx512::*;

/// Values whose stages are done in one go: 16 KB, half of the smallest first-level cache.
const BLOCK: usize = 4096;

/// Values that the registers of the first stages hold.
const GROUP: usize = 128;

#[target_feature(enable = "avx512f,avx2,fma")]
pub(in crate::kernels) fn hadamard(values: &mut [f32]) {
    if values.len() < GROUP {
        return avx2::hadamard(values);
    }
    for block in values.chunks_mut(BLOCK) {
        for group in block.as_chunks_mut::<GROUP>().0 {
            first_stages(group);
        }
        later_stages(block, GROUP);
    }
    if values.len() > BLOCK {
        later_stages(values, BLOCK);
    }
}

/// The stages `h` = 1 to 64.
#[inline]
#[target_feature(enable = "avx512f")]
fn first_stages(group: &mut [f32; GROUP]) {
    let (group, _) = group.as_chunks_mut::<16>();
    let mut x = [_mm512_setzero_ps(); 8];
    for i in 0..8 {
        x[i] = within(load_f32(&group[i]));
    }
    for (low, high) in
        [(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7)]
    {
        (x[low], x[high]) = (_mm512_add_ps(x[low], x[high]), _mm512_sub_ps(x[low], x[high]));
    }
    for i in 0..8 {
        store_f32(&mut group[i], x[i]);
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

/// The stages from `h` to half the length, two at a time while there are two.
#[inline]
#[target_feature(enable = "avx512f")]
fn later_stages(values: &mut [f32], mut h: usize) {
    while 4 * h <= values.len() {
        for quad in values.chunks_exact_mut(4 * h) {
            two_stages(quad, h);
        }
        h *= 4;
    }
    if 2 * h <= values.len() {
        for pair in values.chunks_exact_mut(2 * h) {
            one_stage(pair, h);
        }
    }
}

/// The stages `h` and `2 * h` of `4 * h` values.
#[inline]
#[target_feature(enable = "avx512f")]
fn two_stages(quad: &mut [f32], h: usize) {
    let (quad, _) = quad.as_chunks_mut::<16>();
    let (ab, cd) = quad.split_at_mut(2 * h / 16);
    let ((a, b), (c, d)) = (ab.split_at_mut(h / 16), cd.split_at_mut(h / 16));
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let (w, x, y, z) = (load_f32(a), load_f32(b), load_f32(c), load_f32(d));
        let (w, x) = (_mm512_add_ps(w, x), _mm512_sub_ps(w, x));
        let (y, z) = (_mm512_add_ps(y, z), _mm512_sub_ps(y, z));
        store_f32(a, _mm512_add_ps(w, y));
        store_f32(b, _mm512_add_ps(x, z));
        store_f32(c, _mm512_sub_ps(w, y));
        store_f32(d, _mm512_sub_ps(x, z));
    }
}

/// The stage `h` of `2 * h` values.
#[inline]
#[target_feature(enable = "avx512f")]
fn one_stage(pair: &mut [f32], h: usize) {
    let (pair, _) = pair.as_chunks_mut::<16>();
    let (a, b) = pair.split_at_mut(h / 16);
    for (a, b) in a.iter_mut().zip(b) {
        let (x, y) = (load_f32(a), load_f32(b));
        store_f32(a, _mm512_add_ps(x, y));
        store_f32(b, _mm512_sub_ps(x, y));
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
