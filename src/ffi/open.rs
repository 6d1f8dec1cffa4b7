//! Handles: how one is opened, checked by every call, and freed.

use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use super::arg::{self, SizedStruct};
use super::error::{vdb_error_t, vdb_status_t};
use super::guard::{guard, in_callback, quiet};
use super::job::{log_of, vdb_log_fn, vdb_log_level_t};
use super::pool::{self, vdb_pool_t};
use crate::database::{Database, ForkGuard, OpenOptions};
use crate::types::{Error, Result, Status};

/// An open index.
pub struct vdb_t {
    magic: AtomicU64,
    fork: ForkGuard,
    database: Database,
}

/// What a live handle says in its first word.
const MAGIC: u64 = u64::from_le_bytes(*b"vdbindex");

/// For cache sizes: no cache.
pub const VDB_CACHE_OFF: u64 = u64::MAX;

/// Read by system calls alone: a failing disk is VDB_IO, never a signal. For plugins. Finer codes, which would be a
/// read each, are not asked: more rows are read, and about one answer in thirty thousand is another.
pub const VDB_OPEN_NO_MMAP: u32 = 1 << 0;
/// Check every byte before use, not only headers, tree and codes.
pub const VDB_OPEN_CHECK: u32 = 1 << 1;

/// How to open an index.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_options_t {
    /// sizeof(vdb_options_t)
    pub struct_size: usize,
    /// For all that the handle keeps between calls, and for what searches work with: those that do not fit
    /// beside others that run are refused. 0: from what machine and cgroup have free.
    pub memory_limit_bytes: u64,
    /// Of the limit. 0: chosen; mapped: none. VDB_CACHE_OFF: none.
    pub vector_cache_bytes: u64,
    /// Of the limit. 0: chosen; VDB_CACHE_OFF: none.
    pub answer_cache_bytes: u64,
    /// Threads of the host's, shared. NULL: the handle's own, made on first need.
    pub pool: *const vdb_pool_t,
    /// NULL: silence. Called until the handle is freed, from its threads too.
    pub log: vdb_log_fn,
    /// Given to log.
    pub log_user: *mut c_void,
    /// Lines that matter less are not made. 0: VDB_LOG_WARN.
    pub log_level: vdb_log_level_t,
    /// Without a pool. 0: what machine and cgroup allow; 1: no thread is ever made.
    pub threads: u32,
    /// VDB_OPEN_...
    pub flags: u32,
    /// 0
    pub reserved: u32,
}

// SAFETY: words, pointers and pairs of halves of a word; all zero is NULL, none and 0.
unsafe impl SizedStruct for vdb_options_t {
    const NAME: &'static str = "vdb_options_t";
    const FIRST_BYTES: usize = 72;
}

/// Opens the index in a directory, for reading.
///
///   path      the directory
///   options   NULL: memory and caches as the machine has room, threads made when a batch needs them
///   db        receives the handle
///
/// Reads and checks manifest, headers, tree, codes, ids and links; vectors stay on disk. Needs no free disk
/// space and changes nothing. Any number of handles, in any number of processes, may have one index open; each
/// goes on with the state that it opened, also when a build replaces the index meanwhile. MANIFEST and
/// segments must be regular files; the directory alone may be a symbolic link. One without MANIFEST is
/// VDB_NOT_FOUND.
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_FORMAT, VDB_CORRUPT, VDB_IO, VDB_OUT_OF_MEMORY,
/// VDB_UNSUPPORTED, VDB_FORKED (the pool is the parent's). Threads: any. Time: linear in what is read,
/// some 240 bytes a row at 1024 dimensions.
///
/// ```c
/// vdb_options_t options = {0};
/// options.struct_size = sizeof options;
/// options.memory_limit_bytes = 512u << 20;
/// options.threads = 1;
/// status = vdb_open("words.vdb", &options, &db, &error);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_open(
    path: *const c_char,
    options: *const vdb_options_t,
    db: *mut *mut vdb_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || arg::handle_output("db", db),
            |()| {
                let path = arg::path("path", path)?;
                let options = open_options(&arg::read(options)?)?;
                let database = Database::open(path, &options)?;
                let handle = vdb_t { magic: AtomicU64::new(MAGIC), fork: ForkGuard::new(), database };
                arg::put(db, arg::boxed(handle)?);
                Ok(())
            },
        )
    }
}

/// Closes a handle: joins its threads, gives its memory and files back. NULL is a no-op.
///
/// No other call on the handle may be running, and none may follow. Cursors that are still open stay good;
/// what they need, threads and callbacks included, stays until they are freed. In a forked child it returns
/// at once and leaves the parent's memory mapped. Must not be called from within a callback.
#[no_mangle]
pub unsafe extern "C" fn vdb_free(db: *mut vdb_t) {
    quiet((), || {
        // SAFETY: the caller's, by the rules of the header; every live handle was boxed by `vdb_open`.
        unsafe {
            let Ok(live) = live(db) else { return };
            // In a child, locks may be held by threads that do not exist there, and threads cannot be joined:
            // nothing is touched.
            if in_callback() || live.fork.forked() {
                return;
            }
            live.magic.store(0, Ordering::Relaxed);
            drop(Box::from_raw(db));
        }
    });
}

/// The database behind a handle, if this process opened it.
///
/// # Safety
/// `db` is NULL or points to a handle, for as long as `'a` is used.
#[inline]
pub(super) unsafe fn database<'a>(db: *const vdb_t) -> Result<&'a Database> {
    // SAFETY: the caller's promise.
    let live = unsafe { live(db) }?;
    check_process(&live.fork)?;
    Ok(&live.database)
}

/// Fails in a forked child.
#[inline]
pub(super) fn check_process(fork: &ForkGuard) -> Result<()> {
    if fork.forked() {
        return Err(Error::new(
            Status::Forked,
            "the handle was opened by the parent process, before a fork; open the index again in the child",
        ));
    }
    Ok(())
}

/// Whether `dim` is that of the index, whichever process opened it: only then do arrays of `dim` values
/// surely have the room that they are said to have.
///
/// # Safety
/// As [`database`].
pub(super) unsafe fn has_dim(db: *const vdb_t, dim: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { live(db) }.is_ok_and(|live| live.database.dim() == dim)
}

/// Fails unless `dim` is the index's; before any array of `dim` values is looked at.
#[inline]
pub(super) fn check_dim(database: &Database, dim: usize) -> Result<()> {
    let wanted = database.dim();
    if dim == wanted {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "dim is {dim}, but the vectors of this index have {wanted}; pass such vectors"
    )))
}

/// # Safety
/// `db` is NULL or points to a handle; for one that was freed there is no promise, only this attempt.
unsafe fn live<'a>(db: *const vdb_t) -> Result<&'a vdb_t> {
    if db.is_null() {
        return Err(Error::invalid("db is NULL; pass the handle that vdb_open gave"));
    }
    if db.is_aligned() {
        // SAFETY: the caller's promise.
        let handle = unsafe { &*db };
        if handle.magic.load(Ordering::Relaxed) == MAGIC {
            return Ok(handle);
        }
    }
    Err(Error::invalid("db is not an open handle; pass what vdb_open gave, before it is freed"))
}

/// Options in Rust's terms.
///
/// # Safety
/// `options.pool` is NULL or points to a pool.
unsafe fn open_options(options: &vdb_options_t) -> Result<OpenOptions> {
    check_flags("vdb_options_t.flags", options.flags, VDB_OPEN_NO_MMAP | VDB_OPEN_CHECK)?;
    check_flags("vdb_options_t.reserved", options.reserved, 0)?;
    let cache = |bytes: u64| match bytes {
        0 => None,
        VDB_CACHE_OFF => Some(0),
        bytes => Some(bytes),
    };
    let log = log_of(options.log, options.log_user, options.log_level)?;
    let log_level = log.as_ref().map(|(_, level)| *level);
    Ok(OpenOptions {
        memory_limit_bytes: options.memory_limit_bytes,
        vector_cache_bytes: cache(options.vector_cache_bytes),
        answer_cache_bytes: cache(options.answer_cache_bytes),
        threads: options.threads,
        // SAFETY: the caller's promise.
        pool: unsafe { pool::lent(options.pool) }?,
        no_mmap: options.flags & VDB_OPEN_NO_MMAP != 0,
        check: options.flags & VDB_OPEN_CHECK != 0,
        log: log.map(|(line, _)| line),
        log_level,
    })
}

/// Fails if a flag is set that this library does not know.
pub(super) fn check_flags(name: &str, flags: u32, known: u32) -> Result<()> {
    if flags & !known == 0 {
        return Ok(());
    }
    Err(Error::new(
        Status::Unsupported,
        format_args!(
            "{name} has 0x{:x} set, which libvdb {} does not know; load a newer library, or clear it",
            flags & !known,
            env!("CARGO_PKG_VERSION")
        ),
    ))
}
