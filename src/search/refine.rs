//! Bounds by finer codes for the candidates of a search, best first.
//!
//! In: candidates with a lower bound by their codes. Out: those that may be among the k nearest, with the lower bound
//! of their finer codes, which is closer to their distance: most need not be read. The nearest by their bounds come
//! first, a few together; what lies above the k-th smallest finer upper bound is left out. Where vectors are not mapped
//! there are none, and an answer may differ where a bound fails, about one neighbour in thirty thousand.

use crate::kernels::Kernels;
use crate::search::candidates::{first_where, Candidate};
use crate::search::scratch::QueryScratch;
use crate::search::snapshot::Snapshot;
use crate::store::finer::{Estimate, FinerCodes};
use crate::types::Result;

/// Deviations from an estimate to its bounds, which are so much closer than those of the codes that a width at which
/// hardly one fails costs few rows.
const EPSILON: f32 = 4.0;
/// Candidates whose finer codes travel from memory at the same time.
const TOGETHER: usize = 32;

/// Raises the bounds of the closed candidates of `state`, whose query is `query`, and drops those that these rule out;
/// none beyond `farthest` is looked at.
///
/// # Errors
/// `VDB_OUT_OF_MEMORY`.
pub fn refine(
    kernels: &Kernels,
    snapshot: &Snapshot,
    query: &[f32],
    farthest: f32,
    state: &mut QueryScratch,
) -> Result<()> {
    let last = snapshot.segments.len().saturating_sub(1);
    for (number, segment) in snapshot.segments.iter().enumerate() {
        let Some(finer) = &segment.finer else { continue };
        // The query is as the last segment with rows wants it.
        if last > 0 {
            state.prepare(kernels, &segment.index, query)?;
        }
        refine_segment(kernels, finer, number as u32, farthest, state);
    }
    state.candidates.keep_within(state.top.threshold());
    Ok(())
}

fn refine_segment(
    kernels: &Kernels,
    finer: &FinerCodes,
    number: u32,
    farthest: f32,
    state: &mut QueryScratch,
) {
    let QueryScratch { candidates, top, prepared, .. } = state;
    let levels = finer.levels(kernels, prepared);
    let (mut positions, mut counted) = ([0; TOGETHER], [0; TOGETHER]);
    let mut estimates = [Estimate::default(); TOGETHER];
    let mut rest = candidates.of_segment(number);
    loop {
        let limit = farthest.min(top.threshold());
        rest = first_where(rest, |candidate| candidate.bound <= limit);
        let count = rest.len().min(TOGETHER);
        if count < rest.len() {
            rest.select_nth_unstable_by_key(count, Candidate::rank_in_segment);
        }
        let (nearest, others) = rest.split_at_mut(count);
        rest = others;
        let positions = &mut positions[..count];
        positions.iter_mut().zip(&*nearest).for_each(|(to, candidate)| *to = candidate.position);
        finer.estimates(kernels, prepared, levels, positions, &mut counted[..count], &mut estimates[..count]);
        for (candidate, Estimate { distance, deviation }) in nearest.iter_mut().zip(estimates) {
            let slack = EPSILON * deviation;
            candidate.bound = candidate.bound.max(distance - slack);
            top.push(distance + slack, u64::from(number) << 32 | u64::from(candidate.position));
        }
        if count < TOGETHER {
            return;
        }
    }
}
