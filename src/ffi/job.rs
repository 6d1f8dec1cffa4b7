//! What a host lends to long work: a cancel token, a log, a progress display, limits.
//!
//! Callbacks of the host are wrapped here, once, so that every one of them runs under `call_host`.

use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicI32, Ordering};

use super::arg::SizedStruct;
use super::error::text;
use super::guard::call_host;
use super::pool::{self, vdb_pool_t};
use crate::database::{Job, LogFn, LogLevel, Pool};
use crate::memory::try_arc;
use crate::types::{Error, Result};

/// A cancel token: a number of the caller's, 0 as long as work may go on.
///
/// The library reads it with atomic loads, between leaves and between groups of rows (some 100 us apart), and
/// never writes it. It lives longer than the calls that it was given to; write 0 to use it again when they
/// have returned. A flag that a host has already will do, a volatile sig_atomic_t of its signal handler say.
/// Work looks at it, and at time limits; an answer from the cache and an empty batch take none, and succeed.
pub type vdb_cancel_t = i32;

/// Sets a token, with an atomic store: calls that were given it stop soon with VDB_CANCELLED, calls that get
/// it later stop at once. NULL is a no-op. Any thread; callbacks and signal handlers may.
#[no_mangle]
pub unsafe extern "C" fn vdb_cancel(token: *mut vdb_cancel_t) {
    if !token.is_null() && token.is_aligned() {
        // SAFETY: the caller's, by the rules of the header: the token is alive; aligned was checked.
        unsafe { AtomicI32::from_ptr(token) }.store(1, Ordering::Release);
    }
}

/// How much a line of log matters. VDB_LOG_...
pub type vdb_log_level_t = u32;

/// Something was lost or refused.
pub const VDB_LOG_ERROR: vdb_log_level_t = 1;
/// It works, but not as asked.
pub const VDB_LOG_WARN: vdb_log_level_t = 2;
/// A line or two for each open and build.
pub const VDB_LOG_INFO: vdb_log_level_t = 3;
/// For those who look for a defect.
pub const VDB_LOG_DEBUG: vdb_log_level_t = 4;

/// Receives a line of log, without newline, valid during the call. Runs on whichever thread has something to
/// say, possibly on several at once.
pub type vdb_log_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, level: vdb_log_level_t, message: *const c_char)>;

/// Receives progress, on the thread that called: when a phase begins and ends, and in between at most ten
/// times a second. phase is one word, done and total count in its own unit. Returns 0 to go on; anything else
/// cancels.
pub type vdb_progress_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, phase: *const c_char, done: u64, total: u64) -> i32>;

/// How to run long work: build, verify, advise. NULL: quietly, to the end, with what the machine has.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_job_t {
    /// sizeof(vdb_job_t)
    pub struct_size: usize,
    /// NULL: none.
    pub progress: vdb_progress_fn,
    /// Given to progress.
    pub progress_user: *mut c_void,
    /// NULL: silence.
    pub log: vdb_log_fn,
    /// Given to log.
    pub log_user: *mut c_void,
    /// NULL: none.
    pub cancel: *const vdb_cancel_t,
    /// From the call on. 0: none.
    pub timeout_ns: u64,
    /// 0: from what machine and cgroup have free.
    pub memory_limit_bytes: u64,
    /// Threads of the host's. NULL: as many as threads says.
    pub pool: *const vdb_pool_t,
    /// 0: what machine and cgroup allow; 1: the calling thread alone.
    pub threads: u32,
    /// Lines that matter less are not made. 0: VDB_LOG_WARN.
    pub log_level: vdb_log_level_t,
}

// SAFETY: words, pointers and two halves of a word; all zero is NULL, none and 0.
unsafe impl SizedStruct for vdb_job_t {
    const NAME: &'static str = "vdb_job_t";
    const FIRST_BYTES: usize = 80;
}

/// Calls `work` with the job in Rust's terms.
///
/// # Safety
/// The pointers in `job` are NULL or valid until `work` has returned.
pub(super) unsafe fn run<T>(job: &vdb_job_t, work: impl FnOnce(&Job<'_>) -> Result<T>) -> Result<T> {
    // SAFETY: the caller's promise.
    unsafe { run_with_log(job, None, work) }
}

/// As [`run`]; `observer` sees each line of log before the host does, whatever its level.
///
/// # Safety
/// As [`run`].
pub(super) unsafe fn run_with_log<T>(
    job: &vdb_job_t,
    observer: Option<&(dyn Fn(LogLevel) + Sync)>,
    work: impl FnOnce(&Job<'_>) -> Result<T>,
) -> Result<T> {
    let host_log = log_of(job.log, job.log_user, job.log_level)?;
    let log = |level: LogLevel, message: &str| {
        if let Some(observer) = observer {
            observer(level);
        }
        if let Some((host_log, _)) = host_log.as_ref().filter(|(_, least)| level <= *least) {
            host_log(level, message);
        }
    };
    let (host_progress, user) = (job.progress, User(job.progress_user));
    let progress = |phase: &str, done: u64, total: u64| match host_progress {
        Some(progress) => {
            // A call that there is no memory for the words of is not made.
            let Some(phase) = text(phase) else { return true };
            // SAFETY: the host's function, with what it wants; the string lives through the call.
            call_host(|| unsafe { progress(user.pointer(), phase.as_ptr(), done, total) }) == 0
        }
        None => true,
    };
    let own_pool;
    // SAFETY: the caller's promise.
    let pool = match (unsafe { pool::lent(job.pool) }?, job.threads) {
        (Some(lent), _) => {
            own_pool = lent;
            Some(&*own_pool)
        }
        (None, 0) => None,
        (None, threads) => {
            own_pool = try_arc(Pool::new(threads as usize))?;
            Some(&*own_pool)
        }
    };
    work(&Job {
        progress: job.progress.is_some().then_some(&progress),
        // SAFETY: the caller's promise.
        cancel: unsafe { token(job.cancel) }?,
        timeout_ns: job.timeout_ns,
        memory_limit_bytes: job.memory_limit_bytes,
        pool,
        log: (host_log.is_some() || observer.is_some()).then_some(&log),
    })
}

/// A cancel token as the engine reads it.
///
/// # Safety
/// `token` is NULL, or valid for reads for as long as `'a` is used.
pub(super) unsafe fn token<'a>(token: *const vdb_cancel_t) -> Result<Option<&'a AtomicI32>> {
    if token.is_null() {
        return Ok(None);
    }
    if !token.is_aligned() {
        return Err(Error::invalid("cancel is not aligned; pass the address of a vdb_cancel_t"));
    }
    // SAFETY: valid, by the caller's promise, and aligned; it is only loaded from.
    Ok(Some(unsafe { AtomicI32::from_ptr(token.cast_mut()) }))
}

/// The host's log function in Rust's terms, with the least level that it wants; `None` for NULL.
pub(super) fn log_of(
    log: vdb_log_fn,
    user: *mut c_void,
    level: vdb_log_level_t,
) -> Result<Option<(LogFn, LogLevel)>> {
    let least = match level {
        0 | VDB_LOG_WARN => LogLevel::Warn,
        VDB_LOG_ERROR => LogLevel::Error,
        VDB_LOG_INFO => LogLevel::Info,
        VDB_LOG_DEBUG => LogLevel::Debug,
        _ => return Err(Error::invalid(format_args!("log_level is {level}; use one of VDB_LOG_..., or 0"))),
    };
    let Some(log) = log else { return Ok(None) };
    let user = User(user);
    let line: LogFn = try_arc(move |level, message: &str| {
        let Some(message) = text(message) else { return };
        // SAFETY: the host's function, with what it wants; the string lives through the call.
        call_host(|| unsafe { log(user.pointer(), level as vdb_log_level_t, message.as_ptr()) });
    })?;
    Ok(Some((line, least)))
}

/// A pointer of the host's that is only handed back.
#[derive(Clone, Copy)]
struct User(*mut c_void);

impl User {
    /// By a method, so that closures hold the whole and not the bare pointer in it.
    fn pointer(self) -> *mut c_void {
        self.0
    }
}

// SAFETY: never dereferenced here; the header tells the host on which threads it gets it.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}
