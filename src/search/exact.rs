//! The oracle: every row by its exact distance, no code and no tree asked.

use std::sync::{Mutex, PoisonError};

use crate::search::rerank::{self, Exact, Reader};
use crate::search::scratch::Scratch;
use crate::search::tile::Context;
use crate::stats::Clock;
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
    scratch.reserve_queries(1);
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
            plan.stop.check()?;
            rerank::all(segment, first, count, &exact, plan.farthest, &plan.filter, top, &mut reader)?;
        }
        clock.lap_beside(own.stats.read_ns - read_ns, &mut own.stats.rerank_ns);
        Ok(())
    };
    let mut top = std::mem::take(&mut scratch.queries[0].top);
    top.try_reset(plan.k)?;
    let unit_count = units.clone().count();
    match context.pool.filter(|_| context.threads > 1 && unit_count > 1) {
        None => scan(0, 1, scratch, &mut top)?,
        Some(pool) => {
            let workers = context.threads.min(pool.threads()).min(unit_count);
            let joined = Mutex::new((&mut top, &mut scratch.stats));
            pool.try_for_each(workers, workers, |worker| {
                let mut own = context.scratches.take();
                own.reserve_queries(1);
                let mut own_top = std::mem::take(&mut own.queries[0].top);
                own_top.try_reset(plan.k)?;
                scan(worker, workers, &mut own, &mut own_top)?;
                let mut guard = joined.lock().unwrap_or_else(PoisonError::into_inner);
                for held in own_top.as_slice() {
                    guard.0.push(held.distance, held.key);
                }
                guard.1.add(&own.stats);
                drop(guard);
                own.queries[0].top = own_top;
                context.scratches.give(own);
                Ok(())
            })?;
        }
    }
    top.sorted();
    scratch.queries[0].top = top;
    Ok(())
}
