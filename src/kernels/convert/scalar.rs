//! Conversions by integer arithmetic: the oracle. No float is subnormal on the way, so that a host which has
//! switched on flush-to-zero gets the same bits.

/// One f16 bit pattern, widened.
#[inline(always)]
pub(in crate::kernels) fn widen_f16(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = u32::from(half & 0x7fff);
    // The exponent's bias goes from 15 to 127.
    let normal = (magnitude << 13) + (112 << 23);
    // A subnormal is mantissa * 2^-24: the mantissa under the exponent of 2^-14, less that 2^-14.
    let smallest_normal = f32::from_bits(113 << 23);
    let subnormal = (f32::from_bits((magnitude << 13) + (113 << 23)) - smallest_normal).to_bits();
    let special = (magnitude << 13) | 0x7f80_0000 | if magnitude > 0x7c00 { 0x0040_0000 } else { 0 };
    let bits = match magnitude {
        0x7c00.. => special,
        0x0400.. => normal,
        _ => subnormal,
    };
    f32::from_bits(sign | bits)
}

pub(in crate::kernels) fn f16_to_f32(from: &[u16], to: &mut [f32]) {
    from.iter().zip(to).for_each(|(&half, to)| *to = widen_f16(half));
}

pub(in crate::kernels) fn u8_to_f32(from: &[u8], to: &mut [f32]) {
    from.iter().zip(to).for_each(|(&byte, to)| *to = f32::from(byte));
}

#[inline(always)]
pub(in crate::kernels) fn add_to_f64(values: &[f32], sums: &mut [f64]) {
    values.iter().zip(sums).for_each(|(&value, sum)| *sum += f64::from(value));
}
