//! An open index: searches, single and in batches.
//!
//! A handle holds one snapshot, and everything that searches share: scratches, caches, counts, a pool that makes its
//! threads on first need. A search checks its arguments, asks the answer cache, takes a scratch and runs; it takes
//! no lock that another search could hold for long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::build::rows::{has_direction, ELEMENT_MAX};
use crate::database::answers::{AnswerCache, AnswerKey};
use crate::database::open::{to_usize, Caches};
use crate::database::options::{no_threads, LogFn, LogLevel};
use crate::index::filter;
use crate::index::recall_table::LIST_MAX;
use crate::kernels::Kernels;
use crate::memory::budget::Share;
use crate::memory::{try_vec, try_with_capacity, Budget};
use crate::pool::cancel::Stop;
use crate::pool::Pool;
use crate::search::list::WalkList;
use crate::search::met::MetRows;
use crate::search::rerank::RUN_BYTES;
use crate::search::scratch::{Lent, QueryScratch, ScratchPool};
use crate::search::tile::{self, Context};
use crate::search::{exact, Plan, Scratch, Snapshot};
use crate::stats::{SearchStats, Totals};
use crate::store::cache::VectorCache;
use crate::topk::heap::TopK;
use crate::types::params::{Filter, SearchParams, NO_ID};
use crate::types::{Error, Metric, Result, Status};

/// Queries that go through the stages together: their planes and lists fit the second-level cache beside a leaf.
const TILE_QUERIES: usize = 32;
/// What a query needs beside lists that grow with k, about: leaves and nodes to visit, distances of centres; its own
/// forms, and a row.
const OTHER_BYTES: u64 = 16 << 10;
const OTHER_BYTES_A_DIM: u64 = 24;
/// Bytes of a leaf that is to be visited: in the list of its query, and in that of a tile.
const LEAF_BYTES: u64 = 8 + 12;
/// Answers under a larger filter are not cached.
const CACHED_FILTER_BYTES: usize = 64 << 10;
/// Largest k: answers of one query that a caller may ask room for.
pub const K_MAX: usize = i32::MAX as usize;

/// An open index. Any number of threads may search it; cloning shares it.
#[derive(Clone)]
pub struct Database {
    pub(super) inner: Arc<Inner>,
}

/// What the handles of one open share.
pub(super) struct Inner {
    pub snapshot: Snapshot,
    pub kernels: &'static Kernels,
    pub pool: Arc<Pool>,
    pub scratches: ScratchPool,
    pub vector_cache: VectorCache,
    pub answers: AnswerCache,
    /// What the two caches take of the budget.
    pub caches: Mutex<Caches>,
    pub totals: Totals,
    pub failures: Failures,
    pub budget: Budget,
    /// What the segments take of the budget, given back when the handle goes.
    pub _shares: Vec<Share>,
    pub log: Option<LogFn>,
    /// Lines less important than this are not made.
    pub log_level: LogLevel,
    /// That the pool is short of threads: one line a handle.
    pub short_told: AtomicBool,
    pub mapped: bool,
    pub disk_bytes: u64,
    pub open_ns: u64,
}

/// Calls that failed, and why.
#[derive(Default)]
pub(super) struct Failures {
    pub errors: AtomicU64,
    pub timeouts: AtomicU64,
    pub cancels: AtomicU64,
    pub batches: AtomicU64,
    pub batch_queries: AtomicU64,
}

/// What a search found and did.
#[derive(Clone, Copy, Debug, Default)]
pub struct SearchOutcome {
    /// Rows written.
    pub count: usize,
    /// What it took.
    pub stats: SearchStats,
}

impl Database {
    /// Dimensions of every vector.
    pub fn dim(&self) -> usize {
        self.inner.snapshot.dim
    }

    /// Rows that a search can return.
    pub fn rows(&self) -> u64 {
        self.inner.snapshot.rows()
    }

    /// How distance is measured.
    pub fn metric(&self) -> Metric {
        self.inner.snapshot.metric
    }

    /// Finds the k rows nearest to `query`, closest first, equal distances by id.
    ///
    /// `ids` and `distances` have room for `k`; slots behind the count get [`NO_ID`] and infinity.
    ///
    /// # Errors
    /// `VDB_INVALID_ARGUMENT`, `VDB_TIMEOUT`, `VDB_CANCELLED`, `VDB_IO`, `VDB_CORRUPT`, `VDB_OUT_OF_MEMORY`,
    /// `VDB_FORKED`.
    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        params: &SearchParams<'_>,
        ids: &mut [u64],
        distances: Option<&mut [f32]>,
    ) -> Result<SearchOutcome> {
        let started = Instant::now();
        let outcome = self.search_checked(query, k, params, ids, distances);
        self.inner.totals.add_time(started.elapsed().as_nanos() as u64);
        self.inner.totals.add(1, &outcome.as_ref().map_or(SearchStats::default(), |outcome| outcome.stats));
        if let Err(error) = &outcome {
            self.inner.failures.count(error);
        }
        self.warn_of_few_threads();
        outcome
    }

    fn search_checked(
        &self,
        query: &[f32],
        k: usize,
        params: &SearchParams<'_>,
        ids: &mut [u64],
        distances: Option<&mut [f32]>,
    ) -> Result<SearchOutcome> {
        let stop = stop(params);
        self.check(k, params)?;
        self.check_query(query, 0)?;
        check_room(k, 1, ids, distances.as_deref())?;
        let mut out = Output { ids: &mut ids[..k], distances: distances.map(|d| &mut d[..k]) };
        let key = self.answer_key(k, params);
        if let Some(count) = key.and_then(|key| out.remembered(&self.inner.answers, &key, query)) {
            let stats = SearchStats { answer_cache_hit: 1, ..self.new_stats() };
            return Ok(SearchOutcome { count, stats });
        }
        let call = Call { key, ..self.call(k, params, stop) };
        let mut scratch = self.run_alone(query, &call, self.threads(params))?;
        let count = out.take(&scratch.queries[0].top);
        self.remember(&call, query, &scratch, 0);
        Ok(SearchOutcome { count, stats: std::mem::take(&mut scratch.stats) })
    }

    /// Searches for several queries (`queries.len() / dim` of them, row by row): bit for bit what single
    /// searches answer.
    ///
    /// `ids` and `distances` have room for `k` a query, `counts` for one number a query.
    ///
    /// # Errors
    /// As [`search`](Self::search); one bad query fails the whole, and [`Error::row`] names it.
    pub fn batch_search(
        &self,
        queries: &[f32],
        dim: usize,
        k: usize,
        params: &SearchParams<'_>,
        ids: &mut [u64],
        distances: Option<&mut [f32]>,
        counts: Option<&mut [usize]>,
    ) -> Result<SearchStats> {
        let started = Instant::now();
        let outcome = self.batch_checked(queries, dim, k, params, ids, distances, counts);
        let failures = &self.inner.failures;
        self.inner.totals.add_time(started.elapsed().as_nanos() as u64);
        failures.batches.fetch_add(1, Relaxed);
        failures.batch_queries.fetch_add((queries.len() / dim.max(1)) as u64, Relaxed);
        match &outcome {
            Ok(stats) => self.inner.totals.add(0, stats),
            Err(error) => failures.count(error),
        }
        self.warn_of_few_threads();
        outcome
    }

    /// Says once that the pool has not the threads that were asked for.
    fn warn_of_few_threads(&self) {
        let inner = &*self.inner;
        if inner.pool.is_short() && !inner.short_told.swap(true, Relaxed) {
            self.log(LogLevel::Warn, || no_threads(&inner.pool));
        }
    }

    fn batch_checked(
        &self,
        queries: &[f32],
        dim: usize,
        k: usize,
        params: &SearchParams<'_>,
        ids: &mut [u64],
        distances: Option<&mut [f32]>,
        counts: Option<&mut [usize]>,
    ) -> Result<SearchStats> {
        let stop = stop(params);
        self.check(k, params)?;
        if dim != self.dim() || !queries.len().is_multiple_of(dim) {
            return Err(self.wrong_dim(dim));
        }
        let count = queries.len() / dim;
        check_room(k, count, ids, distances.as_deref())?;
        for (row, query) in queries.chunks_exact(dim).enumerate() {
            self.check_query(query, row as u64)?;
        }
        let mut count_room = try_vec(if counts.is_some() { 0 } else { count }, 0)?;
        let counts = counts.unwrap_or(&mut count_room);
        if counts.len() < count {
            return Err(Error::invalid(format_args!(
                "counts has room for {} of {count} queries",
                counts.len()
            )));
        }
        let call = Call { key: self.answer_key(k, params), ..self.call(k, params, stop) };
        let whole = TileJob {
            queries,
            ids: &mut ids[..count * k],
            distances: distances.map(|d| &mut d[..count * k]),
            counts: &mut counts[..count],
        };
        self.run_batch(whole, &call, self.threads(params))
    }

    /// Runs a batch that has been checked, divided into tiles, on `threads` threads.
    pub(super) fn run_batch(
        &self,
        whole: TileJob<'_>,
        call: &Call<'_>,
        threads: usize,
    ) -> Result<SearchStats> {
        let (k, dim, count) = (call.k, self.dim(), whole.counts.len());
        let (tile, mut scratches) = self.divide(call, count, threads)?;
        let mut jobs = try_with_capacity(count.div_ceil(tile))?;
        let TileJob { queries, ids, mut distances, counts } = whole;
        let mut distance_tiles = distances.as_mut().map(|d| d.chunks_mut(tile * k));
        let outputs = ids.chunks_mut(tile * k).zip(counts.chunks_mut(tile));
        for (queries, (ids, counts)) in queries.chunks(tile * dim).zip(outputs) {
            let distances = distance_tiles.as_mut().and_then(Iterator::next);
            jobs.push(Mutex::new(TileJob { queries, ids, distances, counts }));
        }
        // Threads that have no query of their own help with those of others.
        let inner = (threads / jobs.len().max(1)).max(1);
        self.inner.pool.try_for_each_with(jobs.len(), &mut scratches, |scratch, nth| {
            let mut job = jobs[nth].lock().unwrap_or_else(PoisonError::into_inner);
            self.run_tile(&mut job, call, inner, scratch)
        })?;
        let mut total = self.new_stats();
        scratches.iter().for_each(|scratch| total.add(&scratch.stats));
        Ok(total)
    }

    pub(super) fn run_tile(
        &self,
        job: &mut TileJob<'_>,
        call: &Call<'_>,
        threads: usize,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let (k, key) = (call.k, call.key.as_ref());
        // The queries that want an answer still, and their places.
        let (mut open, mut places) = ([&[][..]; TILE_QUERIES], [0; TILE_QUERIES]);
        let mut count = 0;
        for (place, query) in job.queries.chunks_exact(self.dim()).enumerate() {
            match key.and_then(|key| job.output(place, k).remembered(&self.inner.answers, key, query)) {
                Some(found) => {
                    job.counts[place] = found;
                    scratch.stats.answer_cache_hit += 1;
                }
                None => {
                    (open[count], places[count]) = (query, place);
                    count += 1;
                }
            }
        }
        // An exact search gains nothing from neighbours in the tile.
        let at_once = if call.exact { 1 } else { TILE_QUERIES };
        for (queries, places) in open[..count].chunks(at_once).zip(places.chunks(at_once)) {
            self.run(queries, call, threads, scratch)?;
            for (nth, (query, place)) in queries.iter().zip(places).enumerate() {
                job.counts[*place] = job.output(*place, k).take(&scratch.queries[nth].top);
                self.remember(call, query, scratch, nth);
            }
        }
        Ok(())
    }

    /// Puts an answer into the cache, if that is on.
    fn remember(&self, call: &Call<'_>, query: &[f32], scratch: &Scratch, nth: usize) {
        if let Some(key) = &call.key {
            let answer = scratch.queries[nth].top.as_slice().iter().map(|hit| (hit.key, hit.distance));
            self.inner.answers.put(key, query, answer);
        }
    }

    /// Works out what is the same for all queries of a call whose parameters have been checked; without a key.
    pub(super) fn call<'a>(&self, k: usize, params: &SearchParams<'a>, stop: Stop<'a>) -> Call<'a> {
        self.call_of(k, Plan::new(&self.inner.snapshot, k, params, stop), params)
    }

    /// As [`call`](Self::call), with a plan that has been made.
    pub(super) fn call_of<'a>(&self, k: usize, plan: Plan<'a>, params: &SearchParams<'a>) -> Call<'a> {
        let mut other_bytes = OTHER_BYTES + OTHER_BYTES_A_DIM * self.dim() as u64;
        if !self.inner.mapped && (plan.rerank_all || params.exact) {
            other_bytes += RUN_BYTES as u64;
        }
        let needs = if params.exact { Needs::default() } else { Needs::new(&plan, &self.inner.snapshot) };
        Call { k, plan, key: None, exact: params.exact, no_cache: params.no_cache, needs, other_bytes }
    }

    /// Threads of the pool that a call may use.
    pub(super) fn threads(&self, params: &SearchParams<'_>) -> usize {
        match params.threads {
            0 => self.inner.pool.threads(),
            threads => self.inner.pool.threads().min(threads as usize),
        }
    }

    /// How a batch of `count` queries is divided: the queries of a tile, so that every thread has some, and scratches
    /// for the tiles that are searched at a time. Where there is no memory for all, tiles are smaller, then fewer at a
    /// time.
    fn divide(&self, call: &Call<'_>, count: usize, threads: usize) -> Result<(usize, Vec<Lent<'_>>)> {
        let pool = &self.inner.scratches;
        let mut tile = count.div_ceil(threads).clamp(1, TILE_QUERIES);
        let most = threads.min(count.div_ceil(tile)).max(1);
        if call.bytes(tile) > call.bytes(1) {
            let room = to_usize(pool.free_bytes() / call.bytes(1).max(1));
            tile = tile.min(room / most).max(1);
        }
        let mut scratches = pool.take_up_to(call.bytes(tile), most)?;
        if scratches.is_empty() {
            // Another call was quicker.
            tile = 1;
            scratches = try_with_capacity(1)?;
            scratches.push(pool.take(call.bytes(tile))?);
        }
        scratches.iter_mut().for_each(|scratch| scratch.stats = self.new_stats());
        Ok((tile, scratches))
    }

    /// Searches for one query that has been checked, on at most `threads` threads; the answer is in the scratch.
    pub(super) fn run_alone(&self, query: &[f32], call: &Call<'_>, threads: usize) -> Result<Lent<'_>> {
        let mut scratch = self.inner.scratches.take(call.bytes(1))?;
        scratch.stats = self.new_stats();
        self.run(&[query], call, threads, &mut scratch)?;
        Ok(scratch)
    }

    /// Runs queries that have been checked; answers are in the scratch.
    fn run(&self, queries: &[&[f32]], call: &Call<'_>, threads: usize, scratch: &mut Scratch) -> Result<()> {
        call.plan.stop.check()?;
        let inner = &*self.inner;
        let context = Context {
            kernels: inner.kernels,
            snapshot: &inner.snapshot,
            plan: &call.plan,
            cache: (!inner.mapped && !call.no_cache).then_some(&inner.vector_cache),
            pool: (threads > 1).then_some(&*inner.pool),
            threads,
            scratches: &inner.scratches,
        };
        if call.exact {
            exact::run(&context, queries[0], scratch)
        } else {
            tile::run(&context, queries, scratch)
        }
    }

    fn new_stats(&self) -> SearchStats {
        SearchStats { generation: self.inner.snapshot.generation, ..SearchStats::default() }
    }

    fn answer_key(&self, k: usize, params: &SearchParams<'_>) -> Option<AnswerKey> {
        // To know a large filter again costs more than many a search: it is hashed whole.
        let filter_bytes = match params.filter {
            Filter::All => 0,
            Filter::Bitmap { words: values, .. } | Filter::Ids { ids: values, .. } => size_of_val(values),
        };
        let on = !params.no_cache && self.inner.answers.is_on() && filter_bytes <= CACHED_FILTER_BYTES;
        on.then(|| AnswerKey::new(self.inner.snapshot.generation, k, params))
    }

    /// Checks what does not depend on the query.
    pub(super) fn check(&self, k: usize, params: &SearchParams<'_>) -> Result<()> {
        self.inner.pool.check()?;
        if k == 0 || k > K_MAX {
            return Err(Error::invalid(format_args!("k is {k}; it must be 1 to {K_MAX}")));
        }
        if !(params.recall > 0.0 && params.recall <= 1.0) {
            return Err(Error::invalid(format_args!(
                "recall is {}; it must be above 0 and at most 1 (0 in C: the default)",
                params.recall
            )));
        }
        if params.max_distance.is_some_and(f32::is_nan) {
            return Err(Error::invalid("max_distance is NaN"));
        }
        filter::check(&params.filter)
    }

    /// Checks a query; `row` is its place in a batch.
    pub(super) fn check_query(&self, query: &[f32], row: u64) -> Result<()> {
        if query.len() != self.dim() {
            return Err(self.wrong_dim(query.len()));
        }
        // Also false for NaN.
        if !query.iter().all(|x| x.abs() <= ELEMENT_MAX) {
            let what = "the query has an element that is NaN, infinite or beyond 1e15";
            return Err(Error::invalid(what).with_row(row));
        }
        if self.metric() == Metric::Cosine && !has_direction(query) {
            let what =
                "the query is all zeros or below 1e-15, which has no direction for the cosine metric; scale it";
            return Err(Error::invalid(what).with_row(row));
        }
        Ok(())
    }

    fn wrong_dim(&self, dim: usize) -> Error {
        Error::invalid(format_args!("the query has {dim} dimensions, the index has {}", self.dim()))
    }
}

/// When a call must give up: made once, at its start.
pub(super) fn stop<'a>(params: &SearchParams<'a>) -> Stop<'a> {
    let mut stop = Stop::NEVER;
    if params.timeout_ns > 0 {
        stop = stop.with_timeout(Duration::from_nanos(params.timeout_ns));
    }
    match params.cancel {
        Some(token) => stop.with_token(token),
        None => stop,
    }
}

impl Failures {
    fn count(&self, error: &Error) {
        self.errors.fetch_add(1, Relaxed);
        match error.status() {
            Status::Timeout => self.timeouts.fetch_add(1, Relaxed),
            Status::Cancelled => self.cancels.fetch_add(1, Relaxed),
            _ => 0,
        };
    }
}

/// What is the same for all queries of a call.
pub(super) struct Call<'a> {
    /// As the caller said; the plan's is cut to the rows.
    pub k: usize,
    pub plan: Plan<'a>,
    /// What the answer cache knows it by, if that is on.
    pub key: Option<AnswerKey>,
    pub exact: bool,
    pub no_cache: bool,
    pub needs: Needs,
    /// About what a query needs beside the lists that grow with k.
    pub other_bytes: u64,
}

impl Call<'_> {
    /// The most bytes of the lists of a tile of so many queries, and about what else they need.
    fn bytes(&self, queries: usize) -> u64 {
        // An exact search takes one after the other.
        let (lists, at_once) = match self.exact {
            true => (TopK::<u64>::bytes_max(self.plan.k), 1),
            false => (QueryScratch::bytes_max(self.plan.k, self.plan.rows, self.needs.list), queries),
        };
        let others = self.other_bytes + if self.exact { 0 } else { self.needs.leaf_bytes };
        let each = lists.saturating_add(others).saturating_mul(at_once as u64);
        each.saturating_add(self.needs.met_bytes)
    }
}

/// What the visits and walks of a call need.
#[derive(Clone, Copy, Default)]
pub(super) struct Needs {
    /// Rows of the longest list; each query has one.
    pub list: usize,
    /// The most bytes for the rows met, once a thread.
    pub met_bytes: u64,
    /// Bytes of the list of leaves of a query, in it and in its tile.
    pub leaf_bytes: u64,
}

impl Needs {
    fn new(plan: &Plan<'_>, snapshot: &Snapshot) -> Self {
        let mut needs = Needs::default();
        if plan.listed.is_some() {
            return needs;
        }
        // A search that meets too few rows, or too many that its filter refuses, goes further than it set out to.
        let filtered = plan.selectivity < 1.0;
        let may_widen = filtered || plan.probes.is_some() || plan.farthest < f32::INFINITY;
        for segment in &snapshot.segments {
            let effort = plan.effort(segment, 1);
            let leaves = segment.index.tree.leaf_count();
            let probes = if may_widen { leaves } else { effort.probes };
            needs.leaf_bytes = needs.leaf_bytes.max(u64::from(probes) * LEAF_BYTES);
            if plan.rerank_all || effort.list == 0 || segment.index.links.is_none() {
                continue;
            }
            let rows = u64::from(segment.index.rows());
            let list = if may_widen { LIST_MAX } else { effort.list };
            let scanned = 2 * rows.div_ceil(leaves.into()) * u64::from(probes);
            let met = MetRows::bytes_max(rows, WalkList::met_max(list as usize), probes.into(), scanned);
            needs.list = needs.list.max(list as usize);
            needs.met_bytes = needs.met_bytes.max(met);
        }
        needs
    }
}

/// The queries and outputs of one tile.
pub(super) struct TileJob<'a> {
    pub queries: &'a [f32],
    pub ids: &'a mut [u64],
    pub distances: Option<&'a mut [f32]>,
    pub counts: &'a mut [usize],
}

impl TileJob<'_> {
    fn output(&mut self, place: usize, k: usize) -> Output<'_> {
        Output {
            ids: &mut self.ids[place * k..][..k],
            distances: self.distances.as_mut().map(|d| &mut d[place * k..][..k]),
        }
    }
}

/// Where one query's answer goes.
struct Output<'a> {
    ids: &'a mut [u64],
    distances: Option<&'a mut [f32]>,
}

impl Output<'_> {
    fn remembered(&mut self, answers: &AnswerCache, key: &AnswerKey, query: &[f32]) -> Option<usize> {
        let count = answers.get(key, query, self.ids, self.distances.as_deref_mut())?;
        self.fill(count);
        Some(count)
    }

    fn take(&mut self, top: &TopK<u64>) -> usize {
        let hits = top.as_slice();
        for (slot, hit) in self.ids.iter_mut().zip(hits) {
            *slot = hit.key;
        }
        if let Some(distances) = self.distances.as_deref_mut() {
            for (slot, hit) in distances.iter_mut().zip(hits) {
                *slot = hit.distance;
            }
        }
        self.fill(hits.len());
        hits.len()
    }

    fn fill(&mut self, count: usize) {
        self.ids[count..].fill(NO_ID);
        if let Some(distances) = self.distances.as_deref_mut() {
            distances[count..].fill(f32::INFINITY);
        }
    }
}

fn check_room(k: usize, count: usize, ids: &[u64], distances: Option<&[f32]>) -> Result<()> {
    let needed = k.checked_mul(count);
    let enough = needed.is_some_and(|n| ids.len() >= n && distances.is_none_or(|d| d.len() >= n));
    if enough {
        Ok(())
    } else {
        Err(Error::invalid(format_args!(
            "the answers of {count} queries need room for {k} ids and distances each"
        )))
    }
}
