//! From what a code's kernel counted to an estimate, the half width of its bounds, and whether the row may matter.
//!
//! ```text
//! estimates[r] = bases[r] + offset - scale * (at_zero + a_unit * counted[r])
//! slacks[r]    = epsilon * (scale * deviation + rounding * (|bases[r]| + |offset|))
//! chosen: bit r % 16 of number r / 16, if estimates[r] - slacks[r] is not above limits.bound, or estimates[r] is at
//!         most limits.estimate
//! ```
//!
//! Most rows of a scan are not chosen, so that only few are looked at one by one. The order of operations is that of
//! the formula, none is contracted: the bits are the same on every table. On AArch64 the plain loop is vector code.
//!
//! | ns a row, Zen 4, leaves of 48 rows | scalar (SSE2) | AVX2 | AVX-512 |
//! |---|---|---|---|
//! | `judge` | 1.3 | 0.50 | 0.52 |

use super::Kernels;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

/// Rows of one number of `chosen`.
pub const LANES: usize = 16;

/// What a block of rows shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// The product with the query where nothing was counted.
    pub at_zero: f32,
    /// What one count adds to it.
    pub a_unit: f32,
    /// The deviation that a unit of scale brings.
    pub deviation: f32,
    /// Relative error of the sums, in deviations.
    pub rounding: f32,
    /// Deviations from an estimate to its bounds.
    pub epsilon: f32,
}

/// What a row must not exceed to be chosen: one of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// By its lower bound.
    pub bound: f32,
    /// By its estimate.
    pub estimate: f32,
}

/// The rows of a block, as many in each list.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// What each row's estimate starts from.
    pub bases: &'a [f32],
    /// Offset and scale.
    pub factors: &'a [[f32; 2]],
    /// What the kernel of the codes counted.
    pub counted: &'a [i32],
}

/// Where the answers go.
#[derive(Debug)]
pub struct Judged<'a> {
    /// Estimates, a place for each row and for the rest of the last [`LANES`], where anything may be left.
    pub estimates: &'a mut [f32],
    /// Half widths of the bounds, as many.
    pub slacks: &'a mut [f32],
    /// A bit for each row.
    pub chosen: &'a mut [u16],
}

/// One instruction set's function.
pub(super) struct Table {
    judge: unsafe fn(&Terms, Limits, Rows<'_>, Judged<'_>),
}

pub(super) const SCALAR: Table = Table { judge: scalar::judge };
#[cfg(target_arch = "x86_64")]
pub(super) const AVX2: Table = Table { judge: avx2::judge };
#[cfg(target_arch = "x86_64")]
pub(super) const AVX512: Table = Table { judge: avx512::judge };

impl Kernels {
    /// Estimates the rows and chooses those that may matter: see the module.
    ///
    /// # Panics
    /// When the lists of `rows` are not of one length, or those of `out` have no place for whole [`LANES`] of them.
    #[inline]
    pub fn judge(&self, terms: &Terms, limits: Limits, rows: Rows<'_>, out: Judged<'_>) {
        let count = rows.counted.len();
        assert!(rows.bases.len() == count && rows.factors.len() == count);
        let lanes = count.div_ceil(LANES);
        let places = lanes * LANES;
        let out = Judged {
            estimates: &mut out.estimates[..places],
            slacks: &mut out.slacks[..places],
            chosen: &mut out.chosen[..lanes],
        };
        // SAFETY: a table is only handed out where the CPU has its features (`Kernels::available`).
        unsafe { (self.judge.judge)(terms, limits, rows, out) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Guarded, Rng};
    use super::*;

    /// Estimates, slacks and chosen rows by one table.
    fn judged(kernels: &Kernels, terms: &Terms, limits: Limits, rows: Rows<'_>) -> Vec<(u32, u32, bool)> {
        let lanes = rows.counted.len().div_ceil(LANES);
        let mut estimates = Guarded::new(&vec![f32::NAN; lanes * LANES]);
        let mut slacks = Guarded::new(&vec![f32::NAN; lanes * LANES]);
        let mut chosen = Guarded::new(&vec![u16::MAX; lanes]);
        let (estimates, slacks, chosen) = (estimates.slice_mut(), slacks.slice_mut(), chosen.slice_mut());
        kernels.judge(terms, limits, rows, Judged { estimates, slacks, chosen });
        for lane in rows.counted.len()..lanes * LANES {
            assert_eq!(
                chosen[lane / LANES] >> (lane % LANES) & 1,
                0,
                "{}: a row that is not there",
                kernels.name
            );
        }
        let row = |r: usize| {
            (estimates[r].to_bits(), slacks[r].to_bits(), chosen[r / LANES] >> (r % LANES) & 1 == 1)
        };
        (0..rows.counted.len()).map(row).collect()
    }

    #[test]
    fn every_table_follows_the_formula_to_the_bit() {
        let mut rng = Rng::new(31);
        for count in (0..70).chain([255, 256]) {
            for round in 0..8 {
                let terms = match &rng.floats(5)[..] {
                    &[at_zero, a_unit, deviation, rounding, epsilon] => Terms {
                        at_zero,
                        a_unit,
                        deviation: deviation.abs(),
                        rounding: rounding * 1e-3,
                        epsilon,
                    },
                    _ => unreachable!(),
                };
                let bases = Guarded::new(&rng.floats(count));
                let factors = rng.floats(2 * count);
                let factors: Vec<[f32; 2]> = factors.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
                let factors = Guarded::new(&factors);
                let counted: Vec<i32> = (0..count).map(|_| rng.below(2_000) as i32 - 1_000).collect();
                let counted = Guarded::new(&counted);
                let rows = Rows { bases: bases.slice(), factors: factors.slice(), counted: counted.slice() };
                let limit = |rng: &mut Rng, whether: bool, other: f32| {
                    if whether {
                        300.0 * (rng.next_f32() - 0.5)
                    } else {
                        other
                    }
                };
                let limits = Limits {
                    bound: limit(&mut rng, round & 1 == 0, f32::INFINITY),
                    estimate: limit(&mut rng, round & 2 == 0, f32::NEG_INFINITY),
                };
                let expected: Vec<(u32, u32, bool)> = (0..count)
                    .map(|r| {
                        let ([offset, scale], base) = (rows.factors[r], rows.bases[r]);
                        let product = terms.at_zero + terms.a_unit * rows.counted[r] as f32;
                        let estimate = base + offset - scale * product;
                        let rounding = terms.rounding * (base.abs() + offset.abs());
                        let slack = terms.epsilon * (scale * terms.deviation + rounding);
                        let chosen = estimate - slack <= limits.bound || estimate <= limits.estimate;
                        (estimate.to_bits(), slack.to_bits(), chosen)
                    })
                    .collect();
                for kernels in Kernels::available() {
                    let found = judged(kernels, &terms, limits, rows);
                    assert_eq!(found, expected, "{}, {count} rows", kernels.name);
                }
            }
        }
    }

    #[test]
    fn a_bound_that_is_no_number_is_chosen() {
        let terms = Terms { at_zero: 0.0, a_unit: 1.0, deviation: 1.0, rounding: 0.0, epsilon: 1.0 };
        let limits = Limits { bound: -1.0, estimate: f32::NEG_INFINITY };
        let rows = Rows { bases: &[f32::NAN, 5.0], factors: &[[0.0, 1.0]; 2], counted: &[1, 1] };
        for kernels in Kernels::available() {
            let chosen: Vec<bool> = judged(kernels, &terms, limits, rows).iter().map(|row| row.2).collect();
            assert_eq!(chosen, [true, false], "{}", kernels.name);
        }
    }
}
