//! All f16 patterns, every length and every offset, on every table.

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
fn all_f16_patterns_are_widened_exactly() {
    let patterns: Vec<u16> = (0..=u16::MAX).collect();
    for kernels in Kernels::available() {
        let mut wide = vec![0f32; patterns.len()];
        kernels.f16_to_f32(&patterns, &mut wide);
        for &bits in &patterns {
            let wide = wide[usize::from(bits)];
            if value(bits).is_nan() {
                let payload = u32::from(bits & 0x03ff) << 13 | u32::from(bits & 0x8000) << 16;
                assert_eq!(wide.to_bits(), payload | 0x7fc0_0000, "{} {bits:#x}", kernels.name);
            } else {
                assert_eq!(f64::from(wide), value(bits), "{} {bits:#x}", kernels.name);
                assert_eq!(wide.is_sign_negative(), bits >> 15 == 1);
            }
        }
    }
}

#[test]
fn every_length_and_offset_and_never_past_the_end() {
    let mut rng = Rng::new(16);
    for length in 0..150 {
        let halves: Vec<u16> = (0..length).map(|_| rng.next_u64() as u16 & 0xbfff).collect();
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
                kernels.u8_to_f32(&bytes.slice()[start..], wide.slice_mut());
                assert!(wide.slice().iter().zip(&bytes.slice()[start..]).all(|(&f, &b)| f == f32::from(b)));
            }
        }
    }
}

#[test]
fn sums_of_rows_are_those_of_their_values() {
    let mut rng = Rng::new(17);
    for length in 0..150 {
        let values: Vec<f32> = (0..length).map(|_| rng.below(1 << 20) as f32 * 1e-3 - 300.0).collect();
        let before: Vec<f64> = values.iter().rev().map(|value| f64::from(*value) * 1e6).collect();
        let values = Guarded::new(&values);
        for kernels in Kernels::available() {
            for start in [0, 1, 3, 64].map(|start| length.min(start)) {
                let mut sums = Guarded::new(&before[start..]);
                kernels.add_to_f64(&values.slice()[start..], sums.slice_mut());
                let expected = before[start..].iter().zip(&values.slice()[start..]);
                assert!(sums.slice().iter().zip(expected).all(|(sum, (b, v))| *sum == b + f64::from(*v)));
            }
        }
    }
}
