//! What effort reaches which recall: measured on the held-out rows, stored with the segment.
//!
//! First the bounds: how far estimates lie above true distances, in predicted deviations, over the true neighbours of
//! all held-out rows, both halves. Each recall gets the width that loses a fifth of what the recall allows to be lost.
//! Then the probes and the walk: real searches at growing effort, to which no held-out row is a row of the index, until
//! nearly all true neighbours come back. One half of the held-out rows chooses each effort, the other half says what
//! it reaches: what is best for some rows by chance would flatter itself. The recall written down lies below the
//! measured one by [`margin`], so that other queries get what they ask for, those that are a little unlike the rows
//! too.

use crate::build::truth::{Truth, TRUTH_K};
use crate::build::Work;
use crate::index::recall_table::{Effort, RecallTable, EPSILON_DEFAULT, SPREAD_WEIGHT_DEFAULT};
use crate::memory::{try_collect, try_push, try_vec, try_with_capacity, AlignedBytes, Budget};
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

/// Where the sweep ends, unless so few rows cannot promise it: who asks for more gets every leaf.
const RECALL_ENOUGH: f64 = 0.9995;
/// Of the recall that is lost, the share by which less is promised than was measured: queries are a little unlike rows.
/// See `docs/experiments.md`.
const MARGIN_SHARE: f64 = 1.0;
/// Standard errors of what was measured that lie between it and what is promised at least.
const MARGIN_ERRORS: f64 = 2.0;
/// Share of the lost recall that the bounds may cause.
const BOUND_SHARE: f64 = 0.2;
/// How far the weight of the spread moves between two efforts.
const WEIGHT_STEP: f32 = 0.25;
/// Beyond this recall the weight stays, and a row that has found all its neighbours is not searched for again: with
/// another weight it could lose some.
const SURE_RECALL: f64 = 0.97;
/// Rows that the first walk holds.
const LIST_FIRST: u32 = 16;
/// And the last one: longer ones are for filters, and more than ten answers.
const LIST_LAST: u32 = 1_024;
/// How much longer a walk is tried beside one that is a step longer.
const LIST_STRIDE: u32 = 4;
/// What a code costs that a walk meets, in codes that are scanned one after the other: 60 ns and 15 were seen where it
/// was set. It decides which step is taken, never what recall is promised.
const WALK_COST: f64 = 4.0;
/// What a search costs beside, in the same.
const FIXED_COST: f64 = 1_000.0;
/// Below this recall, efforts are doubled from one to the next.
const COARSE_RECALL: f64 = 0.7;
/// Steps of the progress that is told.
const PROGRESS: f64 = 1_000.0;
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
    let mut held: Vec<u64> = try_collect(targets.iter().map(|target| segment.index.ids.id(target.own)))?;
    held.sort_unstable();
    let course = Course { work, snapshot, segment, truth, targets: &targets, held, cache };
    let mut efforts: Vec<Effort> = Vec::new();
    let list = if segment.index.links.is_some() { LIST_FIRST } else { 0 };
    let mut at = Settings { probes: 1, list, epsilon: 0.0, spread_weight: SPREAD_WEIGHT_DEFAULT };
    // The width for the recall that the effort before reached: the one that this effort will be used for.
    let mut reached = 0.5;
    // Of each held-out row, the share of its neighbours that came back.
    let mut found = Found { shares: try_vec(targets.len(), 0.0)?, costs: try_vec(targets.len(), 1.0)? };
    let promising = (targets.len() / 2).max(1);
    let enough = RECALL_ENOUGH.min(1.0 - margin(1.0, 0.0, promising));
    loop {
        work.progress("tune", (reached * PROGRESS) as u64, PROGRESS as u64)?;
        at.epsilon = epsilon(&overshoots, if leaves == 1 { 0.999 } else { reached });
        (at, found) = course.best_step(at, found, efforts.is_empty())?;
        let (recall, error) = found.mean_and_error(Half::Promises);
        let safe = (recall - margin(recall, error, promising)).clamp(0.0, 1.0);
        let Settings { probes, list, epsilon, spread_weight } = at;
        try_push(&mut efforts, Effort { recall: safe as f32, probes, epsilon, spread_weight, list })?;
        reached = safe.max(reached);
        if at.probes >= leaves || safe >= enough {
            break;
        }
    }
    RecallTable::new(efforts)
}

/// By how much less than what was measured on so many rows is promised. Where none was lost, three may be among as many
/// more (the rule of three: 95 of 100 times fewer are).
fn margin(recall: f64, error: f64, rows: usize) -> f64 {
    let lost = 1.0 - recall;
    let least_lost = 3.0 / (TRUTH_K * rows) as f64;
    (MARGIN_SHARE * lost).max(MARGIN_ERRORS * error).max(least_lost - lost)
}

/// What all measurements have in common.
struct Course<'a> {
    work: &'a Work<'a>,
    snapshot: &'a Snapshot,
    segment: &'a Segment,
    truth: &'a Truth,
    targets: &'a [Target],
    /// Ids of the held-out rows, ascending.
    held: Vec<u64>,
    cache: &'a VectorCache,
}

/// What a measurement found.
struct Found {
    /// Of each held-out row, the share of its neighbours.
    shares: Vec<f64>,
    /// And the work of its search, in codes that are scanned one after the other.
    costs: Vec<f64>,
}

/// Held-out rows by what they serve.
#[derive(Clone, Copy, PartialEq)]
enum Half {
    Chooses,
    Promises,
}

impl Half {
    fn of(nth: usize) -> Self {
        [Half::Chooses, Half::Promises][nth % 2]
    }
}

impl Found {
    /// Mean of the shares of a half, and its standard error.
    fn mean_and_error(&self, half: Half) -> (f64, f64) {
        let shares =
            || self.shares.iter().enumerate().filter(|(nth, _)| Half::of(*nth) == half).map(|s| *s.1);
        let count = shares().count().max(1) as f64;
        let mean = shares().sum::<f64>() / count;
        let variance = shares().map(|share| (share - mean) * (share - mean)).sum::<f64>() / count;
        (mean, (variance / count).sqrt())
    }

    /// Mean share of the half that chooses.
    fn reached(&self) -> f64 {
        self.mean_and_error(Half::Chooses).0
    }

    /// Nearly all is found, by both halves.
    fn is_sure(&self) -> bool {
        [Half::Chooses, Half::Promises].iter().all(|half| self.mean_and_error(*half).0 >= SURE_RECALL)
    }

    fn lost(&self) -> f64 {
        (1.0 - self.reached()).max(1e-6)
    }

    fn cost(&self, rows: &[usize]) -> f64 {
        rows.iter().map(|nth| self.costs[*nth]).sum()
    }
}

impl Course<'_> {
    /// The step onward that gains the most for what it costs: more leaves, a longer walk, or both; and with the best
    /// weight of the spread near the last one.
    fn best_step(&self, at: Settings, before: Found, first: bool) -> Result<(Settings, Found)> {
        let leaves = self.segment.index.tree.leaf_count();
        // What reaches little is passed in large steps: hardly anybody asks for it.
        let coarse = before.reached() < COARSE_RECALL;
        let more = |value: u32| if coarse { 2 * value } else { value + (value * 2 / 5).max(1) };
        let (probes, list) = (more(at.probes).min(leaves), more(at.list).min(LIST_LAST));
        let mut steps = try_with_capacity(4)?;
        if first || leaves == 1 {
            steps.push(at);
        } else {
            steps.push(Settings { probes, ..at });
            if at.list > 0 && list > at.list {
                // What a longer walk gains may show only when it is much longer.
                let far = (LIST_STRIDE * at.list).min(LIST_LAST);
                steps.extend([list, far].map(|list| Settings { list, ..at }));
                steps.push(Settings { probes, list, ..at });
            }
        }
        let open = self.open(&before, Half::Chooses)?;
        if open.is_empty() {
            // Nothing is left to choose by: more of both.
            let step = Settings { probes, list: list.max(at.list), ..at };
            let open = self.open(&before, Half::Promises)?;
            return Ok((step, self.measure(step, &before, &open)?));
        }
        let mut best: Option<(f64, Settings, Found)> = None;
        // Of steps that gain nothing the last: more of both.
        for step in steps {
            let found = self.measure(step, &before, &open)?;
            let dearer = (found.cost(&open) / before.cost(&open)).max(1.01).ln();
            let gain = (before.lost() / found.lost()).ln() / dearer;
            let tie = gain <= 0.0 && best.as_ref().is_some_and(|best| best.0 <= 0.0);
            if tie || best.as_ref().is_none_or(|best| gain > best.0) {
                best = Some((gain, step, found));
            }
        }
        let Some((_, mut step, mut found)) = best else {
            return Err(Error::new(Status::Internal, "tune: no step"));
        };
        if leaves > 1 && !before.is_sure() {
            // The best weight moves slowly: look to both sides of the last one.
            for weight in [at.spread_weight - WEIGHT_STEP, at.spread_weight + WEIGHT_STEP] {
                let tried = Settings { spread_weight: weight.max(0.0), ..step };
                let other = self.measure(tried, &before, &open)?;
                if other.lost() < found.lost() {
                    (step, found) = (tried, other);
                }
            }
        }
        let open = self.open(&found, Half::Promises)?;
        let found = self.measure(step, &found, &open)?;
        Ok((step, found))
    }

    /// The held-out rows of a half that are searched for: once nearly all is found, one that has found all its
    /// neighbours is taken to find them again with more effort.
    fn open(&self, before: &Found, half: Half) -> Result<Vec<usize>> {
        let sure = before.is_sure();
        let all = (0..self.targets.len()).filter(|nth| Half::of(*nth) == half);
        try_collect(all.filter(|nth| !sure || before.shares[*nth] < 1.0))
    }

    /// Searches for the held-out rows that are open; the others are as they were before.
    fn measure(&self, settings: Settings, before: &Found, open: &[usize]) -> Result<Found> {
        let scratches = ScratchPool::new(self.work.threads, u64::MAX, Budget::new(0)?)?;
        let searched = self
            .work
            .pool
            .map_ordered(open.len(), self.work.threads, |nth| self.search(settings, open[nth], &scratches))?;
        let mut found = Found {
            shares: try_collect(before.shares.iter().copied())?,
            costs: try_collect(before.costs.iter().copied())?,
        };
        for (nth, (share, cost)) in open.iter().zip(&searched) {
            (found.shares[*nth], found.costs[*nth]) = (*share, *cost);
        }
        Ok(found)
    }

    /// One search, which excludes the held-out rows: the share that it finds, and what it costs.
    fn search(&self, settings: Settings, nth: usize, scratches: &ScratchPool) -> Result<(f64, f64)> {
        let target = &self.targets[nth];
        let filter = Filter::Ids { ids: &self.held, exclude: true };
        let params = SearchParams { probes: settings.probes, filter, ..SearchParams::default() };
        let mut plan = Plan::new(self.snapshot, TRUTH_K, &params, self.work.stop);
        plan.epsilon = Some(settings.epsilon);
        plan.spread_weight = Some(settings.spread_weight);
        plan.list = Some(settings.list);
        plan.hidden = Some(target.own);
        plan.widen = false;
        let context = Context {
            kernels: self.work.kernels,
            snapshot: self.snapshot,
            plan: &plan,
            cache: Some(self.cache),
            pool: None,
            threads: 1,
            scratches,
        };
        let mut scratch = scratches.take(0)?;
        tile::run(&context, &[self.truth.vector(nth)], &mut scratch)?;
        let share = target.share(self.segment, scratch.queries[0].top.as_slice());
        let stats = scratch.stats;
        let in_a_row = stats.nodes_ranked + stats.codes_scanned - stats.codes_walked;
        Ok((share, FIXED_COST + in_a_row as f64 + WALK_COST * stats.codes_walked as f64))
    }
}

/// What one measurement searches with.
#[derive(Clone, Copy)]
struct Settings {
    probes: u32,
    epsilon: f32,
    spread_weight: f32,
    list: u32,
}

/// The true neighbours of one held-out row.
struct Target {
    /// Position of the row itself.
    own: u32,
    /// (distance, position), closest first, at most [`TRUTH_K`].
    neighbours: Vec<(f32, u32)>,
}

/// The closest rows with the distances that a search gives them.
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
            try_push(&mut neighbours, (exact.distance(bytes.bytes()), position))?;
        }
        neighbours.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
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
        prepared.reserve(shape, quantiser.metric, query.len())?;
        prepared.prepare(work.kernels, rotation, mean, shape, quantiser.metric, query);
        let mut found = try_with_capacity(TRUTH_K)?;
        for (distance, position) in &targets[nth].neighbours {
            let mut counted = [0];
            count(work.kernels, shape, &prepared, index.codes.codes(*position, 1), &mut counted);
            let node = index.tree.leaf(index.tree.leaf_of(*position));
            let centre = index.tree.centre(node.centre);
            let base =
                crate::search::bases::centre_distance(work.kernels, quantiser.metric, centre, &prepared);
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
    let mut all: Vec<f32> = try_collect(per_row.into_iter().flatten().filter(|x| x.is_finite()))?;
    all.sort_unstable_by(f32::total_cmp);
    Ok(all)
}

/// The width of the bounds that fits a wanted recall.
fn epsilon(overshoots: &[f32], recall: f64) -> f32 {
    let Some(last) = overshoots.len().checked_sub(1) else { return EPSILON_DEFAULT };
    let rank = (1.0 - (1.0 - recall) * BOUND_SHARE) * last as f64;
    overshoots[(rank.ceil() as usize).min(last)].max(EPSILON_MIN)
}

impl Target {
    /// The share of the true neighbours among `answers`.
    fn share(&self, segment: &Segment, answers: &[Scored<u64>]) -> f64 {
        let farthest = self.neighbours.last().map_or(f32::NEG_INFINITY, |n| n.0);
        let is_true = |id: u64| self.neighbours.iter().any(|n| segment.index.ids.id(n.1) == id);
        // A row as close as the last true neighbour is as good as that.
        let hits = answers.iter().filter(|a| a.distance <= farthest || is_true(a.key)).count();
        hits.min(self.neighbours.len()) as f64 / self.neighbours.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_promised_than_was_measured_by_as_much_as_was_lost_at_least() {
        for rows in [1, 8, 50, 400, 10_000] {
            for recall in [0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
                for error in [0.0, 0.001, 0.02] {
                    let promised = recall - margin(recall, error, rows);
                    assert!(promised <= recall - (1.0 - recall) + 1e-12, "{recall}, {error}, {rows} rows");
                    assert!(promised <= recall - 2.0 * error + 1e-12, "{recall}, {error}, {rows} rows");
                    // Nothing lost among few says little of others.
                    assert!(promised <= 1.0 - 0.3 / rows as f64 + 1e-12, "{recall}, {error}, {rows} rows");
                }
            }
        }
        assert!((margin(0.98, 0.001, 400) - 0.02).abs() < 1e-12);
    }

    #[test]
    fn each_half_has_its_own_mean() {
        let found = Found { shares: vec![1.0, 0.5, 0.8, 0.7, 0.9], costs: vec![1.0, 2.0, 4.0, 8.0, 16.0] };
        let (chooses, error) = found.mean_and_error(Half::Chooses);
        assert!((chooses - 0.9).abs() < 1e-12 && (found.reached() - 0.9).abs() < 1e-12);
        // Population deviation of 1.0, 0.8 and 0.9, over the root of three.
        assert!((error - (0.02f64 / 3.0).sqrt() / 3f64.sqrt()).abs() < 1e-12);
        assert!((found.mean_and_error(Half::Promises).0 - 0.6).abs() < 1e-12);
        assert!((found.lost() - 0.1).abs() < 1e-12 && found.cost(&[0, 3]) == 9.0);
        assert!(!found.is_sure());
    }
}
