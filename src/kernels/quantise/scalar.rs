//! The steps in plain Rust: the oracle, and the source of the others, which are the same loops compiled for more of
//! the CPU.

use crate::kernels::lanes::{self, nearest_i8, nearest_odd};

#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    lanes::largest(values)
}

#[inline(always)]
pub(super) fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

#[inline(always)]
pub(super) fn difference(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a - b;
    }
}

#[inline(always)]
pub(super) fn bytes(values: &[f32], factor: f32, out: &mut [i8]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = nearest_i8(value * factor);
    }
}

#[inline(always)]
pub(super) fn odd(values: &[f32], factor: f32, limit: f32, out: &mut [i8]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = nearest_i8(nearest_odd(value * factor, limit));
    }
}

#[inline(always)]
pub(super) fn product(integers: &[i8], values: &[f32]) -> f64 {
    lanes::sum(integers, values, |integer, value| f64::from(integer) * f64::from(value))
}

pub(super) fn pack(odd: &[i8], bits: usize, planes: &mut [u8]) {
    pack_from(0, odd, bits, planes);
}

/// The same from byte `start` of each plane on.
#[inline(always)]
pub(super) fn pack_from(start: usize, odd: &[i8], bits: usize, planes: &mut [u8]) {
    let limit = ((1u32 << bits) - 1) as i16;
    let plane_bytes = odd.len() / 8;
    for (byte, eight) in odd.as_chunks::<8>().0.iter().enumerate().skip(start) {
        let mut levels = [0u8; 8];
        for (level, y) in levels.iter_mut().zip(eight) {
            *level = ((i16::from(*y) + limit) >> 1) as u8;
        }
        let word = u64::from_le_bytes(levels);
        for plane in 0..bits {
            // Gathers bit `plane` of the eight bytes into one byte, first byte lowest.
            let ones = (word >> plane) & 0x0101_0101_0101_0101;
            planes[plane * plane_bytes + byte] = (ones.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
        }
    }
}
