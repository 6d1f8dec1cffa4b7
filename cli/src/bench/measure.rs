//! Passes over all queries, timed: one by one, by several callers, in batches.
//!
//! A pass allocates before it starts the clock. What a pass is, is decided here; what becomes of its figures
//! is the report's business.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use vdb::database::Database;
use vdb::stats::SearchStats;
use workload::recall::Percentiles;
use workload::rng::Stream;
use workload::rows::{Matrix, Rows};

use super::effort::Effort;
use crate::failure::Failure;

/// How queries reach the library.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// One by one, on this thread.
    Single,
    /// One by one, from several threads at once.
    Callers(u32),
    /// In batches of some queries, on some threads.
    Batches {
        /// Threads of the pool.
        threads: u32,
        /// Queries of a batch.
        size: usize,
    },
}

impl Mode {
    /// The mode beside [`Mode::Single`] that a command line asks for.
    pub fn of(threads: u32, batch: Option<u64>, queries: usize) -> Mode {
        match batch {
            Some(1) => Mode::Callers(threads),
            size => Mode::Batches { threads, size: size.map_or(queries, |size| queries.min(size as usize)) },
        }
    }

    /// Threads that work.
    pub fn threads(self) -> u32 {
        match self {
            Mode::Single => 1,
            Mode::Callers(threads) | Mode::Batches { threads, .. } => threads,
        }
    }

    /// Queries of a call.
    pub fn batch(self) -> usize {
        match self {
            Mode::Single | Mode::Callers(_) => 1,
            Mode::Batches { size, .. } => size,
        }
    }
}

/// What one pass measured.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Queries a second.
    pub qps: f64,
    /// Mean microseconds of a call.
    pub mean_us: f64,
    /// Microseconds of a call.
    pub call_us: Percentiles,
    /// Sums over the queries.
    pub stats: SearchStats,
}

/// Answers to all queries, k each.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Ids, behind the last one found [`vdb::types::params::NO_ID`].
    pub ids: Vec<u64>,
    /// Distances, behind the last one infinity.
    pub distances: Vec<f32>,
}

/// What all passes run over.
pub struct Course<'a> {
    /// The index.
    pub database: &'a Database,
    /// The queries.
    pub queries: &'a Matrix,
    /// Neighbours a query.
    pub k: usize,
}

/// What some calls took and did.
#[derive(Default)]
struct Calls {
    call_ns: Vec<u64>,
    stats: SearchStats,
}

/// All queries in an order of the round's own.
pub fn order(queries: usize, round: u32) -> Vec<usize> {
    let mut stream = Stream::new(u64::from(round));
    let mut order: Vec<usize> = (0..queries).collect();
    for i in (1..queries).rev() {
        order.swap(i, stream.below(i as u64 + 1) as usize);
    }
    order
}

/// As many draws as there are queries, the nth query with weight 1/n^exponent: few are asked often.
pub fn zipf_order(queries: usize, exponent: f64, round: u32) -> Vec<usize> {
    let mut sum = 0.0;
    let weight = |n: usize| (n as f64).powf(-exponent);
    let sums: Vec<f64> = (1..=queries)
        .map(|n| {
            sum += weight(n);
            sum
        })
        .collect();
    let mut stream = Stream::new(u64::from(round));
    let draw = |_| {
        let point = stream.unit() * sum;
        sums.partition_point(|s| *s <= point).min(queries - 1)
    };
    (0..queries).map(draw).collect()
}

impl Course<'_> {
    /// The answers, which are the same in every mode.
    pub fn answers(&self, effort: Effort) -> Result<Answers, Failure> {
        let room = self.queries.len() * self.k;
        let mut answers = Answers { ids: vec![0; room], distances: vec![0.0; room] };
        let (ids, distances) = (&mut answers.ids[..], Some(&mut answers.distances[..]));
        let params = effort.params(0);
        self.database.batch_search(
            self.queries.values(),
            self.queries.dim(),
            self.k,
            &params,
            ids,
            distances,
            None,
        )?;
        Ok(answers)
    }

    /// One pass over the queries in this order.
    pub fn pass(&self, effort: Effort, mode: Mode, order: &[usize]) -> Result<Pass, Failure> {
        let (calls, wall_s) = match mode {
            Mode::Single => self.single(effort, order)?,
            Mode::Callers(threads) => self.callers(effort, threads, order)?,
            Mode::Batches { threads, size } => self.batches(effort, threads, size, order)?,
        };
        let call_us: Vec<f64> = calls.call_ns.iter().map(|ns| *ns as f64 / 1e3).collect();
        Ok(Pass {
            qps: order.len() as f64 / wall_s,
            mean_us: call_us.iter().sum::<f64>() / call_us.len() as f64,
            call_us: Percentiles::of(&call_us),
            stats: calls.stats,
        })
    }

    fn single(&self, effort: Effort, order: &[usize]) -> Result<(Calls, f64), Failure> {
        let mut calls = Calls { call_ns: Vec::with_capacity(order.len()), ..Calls::default() };
        let mut searcher = self.searcher(effort);
        let begun = Instant::now();
        for &query in order {
            searcher.call(query, &mut calls)?;
        }
        Ok((calls, begun.elapsed().as_secs_f64()))
    }

    fn callers(&self, effort: Effort, threads: u32, order: &[usize]) -> Result<(Calls, f64), Failure> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut calls = Calls { call_ns: Vec::with_capacity(order.len()), ..Calls::default() };
            let mut searcher = self.searcher(effort);
            while let Some(&query) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                searcher.call(query, &mut calls)?;
            }
            Ok::<_, Failure>(calls)
        };
        let begun = Instant::now();
        let done: Vec<_> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            callers.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let wall_s = begun.elapsed().as_secs_f64();
        let mut all = Calls::default();
        for calls in done {
            let calls = calls.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            all.call_ns.extend(calls.call_ns);
            all.stats.add(&calls.stats);
        }
        Ok((all, wall_s))
    }

    fn batches(
        &self,
        effort: Effort,
        threads: u32,
        size: usize,
        order: &[usize],
    ) -> Result<(Calls, f64), Failure> {
        let dim = self.queries.dim();
        let queries: Vec<f32> = order.iter().flat_map(|&query| self.queries.row(query)).copied().collect();
        let (mut ids, mut distances) = (vec![0; size * self.k], vec![0.0; size * self.k]);
        let params = effort.params(threads);
        let mut calls = Calls { call_ns: Vec::with_capacity(order.len() / size + 1), ..Calls::default() };
        let begun = Instant::now();
        for part in queries.chunks(size * dim) {
            let room = part.len() / dim * self.k;
            let (ids, distances) = (&mut ids[..room], Some(&mut distances[..room]));
            let call = Instant::now();
            let stats = self.database.batch_search(part, dim, self.k, &params, ids, distances, None)?;
            calls.call_ns.push(call.elapsed().as_nanos() as u64);
            calls.stats.add(&stats);
        }
        Ok((calls, begun.elapsed().as_secs_f64()))
    }

    fn searcher(&self, effort: Effort) -> Searcher<'_> {
        Searcher { course: self, effort, ids: vec![0; self.k], distances: vec![0.0; self.k] }
    }
}

/// A caller of single searches, with its buffers.
struct Searcher<'a> {
    course: &'a Course<'a>,
    effort: Effort,
    ids: Vec<u64>,
    distances: Vec<f32>,
}

impl Searcher<'_> {
    fn call(&mut self, query: usize, calls: &mut Calls) -> Result<(), Failure> {
        let Course { database, queries, k } = self.course;
        let params = self.effort.params(1);
        let begun = Instant::now();
        let outcome =
            database.search(queries.row(query), *k, &params, &mut self.ids, Some(&mut self.distances))?;
        calls.call_ns.push(begun.elapsed().as_nanos() as u64);
        calls.stats.add(&outcome.stats);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_holds_each_query_once_and_differs_by_round() {
        let mut first = order(100, 0);
        assert_eq!(first, order(100, 0));
        assert_ne!(first, order(100, 1));
        first.sort_unstable();
        assert_eq!(first, (0..100).collect::<Vec<_>>());
        assert!(order(0, 0).is_empty());
    }

    #[test]
    fn a_zipf_order_asks_the_first_queries_most() {
        let order = zipf_order(1000, 1.0, 3);
        assert_eq!(order, zipf_order(1000, 1.0, 3));
        assert_eq!(order.len(), 1000);
        let count = |query| order.iter().filter(|drawn| **drawn == query).count();
        // The first has weight 1 of 7.5.
        assert!((90..180).contains(&count(0)) && count(0) > count(1) && count(1) > count(20));
        assert!(zipf_order(0, 1.0, 0).is_empty());
    }

    #[test]
    fn a_batch_is_never_larger_than_the_queries() {
        assert_eq!(Mode::of(4, None, 7).batch(), 7);
        assert_eq!(Mode::of(4, Some(100), 7).batch(), 7);
        assert_eq!(Mode::of(4, Some(3), 7), Mode::Batches { threads: 4, size: 3 });
        assert_eq!(Mode::of(4, Some(1), 7), Mode::Callers(4));
    }
}
