//! The oracle: every row by its exact distance, no code and no tree asked.

use std::sync::{Mutex, PoisonError};

use crate::search::rerank::{self, Exact, Reader};
use crate::search::scratch::Scratch;
use crate::search::tile::Context;
use crate::stats::{Clock, SearchStats};
use crate::topk::heap::TopK;
use crate::types::Result;

/// Rows of one unit of work.
const UNIT_ROWS: u32 = 4_096;

/// The k nearest of all rows, into `scratch.queries[0].top`. O(rows * dim), over several threads if the
/// context has them.
///
/// # Errors
/// `VDB_TIMEOUT`, `VDB_CANCELLED`, and what reading rows may give.
pub fn run(context: &Context<'_>, query: &[f32], scratch: &mut Scratch) -> Result<()> {
    scratch.reserve_queries(1)?;
    let plan = context.plan;
    let snapshot = context.snapshot;
    let exact = Exact::new(context.kernels, snapshot.metric, snapshot.element, query);
    // (segment, first row, rows) of every unit.
    let units = snapshot.segments.iter().flat_map(|segment| {
        let rows = segment.index.rows();
        (0..rows).step_by(UNIT_ROWS as usize).map(move |first| (segment, first, UNIT_ROWS.min(rows - first)))
    });
    let scan = |worker: usize, workers: usize, own: &mut Scratch, top: &mut TopK<u64>| -> Result<()> {
        let mut clock = Clock::start();
        let read_ns = own.stats.read_ns;
        let mut reader = Reader { cache: None, row: &mut own.stage.row, stats: &mut own.stats };
        for (segment, first, count) in units.clone().skip(worker).step_by(workers) {
            rerank::all(segment, first..first + count, &exact, plan, top, &mut reader)?;
        }
        clock.lap_beside(own.stats.read_ns - read_ns, &mut own.stats.rerank_ns);
        Ok(())
    };
    let unit_count = units.clone().count();
    let threads = context.pool.map_or(1, |pool| context.threads.min(pool.threads()).min(unit_count));
    let helpers = if threads > 1 { threads } else { 0 };
    let mut lent = context.scratches.take_up_to(TopK::<u64>::bytes_max(plan.k), helpers)?;
    let mut top = std::mem::take(&mut scratch.queries[0].top);
    let reset = top.try_reset(plan.k);
    let done = reset.and_then(|()| match context.pool.filter(|_| lent.len() > 1) {
        // With memory for one, this thread does as well without it.
        None => scan(0, 1, scratch, &mut top),
        Some(pool) => {
            let workers = lent.len();
            let joined = Mutex::new((&mut top, &mut scratch.stats));
            pool.try_for_each_with(workers, &mut lent, |own, worker| {
                own.reserve_queries(1)?;
                own.stats = SearchStats::default();
                let mut own_top = std::mem::take(&mut own.queries[0].top);
                let reset = own_top.try_reset(plan.k);
                let done = reset.and_then(|()| scan(worker, workers, own, &mut own_top));
                let mut guard = joined.lock().unwrap_or_else(PoisonError::into_inner);
                for held in own_top.as_slice() {
                    guard.0.push(held.distance, held.key);
                }
                guard.1.add(&own.stats);
                drop(guard);
                own.queries[0].top = own_top;
                done
            })
        }
    });
    top.sorted();
    // A search that failed leaves its buffers, too.
    scratch.queries[0].top = top;
    done
}
