//! The formula in plain Rust: the oracle.

use super::{Judged, Limits, Rows, Terms, LANES};
use crate::kernels::vector::padded;

pub(super) fn judge(terms: &Terms, limits: Limits, rows: Rows<'_>, out: Judged<'_>) {
    each(rows, out, |rows, estimates, slacks| {
        estimate(terms, rows, estimates, slacks);
        choose(limits, estimates, slacks)
    });
}

/// Lists of the rows of one number of `chosen`.
pub(super) type Lanes<'a> = (&'a [f32; LANES], &'a [[f32; 2]; LANES], &'a [i32; LANES]);

/// Calls `judge` for all rows, sixteen at a time, the last of them followed by zeros.
#[inline(always)]
pub(super) fn each(
    rows: Rows<'_>,
    out: Judged<'_>,
    judge: impl Fn(Lanes<'_>, &mut [f32; LANES], &mut [f32; LANES]) -> u16,
) {
    let (bases, last_bases) = rows.bases.as_chunks::<LANES>();
    let (factors, last_factors) = rows.factors.as_chunks::<LANES>();
    let (counted, last_counted) = rows.counted.as_chunks::<LANES>();
    let (estimates, slacks) =
        (out.estimates.as_chunks_mut::<LANES>().0, out.slacks.as_chunks_mut::<LANES>().0);
    for i in 0..counted.len() {
        let lanes = (&bases[i], &factors[i], &counted[i]);
        out.chosen[i] = judge(lanes, &mut estimates[i], &mut slacks[i]);
    }
    if !last_counted.is_empty() {
        let i = counted.len();
        let lanes = (&padded(last_bases), &padded(last_factors), &padded(last_counted));
        let there = (1u16 << last_counted.len()) - 1;
        out.chosen[i] = there & judge(lanes, &mut estimates[i], &mut slacks[i]);
    }
}

#[inline(always)]
pub(super) fn estimate(
    terms: &Terms,
    (bases, factors, counted): Lanes<'_>,
    estimates: &mut [f32; LANES],
    slacks: &mut [f32; LANES],
) {
    for i in 0..LANES {
        let ([offset, scale], base) = (factors[i], bases[i]);
        let product = terms.at_zero + terms.a_unit * counted[i] as f32;
        estimates[i] = base + offset - scale * product;
        let rounding = terms.rounding * (base.abs() + offset.abs());
        slacks[i] = terms.epsilon * (scale * terms.deviation + rounding);
    }
}

#[inline(always)]
fn choose(limits: Limits, estimates: &[f32; LANES], slacks: &[f32; LANES]) -> u16 {
    let mut chosen = 0;
    for i in 0..LANES {
        let bound = estimates[i] - slacks[i];
        let within = bound <= limits.bound || bound.is_nan() || estimates[i] <= limits.estimate;
        chosen |= u16::from(within) << i;
    }
    chosen
}
