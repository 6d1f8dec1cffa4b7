//! What effort reaches which recall: measured on the held-out rows, stored with the segment.
//!
//! First the bounds: how far estimates lie above true distances, in predicted deviations, over the true neighbours of
//! all held-out rows. Each recall gets the width that loses a fifth of what the recall allows to be lost. Then the
//! probes: real searches at growing effort, each held-out row excluding itself, until nearly all true neighbours come
//! back. The recall written down is one standard error below the measured one, so that it is kept on other queries.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::build::truth::{Truth, TRUTH_K};
use crate::build::Work;
use crate::index::recall_table::{Effort, RecallTable, EPSILON_DEFAULT, SPREAD_WEIGHT_DEFAULT};
use crate::memory::AlignedBytes;
use crate::quantize::estimate::{count, estimates};
use crate::quantize::query::PreparedQuery;
use crate::search::plan::Plan;
use crate::search::rerank::Exact;
use crate::search::scratch::ScratchPool;
use crate::search::snapshot::{Segment, Snapshot};
use crate::search::tile::{self, Context};
use crate::store::vectors::ReadCost;
use crate::types::params::{Filter, SearchParams};
use crate::types::{Error, Result, Status};

/// Where the sweep ends: the next effort would cost more than the little recall that is left.
const RECALL_ENOUGH: f64 = 0.9995;
/// Share of the lost recall that the bounds may cause.
const BOUND_SHARE: f64 = 0.2;
/// How far the weight of the spread moves between two efforts.
const WEIGHT_STEP: f32 = 0.25;
/// Beyond this recall the weight stays.
const WEIGHT_RECALL: f64 = 0.98;
/// Least width of the bounds, whatever was measured.
const EPSILON_MIN: f32 = 1.0;

/// Measures the recall table of the only segment of `snapshot`. `positions` tells where a source row went.
///
/// # Errors
/// What searches give.
pub fn tune(work: &Work<'_>, snapshot: &Snapshot, truth: &Truth, positions: &[u32]) -> Result<RecallTable> {
    let Some(segment) = snapshot.segments.first() else { return Ok(RecallTable::default()) };
    if truth.rows().is_empty() {
        return Ok(RecallTable::default());
    }
    let targets = exact_truth(work, snapshot, segment, truth, positions)?;
    let overshoots = overshoots(work, segment, truth, &targets)?;
    let leaves = segment.index.tree.leaf_count();
    let mut efforts: Vec<Effort> = Vec::new();
    let mut weight = SPREAD_WEIGHT_DEFAULT;
    let mut probes = 1;
    // The width for the recall that the effort before reached: the one that this effort will be used for.
    let mut reached = 0.5;
    loop {
        work.progress("tune", u64::from(probes.min(leaves)), u64::from(leaves))?;
        let epsilon = epsilon(&overshoots, if leaves == 1 { 0.999 } else { reached });
        let (mut best, last_weight) = ((0.0, 0.0), weight);
        // The best weight moves slowly with the probes: look to both sides of the last one.
        for step in [0.0, -WEIGHT_STEP, WEIGHT_STEP] {
            let tried = (last_weight + step).max(0.0);
            let settings = Settings { probes, epsilon, spread_weight: tried };
            let measured = measure(work, snapshot, truth, &targets, settings)?;
            if measured.0 > best.0 {
                best = measured;
                weight = tried;
            }
            if leaves == 1 || best.0 >= WEIGHT_RECALL {
                break;
            }
        }
        let (recall, error) = best;
        let safe = (recall - error).clamp(0.0, 1.0);
        efforts.push(Effort { recall: safe as f32, probes, epsilon, spread_weight: weight });
        reached = safe.max(reached);
        if probes >= leaves || recall >= RECALL_ENOUGH {
            break;
        }
        probes = (probes + (probes * 2 / 5).max(1)).min(leaves);
    }
    RecallTable::new(efforts)
}

/// What one measurement searches with.
#[derive(Clone, Copy)]
struct Settings {
    probes: u32,
    epsilon: f32,
    spread_weight: f32,
}

/// The true neighbours of one held-out row.
struct Target {
    /// Position of the row itself.
    own: u32,
    /// (distance, position), closest first, at most [`TRUTH_K`].
    neighbours: Vec<(f32, u32)>,
}

/// Ranks the closest rows that the products found by exact distance.
fn exact_truth(
    work: &Work<'_>,
    snapshot: &Snapshot,
    segment: &Segment,
    truth: &Truth,
    positions: &[u32],
) -> Result<Vec<Target>> {
    work.pool.map_ordered(truth.rows().len(), work.pool.threads(), |nth| {
        let exact = Exact::new(work.kernels, snapshot.metric, snapshot.element, truth.vector(nth));
        let mut row = AlignedBytes::zeroed(segment.vectors.row_bytes())?;
        let mut cost = ReadCost::default();
        let mut neighbours = Vec::new();
        for source_row in truth.nearest(nth) {
            let position = positions[source_row as usize];
            let bytes = segment.vectors.row(position, None, &mut row, &mut cost)?;
            neighbours.push((exact.distance(bytes.bytes()), position));
        }
        neighbours.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        neighbours.truncate(TRUTH_K);
        Ok(Target { own: positions[truth.rows()[nth] as usize], neighbours })
    })
}

/// By how many predicted deviations the estimates of true neighbours lie above their distances, ascending.
fn overshoots(work: &Work<'_>, segment: &Segment, truth: &Truth, targets: &[Target]) -> Result<Vec<f32>> {
    let index = &segment.index;
    let quantiser = &index.quantiser;
    let shape = quantiser.shape;
    let per_row = work.pool.map_ordered(targets.len(), work.pool.threads(), |nth| {
        let mut prepared = PreparedQuery::default();
        let query = truth.vector(nth);
        let (rotation, mean) = (&quantiser.rotation, quantiser.mean());
        prepared.prepare(work.kernels, rotation, mean, shape, quantiser.metric, query);
        let mut found = Vec::with_capacity(TRUTH_K);
        for (distance, position) in &targets[nth].neighbours {
            let mut counted = [0];
            count(work.kernels, shape, &prepared, index.codes.codes(*position, 1), &mut counted);
            let node = index.tree.leaf(index.tree.leaf_of(*position));
            let centre = index.tree.centre(node.centre);
            let base =
                crate::search::descend::centre_distance(work.kernels, quantiser.metric, centre, &prepared);
            let (mut estimate, mut deviation) = ([0.0], [0.0]);
            let factors = index.codes.factors(*position, 1);
            estimates(
                &prepared,
                base,
                quantiser.error_width,
                factors,
                &counted,
                &mut estimate,
                &mut deviation,
            );
            if deviation[0] > 0.0 {
                found.push((estimate[0] - distance) / deviation[0]);
            }
        }
        Ok(found)
    })?;
    let mut all: Vec<f32> = per_row.into_iter().flatten().filter(|x| x.is_finite()).collect();
    all.sort_unstable_by(f32::total_cmp);
    Ok(all)
}

/// The width of the bounds that fits a wanted recall.
fn epsilon(overshoots: &[f32], recall: f64) -> f32 {
    let Some(last) = overshoots.len().checked_sub(1) else { return EPSILON_DEFAULT };
    let rank = (1.0 - (1.0 - recall) * BOUND_SHARE) * last as f64;
    overshoots[(rank.ceil() as usize).min(last)].max(EPSILON_MIN)
}

/// Mean recall over the held-out rows, and its standard error.
fn measure(
    work: &Work<'_>,
    snapshot: &Snapshot,
    truth: &Truth,
    targets: &[Target],
    settings: Settings,
) -> Result<(f64, f64)> {
    let segment =
        snapshot.segments.first().ok_or_else(|| Error::new(Status::Internal, "tune: no segment"))?;
    let scratches = ScratchPool::new(work.pool.threads(), u64::MAX);
    let recalls = Mutex::new(vec![0.0f64; targets.len()]);
    work.pool.try_for_each(targets.len(), work.pool.threads(), |nth| {
        let target = &targets[nth];
        let own = [segment.index.ids.id(target.own)];
        let filter = Filter::Ids { ids: &own, exclude: true };
        let params = SearchParams { probes: settings.probes, filter, ..SearchParams::default() };
        let mut plan = Plan::new(snapshot, TRUTH_K, &params, work.stop);
        plan.epsilon = Some(settings.epsilon);
        plan.spread_weight = Some(settings.spread_weight);
        plan.widen = false;
        let context = Context {
            kernels: work.kernels,
            snapshot,
            plan: &plan,
            cache: None,
            pool: None,
            threads: 1,
            scratches: &scratches,
        };
        let mut scratch = scratches.take();
        tile::run(&context, &[truth.vector(nth)], &mut scratch)?;
        let farthest = target.neighbours.last().map_or(f32::NEG_INFINITY, |n| n.0);
        let true_ids: HashSet<u64> = target.neighbours.iter().map(|n| segment.index.ids.id(n.1)).collect();
        let answers = scratch.queries[0].top.as_slice();
        // A row as close as the last true neighbour is as good as that.
        let hits = answers.iter().filter(|a| true_ids.contains(&a.key) || a.distance <= farthest).count();
        let share = hits.min(target.neighbours.len()) as f64 / target.neighbours.len().max(1) as f64;
        scratches.give(scratch);
        recalls.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[nth] = share;
        Ok(())
    })?;
    let recalls = recalls.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let count = recalls.len().max(1) as f64;
    let mean = recalls.iter().sum::<f64>() / count;
    let variance = recalls.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>() / count;
    Ok((mean, (variance / count).sqrt()))
}
