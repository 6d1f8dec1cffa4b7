//! What effort reaches which recall: measured on the held-out rows, stored with the segment.
//!
//! First the bounds: how far estimates lie above true distances, in predicted deviations, over the true neighbours of
//! all held-out rows. Each recall gets the width that loses a fifth of what the recall allows to be lost. Then the
//! probes: real searches at growing effort, each held-out row excluding itself, until nearly all true neighbours come
//! back. The recall written down is [`MARGIN`] standard errors below the measured one, so that other queries get what
//! they ask for, those that are a little unlike the rows too.

use std::collections::HashSet;

use crate::build::truth::{Truth, TRUTH_K};
use crate::build::Work;
use crate::index::recall_table::{Effort, RecallTable, EPSILON_DEFAULT, SPREAD_WEIGHT_DEFAULT};
use crate::memory::{AlignedBytes, Budget};
use crate::quantize::estimate::{count, estimates};
use crate::quantize::query::PreparedQuery;
use crate::search::plan::Plan;
use crate::search::rerank::Exact;
use crate::search::scratch::ScratchPool;
use crate::search::snapshot::{Segment, Snapshot};
use crate::search::tile::{self, Context};
use crate::store::cache::VectorCache;
use crate::store::vectors::ReadCost;
use crate::topk::heap::Scored;
use crate::types::params::{Filter, SearchParams};
use crate::types::{Error, Result, Status};

/// Where the sweep ends: the next effort would cost more than the little recall that is left.
const RECALL_ENOUGH: f64 = 0.9995;
/// Standard errors between the recall that was measured and the one that is promised; see `docs/experiments.md`.
const MARGIN: f64 = 4.0;
/// Share of the lost recall that the bounds may cause.
const BOUND_SHARE: f64 = 0.2;
/// How far the weight of the spread moves between two efforts.
const WEIGHT_STEP: f32 = 0.25;
/// Beyond this recall the weight stays.
const WEIGHT_RECALL: f64 = 0.98;
/// Least width of the bounds, whatever was measured.
const EPSILON_MIN: f32 = 1.0;

/// Measures the recall table of the only segment of `snapshot`. `positions` tells where a source row went; `cache`
/// keeps rows from one effort to the next, which looks at most of them again.
///
/// # Errors
/// What searches give.
pub fn tune(
    work: &Work<'_>,
    snapshot: &Snapshot,
    truth: &Truth,
    positions: &[u32],
    cache: &VectorCache,
) -> Result<RecallTable> {
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
    // Of each held-out row, the share of its neighbours that came back.
    let mut shares = vec![0.0; targets.len()];
    loop {
        work.progress("tune", u64::from(probes.min(leaves)), u64::from(leaves))?;
        let epsilon = epsilon(&overshoots, if leaves == 1 { 0.999 } else { reached });
        let settings = |spread_weight| Settings { probes, epsilon, spread_weight };
        if leaves == 1 || mean_and_error(&shares).0 >= WEIGHT_RECALL {
            // With the weight settled, a row that has found all finds them again in more leaves.
            measure(work, snapshot, truth, &targets, settings(weight), cache, &mut shares)?;
        } else {
            // The best weight moves slowly with the probes: look to both sides of the last one.
            let tries = [0.0, -WEIGHT_STEP, WEIGHT_STEP].map(|step| (weight + step).max(0.0));
            shares.fill(-1.0);
            for tried in tries {
                let mut found = vec![0.0; targets.len()];
                measure(work, snapshot, truth, &targets, settings(tried), cache, &mut found)?;
                if mean_and_error(&found).0 > mean_and_error(&shares).0 {
                    (weight, shares) = (tried, found);
                }
            }
        }
        let (recall, error) = mean_and_error(&shares);
        let safe = (recall - MARGIN * error).clamp(0.0, 1.0);
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
    work.pool.map_ordered(truth.rows().len(), work.threads, |nth| {
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
    let per_row = work.pool.map_ordered(targets.len(), work.threads, |nth| {
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

/// Searches for every held-out row whose share is below 1, and writes its new share.
fn measure(
    work: &Work<'_>,
    snapshot: &Snapshot,
    truth: &Truth,
    targets: &[Target],
    settings: Settings,
    cache: &VectorCache,
    shares: &mut [f64],
) -> Result<()> {
    let segment =
        snapshot.segments.first().ok_or_else(|| Error::new(Status::Internal, "tune: no segment"))?;
    let scratches = ScratchPool::new(work.threads, u64::MAX, Budget::new(0));
    let open: Vec<usize> = (0..targets.len()).filter(|nth| shares[*nth] < 1.0).collect();
    let found = work.pool.map_ordered(open.len(), work.threads, |nth| {
        let target = &targets[open[nth]];
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
            cache: Some(cache),
            pool: None,
            threads: 1,
            scratches: &scratches,
        };
        let mut scratch = scratches.take(0)?;
        tile::run(&context, &[truth.vector(open[nth])], &mut scratch)?;
        Ok(target.share(segment, scratch.queries[0].top.as_slice()))
    })?;
    open.iter().zip(found).for_each(|(nth, share)| shares[*nth] = share);
    Ok(())
}

impl Target {
    /// The share of the true neighbours among `answers`.
    fn share(&self, segment: &Segment, answers: &[Scored<u64>]) -> f64 {
        let farthest = self.neighbours.last().map_or(f32::NEG_INFINITY, |n| n.0);
        let true_ids: HashSet<u64> = self.neighbours.iter().map(|n| segment.index.ids.id(n.1)).collect();
        // A row as close as the last true neighbour is as good as that.
        let hits = answers.iter().filter(|a| true_ids.contains(&a.key) || a.distance <= farthest).count();
        hits.min(self.neighbours.len()) as f64 / self.neighbours.len().max(1) as f64
    }
}

/// Mean of the shares, and its standard error.
fn mean_and_error(shares: &[f64]) -> (f64, f64) {
    let count = shares.len().max(1) as f64;
    let mean = shares.iter().sum::<f64>() / count;
    let variance = shares.iter().map(|share| (share - mean) * (share - mean)).sum::<f64>() / count;
    (mean, (variance / count).sqrt())
}
