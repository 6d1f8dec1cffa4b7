//! Conversions by F16C and `VPMOVZXBD`, eight at a time.

use super::scalar;
use crate::kernels::vector::avx2::*;

#[target_feature(enable = "avx2,f16c")]
pub(in crate::kernels) fn f16_to_f32(from: &[u16], to: &mut [f32]) {
    let (from, from_tail) = from.as_chunks::<8>();
    let (to, to_tail) = to.as_chunks_mut::<8>();
    for (from, to) in from.iter().zip(to) {
        store_f32(to, load_f16(from));
    }
    scalar::f16_to_f32(from_tail, to_tail);
}

#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn u8_to_f32(from: &[u8], to: &mut [f32]) {
    let (from, from_tail) = from.as_chunks::<8>();
    let (to, to_tail) = to.as_chunks_mut::<8>();
    for (from, to) in from.iter().zip(to) {
        store_f32(to, load_u8(from));
    }
    scalar::u8_to_f32(from_tail, to_tail);
}

/// The scalar loop, compiled with more of the CPU.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn add_to_f64(values: &[f32], sums: &mut [f64]) {
    scalar::add_to_f64(values, sums);
}
