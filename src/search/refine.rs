//! Bounds by finer codes for the candidates of a search, best first.
//!
//! In: candidates with a lower bound by their codes. Out: those that may be among the k nearest, with the lower bound
//! of their finer codes, which is closer to their distance: most need not be read. The nearest by their bounds come
//! first, a few together; what lies above the k-th smallest finer upper bound is left out. Where vectors are not mapped
//! there are none, and an answer may differ where a bound fails, about one neighbour in thirty thousand.

use crate::kernels::Kernels;
use crate::pool::cancel::Stop;
use crate::search::candidates::{partition, Candidate};
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
/// none beyond `farthest` is looked at. O(n log n) for n candidates.
///
/// # Errors
/// `VDB_OUT_OF_MEMORY`, `VDB_TIMEOUT`, `VDB_CANCELLED`.
pub fn refine(
    kernels: &Kernels,
    snapshot: &Snapshot,
    query: &[f32],
    farthest: f32,
    state: &mut QueryScratch,
    stop: &Stop<'_>,
) -> Result<()> {
    let last = snapshot.segments.len().saturating_sub(1);
    for (number, segment) in snapshot.segments.iter().enumerate() {
        let Some(finer) = &segment.finer else { continue };
        // The query is as the last segment with rows wants it.
        if last > 0 {
            state.prepare(kernels, &segment.index, query)?;
        }
        refine_segment(kernels, finer, number as u32, farthest, state, stop)?;
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
    stop: &Stop<'_>,
) -> Result<()> {
    let QueryScratch { candidates, top, prepared, .. } = state;
    let levels = finer.levels(kernels, prepared);
    let (mut positions, mut counted) = ([0; TOGETHER], [0; TOGETHER]);
    let mut estimates = [Estimate::default(); TOGETHER];
    let (mut rest, mut refined) = (candidates.of_segment(number), 0);
    loop {
        stop.check()?;
        let limit = farthest.min(top.threshold());
        rest = partition(rest, |candidate| !candidate.is_beyond(limit));
        // As many as before, so that however many there are, each is selected a few times at most.
        let count = rest.len().min(refined.max(TOGETHER));
        if count < rest.len() {
            rest.select_nth_unstable_by_key(count, Candidate::rank_in_segment);
        }
        let (nearest, others) = rest.split_at_mut(count);
        if count > TOGETHER {
            nearest.sort_unstable_by_key(Candidate::rank_in_segment);
        }
        (rest, refined) = (others, refined + count);
        for group in nearest.chunks_mut(TOGETHER) {
            let limit = farthest.min(top.threshold());
            let group = partition(group, |candidate| !candidate.is_beyond(limit));
            let count = group.len();
            let positions = &mut positions[..count];
            positions.iter_mut().zip(&*group).for_each(|(to, candidate)| *to = candidate.position);
            let (counted, estimates) = (&mut counted[..count], &mut estimates[..count]);
            finer.estimates(kernels, prepared, levels, positions, counted, estimates);
            for (candidate, estimate) in group.iter_mut().zip(estimates) {
                let upper = candidate.refine(*estimate);
                if !upper.is_nan() {
                    top.push(upper, u64::from(number) << 32 | u64::from(candidate.position));
                }
            }
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
}

impl Candidate {
    /// Takes the bounds of a finer code; the upper one. The lower is never above it, whatever the code before has said:
    /// a row that is among the k with the least upper bounds stays.
    fn refine(&mut self, Estimate { distance, deviation }: Estimate) -> f32 {
        let slack = EPSILON * deviation;
        let upper = distance + slack;
        self.bound = self.bound.max(distance - slack).min(upper);
        upper
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::candidates::Candidates;

    #[test]
    fn a_row_is_not_ruled_out_by_its_own_bounds() {
        let mut candidates = Candidates::default();
        candidates.reset(1, 3, f32::INFINITY).unwrap();
        // Its coarse bound has failed: it is above all that the finer code says.
        let mut failed = Candidate { bound: 9.0, segment: 0, position: 1 };
        let upper = failed.refine(Estimate { distance: 2.0, deviation: 0.25 });
        assert_eq!((failed.bound, upper), (3.0, 3.0));
        candidates.push(failed, 9.5);
        candidates.push(Candidate { bound: 4.0, segment: 0, position: 2 }, 9.5);
        candidates.keep_within(upper);
        assert_eq!(candidates.in_order(0), Some(&failed));
        assert_eq!(candidates.in_order(1), None);
        // What is no number says nothing.
        let mut kept = Candidate { bound: 1.0, segment: 0, position: 0 };
        assert!(kept.refine(Estimate { distance: f32::NAN, deviation: 1.0 }).is_nan());
        assert_eq!(kept.bound, 1.0);
        candidates.keep_within(f32::NAN);
        assert!(candidates.in_order(0).is_some());
    }
}
