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

/// One float, narrowed to nearest even.
#[inline(always)]
pub(in crate::kernels) fn narrow_f16(float: f32) -> u16 {
    let sign = (float.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = float.to_bits() & 0x7fff_ffff;
    let bits = match magnitude {
        // NaN: the upper bits of the payload, made quiet.
        0x7f80_0001.. => 0x7e00 | (magnitude >> 13) as u16 & 0x03ff,
        // From 2^16 on, infinity; what lies just below rounds up to it by itself.
        0x4780_0000.. => 0x7c00,
        // From 2^-14 on: half of the last kept bit, less one where that bit is even, carries when it must.
        0x3880_0000.. => ((magnitude - (112 << 23) + 0x0fff + (magnitude >> 13 & 1)) >> 13) as u16,
        // Subnormal: at 0.5 the last bit of an f32 is worth 2^-24, so the addition itself rounds.
        _ => ((f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits()) as u16,
    };
    sign | bits
}

pub(in crate::kernels) fn f16_to_f32(from: &[u16], to: &mut [f32]) {
    from.iter().zip(to).for_each(|(&half, to)| *to = widen_f16(half));
}

pub(in crate::kernels) fn f32_to_f16(from: &[f32], to: &mut [u16]) {
    from.iter().zip(to).for_each(|(&float, to)| *to = narrow_f16(float));
}

pub(in crate::kernels) fn u8_to_f32(from: &[u8], to: &mut [f32]) {
    from.iter().zip(to).for_each(|(&byte, to)| *to = f32::from(byte));
}
