//! The steps of a search, in order, for one query or a tile of them.
//!
//! A tile whose queries meet more leaves than there are scans leaf by leaf for all of them, so that a leaf's codes are
//! read from memory once; otherwise each query scans its leaves best first. All keep the same candidates (see
//! `candidates`), so that all give the same bits.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::index::filter;
use crate::index::links::Links;
use crate::index::tree::Tree;
use crate::kernels::Kernels;
use crate::memory::{try_hold, try_reserve, try_with_capacity};
use crate::pool::Pool;
use crate::search::bases::Bases;
use crate::search::descend::{descend, Route};
use crate::search::plan::Plan;
use crate::search::refine::refine;
use crate::search::rerank::{self, Exact, Reader};
use crate::search::scan::Scan;
use crate::search::scratch::{Asked, Lent, QueryScratch, Scratch, ScratchPool};
use crate::search::snapshot::{Segment, Snapshot};
use crate::search::walk;
use crate::stats::Clock;
use crate::store::cache::VectorCache;
use crate::topk::heap::Scored;
use crate::types::Result;

/// Leaves between two looks at deadline and cancel token: about 50 us of work.
const LEAVES_A_LOOK: usize = 32;
/// Rows of one unit of a parallel scan.
const UNIT_ROWS: u32 = 8_192;
/// A scan of fewer codes stays on its thread: waking another costs about what these cost.
const PARALLEL_ROWS: u64 = 65_536;

/// Where a search runs and what it may use.
pub struct Context<'a> {
    /// The functions to use.
    pub kernels: &'static Kernels,
    /// What is searched.
    pub snapshot: &'a Snapshot,
    /// How.
    pub plan: &'a Plan<'a>,
    /// Rows that were read before, if the cache is on.
    pub cache: Option<&'a VectorCache>,
    /// Threads for one long scan; `None`: the calling thread alone.
    pub pool: Option<&'a Pool>,
    /// Threads of `pool` to use at most.
    pub threads: usize,
    /// Where those threads get their buffers.
    pub scratches: &'a ScratchPool,
}

/// Searches for the `queries` (each `dim` finite floats); the answers are in `scratch.queries[i].top`.
///
/// # Errors
/// `VDB_TIMEOUT`, `VDB_CANCELLED`, and what reading rows may give.
pub fn run(context: &Context<'_>, queries: &[&[f32]], scratch: &mut Scratch) -> Result<()> {
    scratch.reserve_queries(queries.len())?;
    // Queries that still want an answer; after the first round only those that found too few rows.
    let mut open = std::mem::take(&mut scratch.open);
    open.clear();
    let done = try_hold(&mut open, queries.len()).and_then(|()| {
        open.extend(0..queries.len() as u32);
        rounds(context, queries, &mut open, scratch)
    });
    scratch.open = open;
    done?;
    finish(context, queries, scratch)
}

/// Visits all segments for the queries that are open, wider each time, until none is. Queries that need the same width
/// go together: each sees the same visits as if it were alone.
fn rounds(
    context: &Context<'_>,
    queries: &[&[f32]],
    open: &mut Vec<u32>,
    scratch: &mut Scratch,
) -> Result<()> {
    let plan = context.plan;
    scratch.queries[..queries.len()].iter_mut().for_each(|state| state.widen = 1);
    while !open.is_empty() {
        open.sort_unstable_by_key(|query| (scratch.queries[*query as usize].widen, *query));
        let widen = scratch.queries[open[0] as usize].widen;
        let count = open.partition_point(|query| scratch.queries[*query as usize].widen == widen);
        let visiting = &open[..count];
        for query in visiting {
            let state = &mut scratch.queries[*query as usize];
            state.candidates.reset(plan.k, plan.rows, plan.farthest)?;
            state.top.try_reset(plan.k)?;
        }
        let mut exhausted = true;
        for (number, segment) in context.snapshot.segments.iter().enumerate() {
            exhausted &= visit(context, number as u32, segment, queries, visiting, widen, scratch)?;
        }
        for query in visiting {
            let state = &mut scratch.queries[*query as usize];
            state.candidates.check()?;
            let ended = exhausted || state.candidates.is_past_limit();
            let next = plan.wider(widen, state.found(plan), state.candidates.refused());
            state.widen = next.filter(|_| !ended).unwrap_or(0);
        }
        open.retain(|query| scratch.queries[*query as usize].widen > 0);
    }
    Ok(())
}

impl QueryScratch {
    fn found(&self, plan: &Plan<'_>) -> usize {
        if plan.rerank_all {
            self.top.len()
        } else {
            self.candidates.found()
        }
    }
}

/// One segment for the queries that are open. True if no leaf was left out.
fn visit(
    context: &Context<'_>,
    number: u32,
    segment: &Segment,
    queries: &[&[f32]],
    open: &[u32],
    widen: u32,
    scratch: &mut Scratch,
) -> Result<bool> {
    let Context { kernels, plan, .. } = *context;
    let index = &segment.index;
    if index.rows() == 0 {
        return Ok(true);
    }
    let leaves = index.tree.leaf_count();
    let effort = plan.effort(segment, widen);
    let probes = effort.probes;
    let exhausted = plan.listed.is_some() || probes >= leaves;
    let Scratch { queries: states, stage, stats, .. } = scratch;
    if plan.listed.is_none() {
        stats.probes = stats.probes.saturating_add(probes.saturating_mul(open.len() as u32));
    }

    let mut clock = Clock::start();
    for query in open {
        states[*query as usize].prepare(kernels, index, queries[*query as usize])?;
    }
    clock.lap(&mut stats.quantise_ns);

    let route = Route { probes, spread_weight: effort.spread_weight };
    for query in open {
        // Rows that a filter lists are met wherever they lie.
        if plan.listed.is_none() {
            descend(kernels, index, route, &mut states[*query as usize], stage, stats)?;
        }
        plan.stop.check()?;
    }
    clock.lap(&mut stats.descend_ns);

    if let Some(named) = &plan.listed {
        filter::positions(named, &index.ids, &mut stage.positions)?;
    }
    if plan.rerank_all {
        let read_ns = stats.read_ns;
        rerank_rows(context, segment, queries, open, scratch)?;
        clock.lap_beside(scratch.stats.read_ns - read_ns, &mut scratch.stats.rerank_ns);
        return Ok(exhausted);
    }
    // Where every row is met by the scan, no walk is left to do.
    let links = index.links.as_ref().filter(|_| !exhausted && effort.list > 0);
    for query in open {
        states[*query as usize]
            .walk
            .reset(links.map_or(0, |_| effort.list as usize), index.quantiser.metric)?;
    }
    let (epsilon, filter, stop) = (effort.epsilon, plan.filter, plan.stop);
    let scan = Scan { kernels, index, segment: number, epsilon, filter, stop };
    if plan.listed.is_some() {
        scan_listed(&scan, open, scratch)?;
    } else {
        scan_leaves(context, &scan, open, scratch)?;
    }
    clock.lap(&mut scratch.stats.scan_ns);
    if let Some(links) = links {
        follow_links(plan, &scan, links, open, scratch, &mut clock)?;
    }
    Ok(exhausted)
}

/// The codes of the rows that a filter lists, for one query after the other.
fn scan_listed(scan: &Scan<'_>, open: &[u32], scratch: &mut Scratch) -> Result<()> {
    let Scratch { queries: states, stage, stats, .. } = scratch;
    let positions = std::mem::take(&mut stage.positions);
    let scanned = open.iter().try_for_each(|query| {
        stats.codes_scanned += positions.len() as u64;
        scan.listed(&positions, &mut states[*query as usize].asked().0, stage)
    });
    // A search that was stopped leaves its buffers, too.
    stage.positions = positions;
    scanned
}

/// From what the leaves gave along links, one query after the other.
fn follow_links(
    plan: &Plan<'_>,
    scan: &Scan<'_>,
    links: &Links,
    open: &[u32],
    scratch: &mut Scratch,
    clock: &mut Clock,
) -> Result<()> {
    let Scratch { queries: states, stage, stats, .. } = scratch;
    for query in open {
        let (mut asked, leaves) = states[*query as usize].asked();
        let met = walk::walk(scan, links, leaves, &mut asked, stage, plan.hidden, &plan.stop)?;
        stats.codes_scanned += met;
        stats.codes_walked += met;
    }
    clock.lap(&mut stats.walk_ns);
    Ok(())
}

/// Every row of the chosen leaves, or every listed row, by its exact distance.
fn rerank_rows(
    context: &Context<'_>,
    segment: &Segment,
    queries: &[&[f32]],
    open: &[u32],
    scratch: &mut Scratch,
) -> Result<()> {
    let Scratch { queries: states, stage, stats, .. } = scratch;
    let plan = context.plan;
    for query in open {
        let QueryScratch { leaves, top, candidates, .. } = &mut states[*query as usize];
        let metric = context.snapshot.metric;
        let exact = Exact::new(context.kernels, metric, context.snapshot.element, queries[*query as usize]);
        let mut reader = Reader { cache: None, row: &mut stage.row, stats };
        let mut take = |positions: Range<u32>, outer: bool| {
            let near = rerank::all(segment, positions, &exact, plan, top, &mut reader)?;
            candidates.count_outer(if outer { near } else { 0 });
            Ok(())
        };
        if plan.listed.is_some() {
            stage.positions.iter().try_for_each(|position| take(*position..*position + 1, false))?;
            continue;
        }
        for (nth, leaf) in leaves.iter().enumerate() {
            let tree = &segment.index.tree;
            take(tree.leaf(leaf.key).rows(), is_outer(nth, leaves.len(), tree))?;
        }
        stats.leaves_scanned += leaves.len() as u64;
    }
    Ok(())
}

/// The codes of the chosen leaves, leaf by leaf for all queries or in parallel for one.
fn scan_leaves(context: &Context<'_>, scan: &Scan<'_>, open: &[u32], scratch: &mut Scratch) -> Result<()> {
    let Scratch { queries: states, stage, stats, .. } = scratch;
    let tree = &scan.index.tree;
    if let [query] = open {
        let (mut asked, leaves) = states[*query as usize].asked();
        let rows: u64 = leaves.iter().map(|leaf| u64::from(tree.leaf(leaf.key).row_count)).sum();
        stats.leaves_scanned += leaves.len() as u64;
        stats.codes_scanned += rows;
        if let Some(pool) = context.pool.filter(|_| rows >= PARALLEL_ROWS && context.threads > 1) {
            let units = units(scan, leaves, &mut asked)?;
            let workers = context.threads.min(pool.threads()).min(units.len());
            let bytes = QueryScratch::bytes_max(context.plan.k, context.plan.rows, asked.list.length());
            let mut lent = context.scratches.take_up_to(bytes, workers)?;
            // With memory for one, this thread does as well without it.
            if lent.len() > 1 {
                return scan_units(context, scan, pool, &units, asked, &mut lent);
            }
        }
        for (nth, leaf) in leaves.iter().enumerate() {
            if nth % LEAVES_A_LOOK == 0 {
                context.plan.stop.check()?;
            }
            let next = leaves.get(nth + 1).map(|next| next.key);
            let outer = is_outer(nth, leaves.len(), tree);
            scan.leaf(leaf.key, outer, next, &mut asked, stage)?;
        }
        return Ok(());
    }
    let mut visits = std::mem::take(&mut stage.visits);
    let scanned = list_visits(states, open, tree, &mut visits).and_then(|()| {
        stats.leaves_scanned += visits.len() as u64;
        visits.iter().enumerate().try_for_each(|(nth, (leaf, query, outer))| {
            if nth % LEAVES_A_LOOK == 0 {
                context.plan.stop.check()?;
            }
            let next = visits.get(nth + 1).map(|visit| visit.0).filter(|next| next != leaf);
            let (mut asked, _) = states[*query as usize].asked();
            stats.codes_scanned += scan.leaf(*leaf, *outer, next, &mut asked, stage)?;
            Ok(())
        })
    });
    // A search that was stopped leaves its buffers, too.
    stage.visits = visits;
    scanned
}

/// The visits of the queries to their leaves. Those of one leaf come together, so that it is read from memory once, if
/// there are more visits than leaves; if few would be, each query visits its leaves best first, and keeps fewer rows.
fn list_visits(
    states: &[QueryScratch],
    open: &[u32],
    tree: &Tree,
    visits: &mut Vec<(u32, u32, bool)>,
) -> Result<()> {
    visits.clear();
    for query in open {
        let leaves = &states[*query as usize].leaves;
        try_reserve(visits, leaves.len())?;
        let outer = |nth| is_outer(nth, leaves.len(), tree);
        visits.extend(leaves.iter().enumerate().map(|(nth, leaf)| (leaf.key, *query, outer(nth))));
    }
    if visits.len() > tree.leaf_count() as usize {
        visits.sort_unstable();
    }
    Ok(())
}

/// True if the nth best of the leaves of a visit belongs to its outer half. A visit of all leaves has none: nothing is
/// left to be expected beyond it.
fn is_outer(nth: usize, leaves: usize, tree: &Tree) -> bool {
    leaves < tree.leaf_count() as usize && 2 * nth >= leaves.saturating_sub(1)
}

/// A run of rows with one centre.
struct Unit {
    first: u32,
    count: u32,
    base: f32,
    outer: bool,
}

fn units(scan: &Scan<'_>, leaves: &[Scored<u32>], asked: &mut Asked<'_>) -> Result<Vec<Unit>> {
    let parts = |leaf: &Scored<u32>| scan.index.tree.leaf(leaf.key).row_count.div_ceil(UNIT_ROWS) as usize;
    let mut units = try_with_capacity(leaves.iter().map(parts).sum())?;
    for (nth, leaf) in leaves.iter().enumerate() {
        let node = scan.index.tree.leaf(leaf.key);
        let outer = is_outer(nth, leaves.len(), &scan.index.tree);
        let base = asked.bases.of(scan.kernels, scan.index, asked.prepared, node.centre);
        let end = node.first_row + node.row_count;
        let mut first = node.first_row;
        while first < end {
            let count = (end - first).min(UNIT_ROWS);
            units.push(Unit { first, count, base, outer });
            first += count;
        }
    }
    Ok(units)
}

/// Scans the units on several threads, each with candidates of its own, joined at the end.
fn scan_units(
    context: &Context<'_>,
    scan: &Scan<'_>,
    pool: &Pool,
    units: &[Unit],
    asked: Asked<'_>,
    lent: &mut [Lent<'_>],
) -> Result<()> {
    let workers = lent.len();
    let Asked { prepared, candidates, list, .. } = asked;
    let length = list.length();
    let joined = Mutex::new((candidates, list));
    pool.try_for_each_with(workers, lent, |scratch, worker| {
        scratch.reserve_queries(1)?;
        let Scratch { queries, stage, .. } = &mut **scratch;
        let QueryScratch { candidates: own, walk: own_walk, .. } = &mut queries[0];
        own.reset(context.plan.k, context.plan.rows, context.plan.farthest)?;
        own_walk.reset(length, scan.index.quantiser.metric)?;
        for unit in units.iter().skip(worker).step_by(workers) {
            context.plan.stop.check()?;
            let positions = unit.first..unit.first + unit.count;
            // Each unit knows what its estimates start from.
            let bases = &mut Bases::default();
            let mut asked = Asked { prepared, bases, candidates: &mut *own, list: &mut *own_walk };
            scan.run(positions, unit.base, unit.outer, 0..0, &mut asked, stage)?;
        }
        let mut joined = joined.lock().unwrap_or_else(PoisonError::into_inner);
        joined.0.merge(own);
        joined.1.merge(own_walk);
        Ok(())
    })
}

/// Exact distances, and the answers in order.
fn finish(context: &Context<'_>, queries: &[&[f32]], scratch: &mut Scratch) -> Result<()> {
    let plan = context.plan;
    let snapshot = context.snapshot;
    let Scratch { queries: states, stage, stats, .. } = scratch;
    let mut clock = Clock::start();
    let read_ns = stats.read_ns;
    for (state, query) in states.iter_mut().zip(queries) {
        if !plan.rerank_all {
            state.candidates.close();
            refine(context.kernels, snapshot, query, plan.farthest, state, &plan.stop)?;
            let exact = Exact::new(context.kernels, snapshot.metric, snapshot.element, query);
            let mut reader = Reader { cache: context.cache, row: &mut stage.row, stats };
            let QueryScratch { candidates, top, .. } = state;
            top.reset(plan.k);
            rerank::by_bound(snapshot, candidates, &exact, plan, top, &mut reader)?;
        }
        plan.stop.check()?;
    }
    clock.lap_beside(stats.read_ns - read_ns, &mut stats.rerank_ns);
    for state in &mut states[..queries.len()] {
        state.top.sorted();
    }
    clock.lap(&mut stats.merge_ns);
    Ok(())
}
