//! All f16 patterns, all floats that decide a rounding, and a sample of the others, on every table.

use super::super::testing::{Guarded, Rng};
use super::*;

/// f16 to f64 as the standard defines it.
fn value(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
    }
}

#[test]
fn all_f16_patterns_are_widened_exactly_and_come_back() {
    let patterns: Vec<u16> = (0..=u16::MAX).collect();
    for kernels in Kernels::available() {
        let mut wide = vec![0f32; patterns.len()];
        kernels.f16_to_f32(&patterns, &mut wide);
        let mut back = vec![0u16; patterns.len()];
        kernels.f32_to_f16(&wide, &mut back);
        for &bits in &patterns {
            let wide = wide[usize::from(bits)];
            let back = back[usize::from(bits)];
            if value(bits).is_nan() {
                let payload = u32::from(bits & 0x03ff) << 13 | u32::from(bits & 0x8000) << 16;
                assert_eq!(wide.to_bits(), payload | 0x7fc0_0000, "{} {bits:#x}", kernels.name);
                assert_eq!(back, bits | 0x0200, "{} {bits:#x}", kernels.name);
            } else {
                assert_eq!(f64::from(wide), value(bits), "{} {bits:#x}", kernels.name);
                assert_eq!(wide.is_sign_negative(), bits >> 15 == 1);
                assert_eq!(back, bits, "{} {bits:#x}", kernels.name);
            }
        }
    }
}

/// Every midpoint between two neighbours in f16, and the floats just below and above it.
#[test]
fn floats_are_rounded_to_nearest_even() {
    let mut floats = Vec::new();
    let mut expected = Vec::new();
    for low in 0..0x7c00u16 {
        let next = if low == 0x7bff { 65_536.0 } else { value(low + 1) };
        let midpoint = ((value(low) + next) / 2.0) as f32;
        let even = low + (low & 1);
        for (float, bits) in [(midpoint.next_down(), low), (midpoint, even), (midpoint.next_up(), low + 1)] {
            floats.extend([float, -float]);
            expected.extend([bits, bits | 0x8000]);
        }
    }
    for (float, bits) in
        [(1e30, 0x7c00), (f32::INFINITY, 0x7c00), (f32::MIN_POSITIVE, 0), (1e-45, 0), (0.0, 0)]
    {
        floats.extend([float, -float]);
        expected.extend([bits, bits | 0x8000]);
    }
    for kernels in Kernels::available() {
        let mut narrow = vec![0; floats.len()];
        kernels.f32_to_f16(&floats, &mut narrow);
        for ((float, narrow), expected) in floats.iter().zip(&narrow).zip(&expected) {
            assert_eq!(narrow, expected, "{} {float:e}", kernels.name);
        }
    }
}

#[test]
fn every_table_narrows_any_bits_alike() {
    let mut rng = Rng::new(15);
    let floats: Vec<f32> = (0..200_000).map(|_| f32::from_bits(rng.next() as u32)).collect();
    let mut expected = vec![0; floats.len()];
    Kernels::available()[0].f32_to_f16(&floats, &mut expected);
    for kernels in Kernels::available() {
        let mut narrow = vec![0; floats.len()];
        kernels.f32_to_f16(&floats, &mut narrow);
        assert_eq!(narrow, expected, "{}", kernels.name);
    }
}

#[test]
fn every_length_and_offset_and_never_past_the_end() {
    let mut rng = Rng::new(16);
    for length in 0..150 {
        let halves: Vec<u16> = (0..length).map(|_| rng.next() as u16 & 0xbfff).collect();
        let (halves, bytes) = (Guarded::new(&halves), Guarded::new(&rng.bytes(length)));
        for kernels in Kernels::available() {
            for start in [0, 1, 3, 64].map(|start| length.min(start)) {
                let mut wide = Guarded::new(&vec![f32::NAN; length - start]);
                kernels.f16_to_f32(&halves.slice()[start..], wide.slice_mut());
                assert!(wide
                    .slice()
                    .iter()
                    .zip(&halves.slice()[start..])
                    .all(|(&f, &h)| f64::from(f) == value(h)));
                let mut back = Guarded::new(&vec![0; length - start]);
                kernels.f32_to_f16(wide.slice(), back.slice_mut());
                assert_eq!(back.slice(), &halves.slice()[start..], "{} length {length}", kernels.name);
                kernels.u8_to_f32(&bytes.slice()[start..], wide.slice_mut());
                assert!(wide.slice().iter().zip(&bytes.slice()[start..]).all(|(&f, &b)| f == f32::from(b)));
            }
        }
    }
}
