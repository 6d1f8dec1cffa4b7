//! Transform and signs in 256-bit registers.
//!
//! The first six stages, `h` up to 32, happen inside eight registers that hold 64 neighbours; later ones two at a
//! time, between four registers. A block of [`BLOCK`] values is finished as far as it goes before the next one is
//! touched, so that a long transform leaves the first-level cache only for its last stages.

use std::arch::x86_64::*;

use super::scalar;
use crate::kernels::vector::avx2::*;

/// Values whose stages are done in one go: 16 KB, half of the smallest first-level cache.
const BLOCK: usize = 4096;

/// Values that the registers of the first stages hold.
const GROUP: usize = 64;

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernels) fn hadamard(values: &mut [f32]) {
    if values.len() < GROUP {
        return scalar::hadamard(values);
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

/// The stages `h` = 1 to 32.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn first_stages(group: &mut [f32; GROUP]) {
    let (group, _) = group.as_chunks_mut::<8>();
    let mut x = [_mm256_setzero_ps(); 8];
    for i in 0..8 {
        x[i] = within(load_f32(&group[i]));
    }
    for (low, high) in
        [(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7)]
    {
        (x[low], x[high]) = (_mm256_add_ps(x[low], x[high]), _mm256_sub_ps(x[low], x[high]));
    }
    for i in 0..8 {
        store_f32(&mut group[i], x[i]);
    }
}

/// The stages `h` = 1, 2 and 4, inside one register: each lane's partner, plus the lane with the sign of its place.
/// A product with 1 or -1 is exact, so the fused operation rounds once, as the plain sum or difference does.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn within(x: __m256) -> __m256 {
    let x = _mm256_fmadd_ps(
        x,
        _mm256_setr_ps(1., -1., 1., -1., 1., -1., 1., -1.),
        _mm256_permute_ps::<0b10_11_00_01>(x),
    );
    let x = _mm256_fmadd_ps(
        x,
        _mm256_setr_ps(1., 1., -1., -1., 1., 1., -1., -1.),
        _mm256_permute_ps::<0b01_00_11_10>(x),
    );
    _mm256_fmadd_ps(x, _mm256_setr_ps(1., 1., 1., 1., -1., -1., -1., -1.), _mm256_permute2f128_ps::<1>(x, x))
}

/// The stages from `h` to half the length, two at a time while there are two.
#[inline]
#[target_feature(enable = "avx2")]
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
#[target_feature(enable = "avx2")]
fn two_stages(quad: &mut [f32], h: usize) {
    let (quad, _) = quad.as_chunks_mut::<8>();
    let (ab, cd) = quad.split_at_mut(2 * h / 8);
    let ((a, b), (c, d)) = (ab.split_at_mut(h / 8), cd.split_at_mut(h / 8));
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let (w, x, y, z) = (load_f32(a), load_f32(b), load_f32(c), load_f32(d));
        let (w, x) = (_mm256_add_ps(w, x), _mm256_sub_ps(w, x));
        let (y, z) = (_mm256_add_ps(y, z), _mm256_sub_ps(y, z));
        store_f32(a, _mm256_add_ps(w, y));
        store_f32(b, _mm256_add_ps(x, z));
        store_f32(c, _mm256_sub_ps(w, y));
        store_f32(d, _mm256_sub_ps(x, z));
    }
}

/// The stage `h` of `2 * h` values.
#[inline]
#[target_feature(enable = "avx2")]
fn one_stage(pair: &mut [f32], h: usize) {
    let (pair, _) = pair.as_chunks_mut::<8>();
    let (a, b) = pair.split_at_mut(h / 8);
    for (a, b) in a.iter_mut().zip(b) {
        let (x, y) = (load_f32(a), load_f32(b));
        store_f32(a, _mm256_add_ps(x, y));
        store_f32(b, _mm256_sub_ps(x, y));
    }
}

#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn flip_signs(values: &mut [f32], signs: &[u8]) {
    let (values, values_tail) = values.as_chunks_mut::<8>();
    let (signs, signs_tail) = signs.split_at(values.len());
    // Bit i goes to the sign of lane i.
    let to_top = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    for (values, &signs) in values.iter_mut().zip(signs) {
        let bits = _mm256_sllv_epi32(_mm256_set1_epi32(i32::from(signs)), to_top);
        let signs = _mm256_and_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(-0.0));
        store_f32(values, _mm256_xor_ps(load_f32(values), signs));
    }
    scalar::flip_signs(values_tail, signs_tail);
}
