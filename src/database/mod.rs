//! An open index: the one place where rooms meet, and what `ffi` and the command line call.
//!
//! * `open`: manifest, checks, budget -> a handle.
//! * `handle`: searches, single and in batches; the cursor.
//! * `answers`: whole answers, remembered.
//! * `create`: a build job -> a committed generation.
//! * `inspect`: everything that can be looked at, and the report of memory.
//! * `verify`: every checksum and every invariant of a directory.

pub mod answers;
pub mod create;
pub mod cursor;
pub mod handle;
pub mod inspect;
pub mod open;
pub mod options;
pub mod report;
mod throttle;
pub mod verify;

pub use create::{build, build_from_file, estimate, GivenIds};
pub use cursor::Cursor;
pub use handle::{Database, SearchOutcome};
pub use inspect::hamming;
pub use options::{
    thread_count, Advice, CacheKind, Job, JobLogFn, LogFn, LogLevel, OpenOptions, Part, ProgressFn,
};
pub use report::{
    BuildReport, CacheReport, Effort, Estimate, Info, MemoryReport, NodeReport, SegmentReport, Totals,
};
pub use verify::verify;

// What C needs from below: `ffi` asks `database` and nothing deeper.
pub use crate::input::{open_file, ArrayRows, Rows};
pub use crate::pool::{ForkGuard, Pool};
pub use crate::stats::SearchStats;

/// Name of the kernels that this machine gets.
pub fn kernels_name() -> &'static str {
    crate::kernels::Kernels::detect().name
}

#[cfg(test)]
mod tests;
