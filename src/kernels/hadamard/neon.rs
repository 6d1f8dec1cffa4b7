//! Transform and signs in 128-bit registers.
//!
//! The first six stages, `h` up to 32, happen inside sixteen registers that hold 64 neighbours; later ones two at a
//! time, between four of them, block by block as in the AVX2 variant.

use std::arch::aarch64::*;

use super::scalar;
use crate::kernels::vector::neon::*;

/// Values whose stages are done in one go: 16 KB, half of the smallest first-level cache.
const BLOCK: usize = 4096;

/// Values that the registers of the first stages hold.
const GROUP: usize = 64;

#[target_feature(enable = "neon")]
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
#[target_feature(enable = "neon")]
fn first_stages(group: &mut [f32; GROUP]) {
    let (group, _) = group.as_chunks_mut::<8>();
    let mut x = [Eight::splat(0.0); 8];
    for i in 0..8 {
        let Eight(low, high) = load_f32(&group[i]);
        let (low, high) = (within(low), within(high));
        x[i] = Eight(vaddq_f32(low, high), vsubq_f32(low, high));
    }
    for (low, high) in
        [(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7)]
    {
        (x[low], x[high]) = (x[low].add(x[high]), x[low].sub(x[high]));
    }
    for i in 0..8 {
        store_f32(&mut group[i], x[i]);
    }
}

/// The stages `h` = 1 and 2, inside one register: each lane's partner, plus the lane with the sign of its place. A
/// product with 1 or -1 is exact, so the fused operation rounds once, as the plain sum or difference does.
#[inline]
#[target_feature(enable = "neon")]
fn within(x: float32x4_t) -> float32x4_t {
    let (plus, minus) = (vdup_n_f32(1.0), vdup_n_f32(-1.0));
    let alternating = vzip1q_f32(vcombine_f32(plus, plus), vcombine_f32(minus, minus));
    let x = vfmaq_f32(vrev64q_f32(x), x, alternating);
    vfmaq_f32(vextq_f32::<2>(x, x), x, vcombine_f32(plus, minus))
}

/// The stages from `h` to half the length, two at a time while there are two.
#[inline]
#[target_feature(enable = "neon")]
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
#[target_feature(enable = "neon")]
fn two_stages(quad: &mut [f32], h: usize) {
    let (quad, _) = quad.as_chunks_mut::<8>();
    let (ab, cd) = quad.split_at_mut(2 * h / 8);
    let ((a, b), (c, d)) = (ab.split_at_mut(h / 8), cd.split_at_mut(h / 8));
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let (w, x, y, z) = (load_f32(a), load_f32(b), load_f32(c), load_f32(d));
        let (w, x) = (w.add(x), w.sub(x));
        let (y, z) = (y.add(z), y.sub(z));
        store_f32(a, w.add(y));
        store_f32(b, x.add(z));
        store_f32(c, w.sub(y));
        store_f32(d, x.sub(z));
    }
}

/// The stage `h` of `2 * h` values.
#[inline]
#[target_feature(enable = "neon")]
fn one_stage(pair: &mut [f32], h: usize) {
    let (pair, _) = pair.as_chunks_mut::<8>();
    let (a, b) = pair.split_at_mut(h / 8);
    for (a, b) in a.iter_mut().zip(b) {
        let (x, y) = (load_f32(a), load_f32(b));
        store_f32(a, x.add(y));
        store_f32(b, x.sub(y));
    }
}

#[target_feature(enable = "neon")]
pub(in crate::kernels) fn flip_signs(values: &mut [f32], signs: &[u8]) {
    let (values, values_tail) = values.as_chunks_mut::<8>();
    let (signs, signs_tail) = signs.split_at(values.len());
    // The left shift that takes bit i to the sign of lane i.
    let (low, high) = (load_shifts(&[31, 30, 29, 28]), load_shifts(&[27, 26, 25, 24]));
    let top = vdupq_n_u32(1 << 31);
    for (values, &signs) in values.iter_mut().zip(signs) {
        let bits = vdupq_n_u32(u32::from(signs));
        let value = load_f32(values);
        let flipped = |value, shifts| {
            let sign = vandq_u32(vshlq_u32(bits, shifts), top);
            vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(value), sign))
        };
        store_f32(values, Eight(flipped(value.0, low), flipped(value.1, high)));
    }
    scalar::flip_signs(values_tail, signs_tail);
}

#[inline(always)]
fn load_shifts(shifts: &[i32; 4]) -> int32x4_t {
    // SAFETY: the reference is to 4 readable i32; the load asks for no alignment.
    unsafe { vld1q_s32(shifts.as_ptr()) }
}
