//! Progress as a caller wants to hear of it: when a phase begins and ends, and in between at most ten times a second.
//!
//! In: what work has to tell, as often as it likes. Out: calls of the caller's function, and whether to go on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::database::options::ProgressFn;
use crate::types::{Error, Result, Status};

/// Between two calls about one phase.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Stands between work and the caller's function.
pub(super) struct Throttle<'a> {
    progress: Option<&'a ProgressFn<'a>>,
    started: Instant,
    next_ns: AtomicU64,
    phase: AtomicU64,
}

impl<'a> Throttle<'a> {
    pub fn new(progress: Option<&'a ProgressFn<'a>>) -> Self {
        Throttle { progress, started: Instant::now(), next_ns: AtomicU64::new(0), phase: AtomicU64::new(0) }
    }

    /// Passes on what is due; `false` if the caller said stop.
    pub fn tell(&self, phase: &'static str, done: u64, total: u64) -> bool {
        let Some(progress) = self.progress else { return true };
        let now = self.started.elapsed().as_nanos() as u64;
        let same_phase = self.phase.swap(phase.as_ptr() as u64, Relaxed) == phase.as_ptr() as u64;
        if same_phase && now < self.next_ns.load(Relaxed) && done < total {
            return true;
        }
        self.next_ns.store(now + REPORT_EVERY.as_nanos() as u64, Relaxed);
        progress(phase, done, total)
    }

    /// As [`tell`](Self::tell), for work that leaves nothing to clean up.
    ///
    /// # Errors
    /// `VDB_CANCELLED`.
    pub fn check(&self, phase: &'static str, done: u64, total: u64) -> Result<()> {
        if self.tell(phase, done, total) {
            return Ok(());
        }
        Err(Error::new(Status::Cancelled, "the progress callback said stop"))
    }
}
