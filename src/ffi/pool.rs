//! Threads that a host shares between handles.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use super::arg::{self, SizedStruct};
use super::error::{vdb_error_t, vdb_status_t};
use super::guard::{guard, in_callback, quiet};
use super::open::check_flags;
use crate::database::{self, Pool};
use crate::memory::try_arc;
use crate::types::{Error, Result};

/// Threads to be shared by any number of indexes and jobs.
pub struct vdb_pool_t {
    magic: AtomicU64,
    pool: Arc<Pool>,
}

/// What a live pool says in its first word.
const MAGIC: u64 = u64::from_le_bytes(*b"vdb pool");

/// How to make a pool.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_pool_options_t {
    /// sizeof(vdb_pool_options_t)
    pub struct_size: usize,
    /// The caller's among them. 0: what machine and cgroup allow.
    pub threads: u32,
    /// 0
    pub reserved: u32,
}

// SAFETY: a word and two halves of one.
unsafe impl SizedStruct for vdb_pool_options_t {
    const NAME: &'static str = "vdb_pool_options_t";
    const FIRST_BYTES: usize = 16;
}

/// Makes a pool. Its threads come to life when they are first needed: one fewer than asked for, since whoever
/// calls works too. They block all signals but faults, and are named vdb-0, vdb-1 and on.
///
///   options   NULL: what machine and cgroup allow
///   pool      receives the pool; lend it by vdb_options_t.pool and vdb_job_t.pool
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_UNSUPPORTED. Threads: any.
#[no_mangle]
pub unsafe extern "C" fn vdb_pool_open(
    options: *const vdb_pool_options_t,
    pool: *mut *mut vdb_pool_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || arg::handle_output("pool", pool),
            |()| {
                let options = arg::read(options)?;
                check_flags("vdb_pool_options_t.reserved", options.reserved, 0)?;
                let made = try_arc(Pool::new(database::thread_count(options.threads)))?;
                let handle = vdb_pool_t { magic: AtomicU64::new(MAGIC), pool: made };
                arg::put(pool, arg::boxed(handle)?);
                Ok(())
            },
        )
    }
}

/// Gives up the caller's share of a pool; indexes that it was lent to keep theirs. The last to go joins the
/// threads before it returns. NULL is a no-op. Must not be called from within a callback.
#[no_mangle]
pub unsafe extern "C" fn vdb_pool_free(pool: *mut vdb_pool_t) {
    quiet((), || {
        // SAFETY: the caller's, by the rules of the header; every live pool was boxed by `vdb_pool_open`.
        unsafe {
            if let (Some(live), false) = (live(pool), in_callback()) {
                live.magic.store(0, Ordering::Relaxed);
                drop(Box::from_raw(pool));
            }
        }
    });
}

/// The pool that a host lends; `None` for NULL.
///
/// # Safety
/// `pool` is NULL or points to a pool.
pub(super) unsafe fn lent(pool: *const vdb_pool_t) -> Result<Option<Arc<Pool>>> {
    if pool.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let Some(live) = (unsafe { live(pool) }) else {
        return Err(Error::invalid("pool is not open; pass what vdb_pool_open gave, before it is freed"));
    };
    live.pool.check()?;
    Ok(Some(Arc::clone(&live.pool)))
}

/// The pool behind a pointer, unless it is NULL or is seen to have been freed.
///
/// # Safety
/// `pool` is NULL or points to a pool; for one that was freed there is no promise, only this attempt.
unsafe fn live<'a>(pool: *const vdb_pool_t) -> Option<&'a vdb_pool_t> {
    if pool.is_null() || !pool.is_aligned() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { &*pool }).filter(|pool| pool.magic.load(Ordering::Relaxed) == MAGIC)
}
