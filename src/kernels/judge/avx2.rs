//! The formula compiled for AVX2; the chosen gathered by `VMOVMSKPS`.

use std::arch::x86_64::*;

use super::scalar::{each, estimate};
use super::{Judged, Limits, Rows, Terms, LANES};
use crate::kernels::vector::avx2::load_f32;

#[target_feature(enable = "avx2")]
pub(super) fn judge(terms: &Terms, limits: Limits, rows: Rows<'_>, out: Judged<'_>) {
    each(rows, out, |rows, estimates, slacks| {
        estimate(terms, rows, estimates, slacks);
        choose(limits, estimates, slacks)
    });
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose(limits: Limits, estimates: &[f32; LANES], slacks: &[f32; LANES]) -> u16 {
    let (bound, nearest) = (_mm256_set1_ps(limits.bound), _mm256_set1_ps(limits.estimate));
    let (estimates, slacks) = (estimates.as_chunks::<8>().0, slacks.as_chunks::<8>().0);
    let mut chosen = 0;
    for i in 0..LANES / 8 {
        let estimate = load_f32(&estimates[i]);
        let low = _mm256_sub_ps(estimate, load_f32(&slacks[i]));
        let near = _mm256_cmp_ps::<_CMP_LE_OQ>(estimate, nearest);
        let within = _mm256_or_ps(_mm256_cmp_ps::<_CMP_NGT_UQ>(low, bound), near);
        chosen |= _mm256_movemask_ps(within) << (8 * i);
    }
    chosen as u16
}
