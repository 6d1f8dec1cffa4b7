//! Bounds by finer codes for the candidates of a search, best first.
//!
//! In: candidates with a lower bound by their codes. Out: the same, those that may be among the k nearest with the
//! lower bound of their finer codes, which is closer to their distance: most need not be read. They are taken in the
//! order of their bounds; the first bound above the k-th smallest finer upper bound ends it. Where vectors are not
//! mapped there are none, and an answer may differ where a bound fails, about one neighbour in thirty thousand.

use crate::kernels::Kernels;
use crate::search::scratch::QueryScratch;
use crate::search::snapshot::Snapshot;
use crate::store::finer::{Estimate, FinerCodes};
use crate::types::Result;

/// Deviations from an estimate to its bounds, which are so much closer than those of the codes that a width at which
/// hardly one fails costs few rows.
const EPSILON: f32 = 4.0;
/// Candidates whose finer codes travel from memory at the same time.
const TOGETHER: usize = 32;

/// Raises the bounds of the closed candidates of `state`, whose query is `query`; none beyond `farthest` is looked at.
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
    let mut refined = false;
    for (number, segment) in snapshot.segments.iter().enumerate() {
        let Some(finer) = &segment.finer else { continue };
        // The query is as the last segment with rows wants it.
        if last > 0 {
            state.prepare(kernels, &segment.index, query)?;
        }
        refine_segment(kernels, finer, number as u32, farthest, state);
        refined = true;
    }
    if refined {
        state.candidates.order_again();
    }
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
    // Candidates by their place in order, and where their rows are.
    let (mut taken, mut positions) = ([0; TOGETHER], [0; TOGETHER]);
    let (mut counted, mut estimates) = ([0; TOGETHER], [Estimate::default(); TOGETHER]);
    let mut nth = 0;
    loop {
        let limit = farthest.min(top.threshold());
        let mut count = 0;
        while let Some(candidate) = candidates.in_order(nth).filter(|_| count < TOGETHER) {
            if candidate.segment == number {
                if candidate.bound > limit {
                    break;
                }
                (taken[count], positions[count]) = (nth, candidate.position);
                count += 1;
            }
            nth += 1;
        }
        let positions = &positions[..count];
        finer.estimates(kernels, prepared, levels, positions, &mut counted[..count], &mut estimates[..count]);
        for nth in 0..count {
            let Estimate { distance, deviation } = estimates[nth];
            let slack = EPSILON * deviation;
            candidates.raise(taken[nth], distance - slack);
            top.push(distance + slack, u64::from(number) << 32 | u64::from(positions[nth]));
        }
        if count < TOGETHER {
            return;
        }
    }
}
