//! The formula in registers of sixteen rows; what is chosen is a mask.

use std::arch::x86_64::*;

use super::{Judged, Limits, Rows, Terms, LANES};
use crate::kernels::vector::avx512::{load_f32_rest, store_f32};

#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn judge(terms: &Terms, limits: Limits, rows: Rows<'_>, out: Judged<'_>) {
    let (at_zero, a_unit) = (_mm512_set1_ps(terms.at_zero), _mm512_set1_ps(terms.a_unit));
    let (deviation, rounding) = (_mm512_set1_ps(terms.deviation), _mm512_set1_ps(terms.rounding));
    let epsilon = _mm512_set1_ps(terms.epsilon);
    let (bound, nearest) = (_mm512_set1_ps(limits.bound), _mm512_set1_ps(limits.estimate));
    // Of two registers of pairs, the firsts and the seconds.
    let evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
    let counts: &[f32] = bytemuck::cast_slice(rows.counted);
    let factors = rows.factors.as_flattened();
    let estimates = out.estimates.as_chunks_mut::<LANES>().0;
    let slacks = out.slacks.as_chunks_mut::<LANES>().0;
    for (i, chosen) in out.chosen.iter_mut().enumerate() {
        let first = LANES * i;
        let base = load_f32_rest(&rows.bases[first..]);
        let low = load_f32_rest(&factors[2 * first..]);
        let high = load_f32_rest(factors.get(2 * first + LANES..).unwrap_or_default());
        let (offset, scale) =
            (_mm512_permutex2var_ps(low, evens, high), _mm512_permutex2var_ps(low, odds, high));
        let counted = _mm512_cvtepi32_ps(_mm512_castps_si512(load_f32_rest(&counts[first..])));

        let product = _mm512_add_ps(at_zero, _mm512_mul_ps(a_unit, counted));
        let estimate = _mm512_sub_ps(_mm512_add_ps(base, offset), _mm512_mul_ps(scale, product));
        let apart = _mm512_add_ps(_mm512_abs_ps(base), _mm512_abs_ps(offset));
        let error = _mm512_add_ps(_mm512_mul_ps(scale, deviation), _mm512_mul_ps(rounding, apart));
        let slack = _mm512_mul_ps(epsilon, error);
        store_f32(&mut estimates[i], estimate);
        store_f32(&mut slacks[i], slack);

        let there = ((1u32 << (rows.counted.len() - first).min(LANES)) - 1) as u16;
        let low = _mm512_sub_ps(estimate, slack);
        let within = _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(low, bound);
        *chosen = there & (within | _mm512_cmp_ps_mask::<_CMP_LE_OQ>(estimate, nearest));
    }
}
