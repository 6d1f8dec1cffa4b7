//! How to open, and how to run a long job. Defaults are what the C API's NULL means.

use std::fmt;
use std::sync::atomic::AtomicI32;
use std::sync::Arc;
use std::time::Duration;

use crate::memory::{probe, try_text};
use crate::pool::cancel::Stop;
use crate::pool::{Pool, THREADS_MAX};

/// How much a line of log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum LogLevel {
    /// Something was lost or refused.
    Error = 1,
    /// It works, not as asked.
    Warn = 2,
    /// Once per open or build.
    Info = 3,
    /// For people who look for a defect.
    Debug = 4,
}

/// Receives a line of log, on whichever thread had something to say.
pub type LogFn = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// Is told `(phase, done, total)`; `false` cancels.
pub type ProgressFn<'a> = dyn Fn(&str, u64, u64) -> bool + Sync + 'a;

/// Receives the lines of a job, on whichever thread had something to say.
pub type JobLogFn<'a> = dyn Fn(LogLevel, &str) + Sync + 'a;

/// How to open an index.
#[derive(Clone, Default)]
pub struct OpenOptions {
    /// For all of the handle; 0: from what machine and cgroup have free.
    pub memory_limit_bytes: u64,
    /// Of the limit; `None`: chosen, `Some(0)`: off.
    pub vector_cache_bytes: Option<u64>,
    /// Of the limit; `None`: chosen, `Some(0)`: off.
    pub answer_cache_bytes: Option<u64>,
    /// Threads of the private pool; 0: what machine and cgroup allow; 1: no thread is ever made.
    pub threads: u32,
    /// A pool lent by the host, shared with other handles; then `threads` is ignored.
    pub pool: Option<Arc<Pool>>,
    /// Read by system calls alone, so that a failing disk is a status and never a signal.
    pub no_mmap: bool,
    /// Check all bytes before use, not only what is read at open.
    pub check: bool,
    /// Silence if absent.
    pub log: Option<LogFn>,
    /// Lines less important than this are not made; `None`: than a warning.
    pub log_level: Option<LogLevel>,
}

/// How to run a long job: build, verify, warm. [`Default`]: quietly, to the end.
#[derive(Clone, Copy, Default)]
pub struct Job<'a> {
    /// Told `(phase, done, total)` on the calling thread when a phase begins and ends, and in between at most ten times
    /// a second; `false` cancels.
    pub progress: Option<&'a ProgressFn<'a>>,
    /// Stop soon after this becomes nonzero.
    pub cancel: Option<&'a AtomicI32>,
    /// From the call on; 0: none.
    pub timeout_ns: u64,
    /// For a job that holds parts of an index; 0: from what machine and cgroup have free. That of a build is one of
    /// its parameters.
    pub memory_limit_bytes: u64,
    /// Threads that the host lends; `None`: a pool of the job's own.
    pub pool: Option<&'a Pool>,
    /// Told about damage, strays and choices.
    pub log: Option<&'a JobLogFn<'a>>,
}

impl<'a> Job<'a> {
    /// When the job must stop: made once, at its start.
    pub fn stop(&self) -> Stop<'a> {
        let mut stop = Stop::NEVER;
        if self.timeout_ns > 0 {
            stop = stop.with_timeout(Duration::from_nanos(self.timeout_ns));
        }
        match self.cancel {
            Some(token) => stop.with_token(token),
            None => stop,
        }
    }

    /// Says a line to whoever listens; without memory for it, nothing.
    pub(super) fn tell(&self, level: LogLevel, line: fmt::Arguments<'_>) {
        if let (Some(log), Ok(line)) = (self.log, try_text(line)) {
            log(level, &line);
        }
    }
}

/// How many threads a number of the caller's means; 0 is what machine and cgroup allow. Never more than a pool has.
pub fn thread_count(asked: u32) -> usize {
    match asked {
        0 => probe::allowed_cpus().min(THREADS_MAX),
        asked => (asked as usize).min(THREADS_MAX),
    }
}

/// The line of log about a pool that is short of threads.
pub(super) fn no_threads(pool: &Pool) -> String {
    format!(
        "the system refuses to make {} threads: work runs on the calling thread alone",
        pool.threads() - 1
    )
}

/// Which cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CacheKind {
    /// Full vectors by row.
    Vectors = 1,
    /// Whole answers by query, k and parameters.
    Answers = 2,
}

/// A part of an index that advice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Nodes and centroids.
    Tree,
    /// Codes and factors.
    Codes,
    /// Full vectors.
    Vectors,
}

/// How a part will be used. Never changes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Advice {
    /// Bring into memory now, and return when it is there.
    Warm = 1,
    /// Will not be needed for a while.
    Cold = 2,
    /// The system should not read ahead.
    Random = 3,
    /// The system should read ahead.
    Scan = 4,
}
