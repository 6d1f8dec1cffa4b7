//! Rows in, a segment out: sample, partition, encode, link, tune.
//!
//! Two passes over the rows. The first assigns each to a cell (`partition`); the second takes the cells one after the
//! other, divides each into leaves, encodes its rows and appends their vectors to the file (`encode`). Then the tree is
//! written (`nodes`), rows that lie near each other are linked (`links`, by the finer codes of `fine`), the segment is
//! searched as any reader would, and what was measured is stored beside it (`tune`). Memory is bounded by `layout`; the
//! result depends on input, parameters and seed, not on threads.
//!
//! Uses `search` to measure; knows nothing of logs, handles or generations: `database` names and commits the file.

pub mod encode;
pub mod fine;
pub mod layout;
pub mod links;
pub mod near;
pub mod nodes;
pub mod partition;
mod reversed;
pub mod rows;
pub mod segment;
pub mod transform;
pub mod truth;
pub mod tune;

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::build::rows::Loader;
use crate::input::Rows;
use crate::kernels::Kernels;
use crate::memory::{try_collect, AlignedVec};
use crate::pool::cancel::Stop;
use crate::pool::{Pool, Team};
use crate::types::{Error, Metric, Result, Status};

/// What all steps of a build share.
pub struct Work<'a> {
    /// The functions to use.
    pub kernels: &'static Kernels,
    /// How distance is measured.
    pub metric: Metric,
    /// Of all that is random.
    pub seed: u64,
    /// Threads.
    pub pool: &'a Pool,
    /// How many of them may hold rows at once: the plan's, which keeps the memory limit.
    pub threads: usize,
    /// When to give up.
    pub stop: Stop<'a>,
    /// The thread that called, which alone tells of progress: its [`this_thread`].
    pub caller: usize,
    /// Told `(phase, done, total)`; `false` cancels.
    pub report: &'a (dyn Fn(&'static str, u64, u64) -> bool + Sync),
}

/// Rows of a block that one thread loads at a time.
const CHUNK_ROWS: usize = 256;

/// Which of the threads that live this one is. Asks for no memory, which a thread of the host's would need for its
/// `ThreadId`.
pub fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

impl Work<'_> {
    /// The threads that may hold rows.
    pub fn team(&self) -> Team<'_> {
        self.pool.team(self.threads)
    }

    /// Tells how far a phase has come, on the thread that called, and stops if the caller or the clock says so.
    ///
    /// # Errors
    /// `VDB_CANCELLED`, `VDB_TIMEOUT`.
    pub fn progress(&self, phase: &'static str, done: u64, total: u64) -> Result<()> {
        if this_thread() == self.caller && !(self.report)(phase, done, total) {
            return Err(Error::new(
                Status::Cancelled,
                "the progress callback said stop; nothing was written",
            ));
        }
        self.stop.check()
    }

    /// Loads, checks and converts the rows from `first` on that fill `out`, on all its threads.
    ///
    /// # Errors
    /// What the source gives, and a bad row: the first one.
    pub fn load_block(
        &self,
        source: &dyn Rows,
        first: u64,
        out: &mut AlignedVec<f32>,
        count: usize,
    ) -> Result<()> {
        let dim = source.dim();
        let chunks: Vec<Mutex<&mut [f32]>> =
            try_collect(out[..count * dim].chunks_mut(CHUNK_ROWS * dim).map(Mutex::new))?;
        self.pool.try_for_each(chunks.len(), self.threads, |nth| {
            let mut chunk = chunks[nth].lock().unwrap_or_else(PoisonError::into_inner);
            let mut loader = Loader::new(self.kernels, source, self.metric);
            loader.range(first + (nth * CHUNK_ROWS) as u64, &mut chunk)
        })
    }

    /// Loads the rows of these numbers into `out`, on all its threads.
    ///
    /// # Errors
    /// As [`load_block`](Self::load_block).
    pub fn gather_block(&self, source: &dyn Rows, numbers: &[u64], out: &mut [f32]) -> Result<()> {
        let dim = source.dim();
        let chunks: Vec<Mutex<&mut [f32]>> = try_collect(out.chunks_mut(CHUNK_ROWS * dim).map(Mutex::new))?;
        self.pool.try_for_each(chunks.len(), self.threads, |nth| {
            let mut chunk = chunks[nth].lock().unwrap_or_else(PoisonError::into_inner);
            let numbers = &numbers[nth * CHUNK_ROWS..][..chunk.len() / dim];
            Loader::new(self.kernels, source, self.metric).gather(numbers, &mut chunk)
        })
    }
}
