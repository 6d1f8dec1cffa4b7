//! From what was asked to what is done: probes, confidence, how a filter is met.
//!
//! Parameters are resolved once a search; what the caller sets wins over the table that the build measured.

use crate::index::filter::{self, Named};
use crate::index::recall_table::{Effort, LIST_MAX};
use crate::pool::cancel::Stop;
use crate::search::snapshot::{Segment, Snapshot};
use crate::types::params::{Filter, SearchParams, RERANK_ALL};

/// Rows that a filter may name so that they are met one by one instead of leaf by leaf.
const LISTED_ROWS_MAX: u64 = 4_096;

/// A visit was wide enough if at most so many times the rows it was planned for lie as close as its answers.
const NEAR_SLACK: f64 = 1.5;

/// How much wider a visit becomes at least when one before found too little.
const WIDEN: u32 = 4;

/// How much confidence a visit has at least that goes further than the table measured: the farther from the query, the
/// more rows lie about as far, and the luckiest of their estimates would cut off the right one.
const EPSILON_FOR_WIDE: f32 = 4.5;

/// Where one row in `n` may be returned, `n` to this power as many leaves are visited: answers lie farther apart, and
/// where rows lie in bunches no walk leads from one to the next.
const LEAVES_POWER: f64 = 1.0;

/// So many times the leaves where the table's were followed by a walk, and a visit goes further than the table
/// measured.
const LEAVES_ALONE: u32 = 4;

/// As `LEAVES_POWER`, of the rows that a walk holds.
const LIST_POWER: f64 = 0.7;

/// How much confidence is added when the caller sets `probes`: bounds should then cost no recall.
const EPSILON_FOR_PROBES: f32 = 3.0;

/// A search, resolved.
pub struct Plan<'a> {
    /// Answers wanted, of those that can be.
    pub k: usize,
    /// Rows of the snapshot.
    pub rows: u64,
    /// Wanted recall.
    pub recall: f32,
    /// Leaves a segment, if the caller set them.
    pub probes: Option<u32>,
    /// Width of the bounds, if it is not to come from the table.
    pub epsilon: Option<f32>,
    /// Weight of the spread, if it is not to come from the table.
    pub spread_weight: Option<f32>,
    /// Rows that a walk holds, if it is not to come from the table.
    pub list: Option<u32>,
    /// Position of a row that no walk comes by: a build that searches for a row of the index as if it were not there.
    pub hidden: Option<u32>,
    /// Visit more leaves as long as fewer than `k` rows were found.
    pub widen: bool,
    /// Most exact distances.
    pub rerank_max: u64,
    /// Every row of the probed leaves gets its exact distance.
    pub rerank_all: bool,
    /// No answer lies farther.
    pub farthest: f32,
    /// Which rows may be returned.
    pub filter: Filter<'a>,
    /// The rows that the filter names, if they are so few that they are met one by one.
    pub listed: Option<Named<'a>>,
    /// Share of the rows that the filter admits, if every id that it names exists.
    pub selectivity: f64,
    /// When to give up.
    pub stop: Stop<'a>,
}

impl<'a> Plan<'a> {
    /// Resolves parameters against what the snapshot holds.
    pub fn new(snapshot: &Snapshot, k: usize, params: &SearchParams<'a>, stop: Stop<'a>) -> Self {
        let rows = snapshot.rows();
        // An exact search asks every row: no use to count what the filter admits.
        let admitted = if params.exact { rows } else { filter::admitted_about(&params.filter, rows) };
        Self::with_admitted(snapshot, k, params, admitted, stop)
    }

    /// As [`new`](Self::new), for one whose filter was counted before: see [`filter::admitted_about`].
    pub fn with_admitted(
        snapshot: &Snapshot,
        k: usize,
        params: &SearchParams<'a>,
        admitted: u64,
        stop: Stop<'a>,
    ) -> Self {
        let rows = snapshot.rows();
        let few = admitted < rows && admitted <= LISTED_ROWS_MAX;
        Plan {
            k: k.min(usize::try_from(rows).unwrap_or(usize::MAX)),
            rows,
            recall: params.recall,
            probes: (params.probes > 0).then_some(params.probes),
            epsilon: None,
            spread_weight: None,
            list: None,
            hidden: None,
            widen: true,
            rerank_max: if params.rerank == 0 { u64::MAX } else { u64::from(params.rerank) },
            rerank_all: params.rerank == RERANK_ALL,
            farthest: params.max_distance.unwrap_or(f32::INFINITY),
            filter: params.filter,
            listed: filter::named(&params.filter).filter(|_| few),
            selectivity: admitted as f64 / rows.max(1) as f64,
            stop,
        }
    }

    /// What to spend on a segment, if among the rows near the query a filter admits one of `widen` of those that it
    /// admits elsewhere.
    pub fn effort(&self, segment: &Segment, widen: u32) -> Effort {
        let leaves = segment.index.tree.leaf_count().max(1);
        let table = &segment.index.recall_table;
        let mut effort = match self.probes {
            Some(probes) => {
                let effort = table.at_probes(probes.saturating_mul(widen).min(leaves));
                Effort { epsilon: effort.epsilon.max(EPSILON_FOR_PROBES), ..effort }
            }
            None => {
                let effort = table.effort(self.recall, leaves);
                let selectivity = self.selectivity / f64::from(widen);
                let rows_a_leaf = f64::from(segment.index.rows()) / f64::from(leaves);
                // Twice the rows that must be found, so that the first attempt seldom has to be widened.
                let least = (2.0 * self.k as f64 / (rows_a_leaf * selectivity).max(1e-9)).ceil();
                let least = if least >= f64::from(leaves) { leaves } else { least as u32 };
                // A list holds refused rows, too; a visit that is wider for other reasons needs no longer one.
                let filtered = !matches!(self.filter, Filter::All);
                let of_list = if filtered { selectivity } else { self.selectivity };
                let list = self
                    .scaled(effort.list, LIST_MAX, of_list, LIST_POWER)
                    .max(self.k.min(LIST_MAX as usize) as u32);
                let list = if effort.list == 0 { 0 } else { list.min(LIST_MAX) };
                // The walk found most for the table, but none of what lies in other bunches.
                let alone = if widen > 1 && list > 0 { LEAVES_ALONE } else { 1 };
                let probes = effort.probes.saturating_mul(alone);
                Effort {
                    probes: self.scaled(probes, leaves, selectivity, LEAVES_POWER).max(least),
                    list,
                    ..effort
                }
            }
        };
        effort.probes = effort.probes.clamp(1, leaves);
        if widen > 1 {
            effort.epsilon = effort.epsilon.max(EPSILON_FOR_WIDE);
        }
        effort.epsilon = self.epsilon.unwrap_or(effort.epsilon);
        effort.spread_weight = self.spread_weight.unwrap_or(effort.spread_weight);
        effort.list = self.list.unwrap_or(effort.list);
        if self.listed.is_some() {
            // Few rows, all of which are met: bounds need not lose any.
            effort.epsilon = effort.epsilon.max(EPSILON_FOR_PROBES);
        }
        effort
    }

    /// How much wider the next visit must be, after one that was `widen` wide and met `found` rows that may be returned
    /// and are among the closest, and `refused` that lie as close; `None`: it was wide enough.
    pub fn wider(&self, widen: u32, found: usize, refused: usize) -> Option<u32> {
        if !self.widen {
            return None;
        }
        if found < self.k {
            return Some(widen.saturating_mul(WIDEN));
        }
        // Where rows are refused far more often than it is known of the whole, the filter cuts out what is near.
        let near = (found + refused) as f64;
        let planned = |widen: u32| NEAR_SLACK * self.k as f64 / self.selectivity.max(1e-9) * f64::from(widen);
        if self.probes.is_some() || near <= planned(widen) {
            return None;
        }
        let mut next = widen;
        while near > planned(next) && next < u32::MAX / WIDEN {
            next *= WIDEN;
        }
        Some(next)
    }

    /// The table speaks of ten answers among all rows: more answers, or a filter, spread them over more leaves, and
    /// more rows of a walk. `power` of how many fewer rows there are.
    fn scaled(&self, wanted: u32, most: u32, selectivity: f64, power: f64) -> u32 {
        let more_answers = (self.k as f64 / 10.0).max(1.0).powf(0.4);
        let fewer_rows = selectivity.max(1e-9).recip().powf(power);
        let wanted = f64::from(wanted) * more_answers * fewer_rows;
        if wanted >= f64::from(most) {
            most
        } else {
            wanted.ceil() as u32
        }
    }
}
