//! What turns a rotated query into integers, beside the rotation: scale, largest magnitude, rounding, bit planes.
//!
//! ```text
//! largest: max |x[i]|, NaN passed over               scale: x[i] * f
//! difference: a[i] - b[i]                            quantise_bytes: nearest integer to x[i] * f
//! quantise_odd: nearest odd integer to x[i] * f, within -limit..=limit
//! product: sum of w[i] * x[i] in f64, in eight lanes and the rest (`lanes::sum`)
//! pack_planes: bit p of level (y[i] + 2^bits - 1) / 2, to bit i % 8 of byte i / 8 of plane p
//! ```
//!
//! The loops are plain Rust, compiled once for each instruction set; nothing in them is contracted or reordered, so
//! the bits are the same. Planes are gathered by an instruction of each. On AArch64 the base set has all that they use.
//!
//! | ns for 1024 values, Zen 4 | scalar (SSE2) | AVX2 | AVX-512 |
//! |---|---|---|---|
//! | `largest`, `scale`, `difference` | 76, 74, 92 | 61, 39, 45 | 60, 41, 49 |
//! | `quantise_bytes`, `quantise_odd` | 112, 419 | 88, 233 | 31, 145 |
//! | `product` | 324 | 157 | 155 |
//! | `pack_planes`, 4 bits | 761 | 87 | 62 |

use super::Kernels;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

/// One instruction set's functions.
pub(super) struct Table {
    largest: unsafe fn(&[f32]) -> f32,
    scale: unsafe fn(&mut [f32], f32),
    difference: unsafe fn(&[f32], &[f32], &mut [f32]),
    bytes: unsafe fn(&[f32], f32, &mut [i8]),
    odd: unsafe fn(&[f32], f32, f32, &mut [i8]),
    product: unsafe fn(&[i8], &[f32]) -> f64,
    pack: unsafe fn(&[i8], usize, &mut [u8]),
}

/// The table of a module that has all of them.
macro_rules! table {
    ($isa:ident) => {
        Table {
            largest: $isa::largest,
            scale: $isa::scale,
            difference: $isa::difference,
            bytes: $isa::bytes,
            odd: $isa::odd,
            product: $isa::product,
            pack: $isa::pack,
        }
    };
}

pub(super) const SCALAR: Table = table!(scalar);
#[cfg(target_arch = "x86_64")]
pub(super) const AVX2: Table = table!(avx2);
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512: Table = table!(avx512);

/// The scalar loops, compiled with more of the CPU.
#[cfg(target_arch = "x86_64")]
macro_rules! compiled_for {
    ($features:literal) => {
        #[target_feature(enable = $features)]
        pub(super) fn largest(values: &[f32]) -> f32 {
            scalar::largest(values)
        }

        #[target_feature(enable = $features)]
        pub(super) fn scale(values: &mut [f32], factor: f32) {
            scalar::scale(values, factor);
        }

        #[target_feature(enable = $features)]
        pub(super) fn difference(a: &[f32], b: &[f32], out: &mut [f32]) {
            scalar::difference(a, b, out);
        }

        #[target_feature(enable = $features)]
        pub(super) fn bytes(values: &[f32], factor: f32, out: &mut [i8]) {
            scalar::bytes(values, factor, out);
        }

        #[target_feature(enable = $features)]
        pub(super) fn odd(values: &[f32], factor: f32, limit: f32, out: &mut [i8]) {
            scalar::odd(values, factor, limit, out);
        }

        #[target_feature(enable = $features)]
        pub(super) fn product(integers: &[i8], values: &[f32]) -> f64 {
            scalar::product(integers, values)
        }
    };
}
#[cfg(target_arch = "x86_64")]
use compiled_for;

/// All of these panic when lengths that must agree differ.
impl Kernels {
    /// The largest magnitude; 0 for none. NaN is passed over.
    #[inline]
    pub fn largest(&self, values: &[f32]) -> f32 {
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.quantise.largest)(values) }
    }

    /// Multiplies every value.
    #[inline]
    pub fn scale(&self, values: &mut [f32], factor: f32) {
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.quantise.scale)(values, factor) }
    }

    /// Writes `a - b`.
    #[inline]
    pub fn difference(&self, a: &[f32], b: &[f32], out: &mut [f32]) {
        assert!(a.len() == out.len() && b.len() == out.len());
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.quantise.difference)(a, b, out) }
    }

    /// Writes the integers nearest to `values * factor`, products of magnitude up to 127, ties to even.
    #[inline]
    pub fn quantise_bytes(&self, values: &[f32], factor: f32, out: &mut [i8]) {
        assert_eq!(values.len(), out.len());
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.quantise.bytes)(values, factor, out) }
    }

    /// Writes the odd integers within `-limit..=limit` that are nearest to `values * factor`; `limit` is odd, at most
    /// 127.
    #[inline]
    pub fn quantise_odd(&self, values: &[f32], factor: f32, limit: f32, out: &mut [i8]) {
        assert_eq!(values.len(), out.len());
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.quantise.odd)(values, factor, limit, out) }
    }

    /// The inner product of integers and values, in f64 and in one order of sums.
    #[inline]
    pub fn product(&self, integers: &[i8], values: &[f32]) -> f64 {
        assert_eq!(integers.len(), values.len());
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.quantise.product)(integers, values) }
    }

    /// Packs odd integers `-(2^bits - 1) ..= 2^bits - 1` into bit planes, eight dimensions a byte, one plane after
    /// the other.
    ///
    /// # Panics
    /// When `bits` is not 1 to 6, the number of integers no multiple of 8 or `planes` not `bits` times as many bits.
    #[inline]
    pub fn pack_planes(&self, odd: &[i8], bits: usize, planes: &mut [u8]) {
        assert!((1..=6).contains(&bits));
        assert!(odd.len().is_multiple_of(8) && planes.len() == bits * (odd.len() / 8));
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.quantise.pack)(odd, bits, planes) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Guarded, Rng};
    use super::*;

    fn lengths() -> impl Iterator<Item = usize> {
        (0..150).chain([255, 384, 832, 1000, 1024])
    }

    #[test]
    fn every_table_answers_the_same_bits() {
        let mut rng = Rng::new(21);
        let scalar = Kernels::available()[0];
        for length in lengths() {
            let (values, others) = (Guarded::new(&rng.floats(length)), Guarded::new(&rng.floats(length)));
            let (values, others) = (values.slice(), others.slice());
            for kernels in Kernels::available() {
                let both = |step: &dyn Fn(&Kernels) -> Vec<u64>| {
                    assert_eq!(step(kernels), step(scalar), "{} length {length}", kernels.name);
                };
                both(&|kernels| vec![u64::from(kernels.largest(values).to_bits())]);
                both(&|kernels| {
                    let mut out = Guarded::new(values);
                    kernels.scale(out.slice_mut(), 0.3);
                    out.slice().iter().map(|x| u64::from(x.to_bits())).collect()
                });
                both(&|kernels| {
                    let mut out = Guarded::new(values);
                    kernels.difference(values, others, out.slice_mut());
                    out.slice().iter().map(|x| u64::from(x.to_bits())).collect()
                });
                both(&|kernels| {
                    let mut out = Guarded::new(&vec![0i8; length]);
                    kernels.quantise_bytes(values, 126.5, out.slice_mut());
                    let product = kernels.product(out.slice(), others).to_bits();
                    out.slice().iter().map(|x| *x as u64).chain([product]).collect()
                });
                both(&|kernels| {
                    let mut out = Guarded::new(&vec![0i8; length]);
                    kernels.quantise_odd(values, 40.0, 15.0, out.slice_mut());
                    out.slice().iter().map(|x| *x as u64).collect()
                });
            }
        }
    }

    #[test]
    fn planes_hold_the_bits_of_the_levels() {
        let mut rng = Rng::new(22);
        for bits in 1..=6 {
            for length in (0..40).map(|eighth| 8 * eighth).chain([1024]) {
                let limit = (1i16 << bits) - 1;
                let odd: Vec<i8> =
                    (0..length).map(|_| (2 * rng.below(1 << bits) as i16 - limit) as i8).collect();
                let odd = Guarded::new(&odd);
                for kernels in Kernels::available() {
                    let mut planes = Guarded::new(&vec![0xaau8; bits * length / 8]);
                    kernels.pack_planes(odd.slice(), bits, planes.slice_mut());
                    for (i, y) in odd.slice().iter().enumerate() {
                        let level = (i16::from(*y) + limit) / 2;
                        for plane in 0..bits {
                            let bit = planes.slice()[plane * (length / 8) + i / 8] >> (i % 8) & 1;
                            assert_eq!(i16::from(bit), level >> plane & 1, "{} bits {bits}", kernels.name);
                        }
                    }
                }
            }
        }
    }
}
