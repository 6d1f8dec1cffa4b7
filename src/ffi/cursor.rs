//! Cursors: the nearest rows, and the next ones, and the next.

use std::sync::atomic::{AtomicU64, Ordering};

use super::arg;
use super::error::{vdb_error_t, vdb_status_t};
use super::guard::{blank_unless_ok, guard, in_callback, quiet};
use super::job::{token, vdb_cancel_t};
use super::open::{check_dim, check_process, database, vdb_t};
use super::search::{stats_output, vdb_search_params_t, with_params, Slots};
use crate::database::{Cursor, ForkGuard};
use crate::types::{Error, Result};

/// A search that goes on.
pub struct vdb_cursor_t {
    magic: AtomicU64,
    fork: ForkGuard,
    cursor: Cursor,
    /// The caller's token, which outlives this.
    cancel: *const vdb_cancel_t,
}

/// What a live cursor says in its first word.
const MAGIC: u64 = u64::from_le_bytes(*b"vdb curs");

/// Begins a search that gives its rows in portions, as a database wants them that checks each row itself.
///
///   query, dim   as for vdb_search; copied
///   params       NULL: recall 0.95. The filter is copied; the token is looked at by each call of
///                vdb_cursor_next, so it lives as long as the cursor; the time limit holds for each of these
///                calls; stats are not filled
///   cursor       receives the cursor
///
/// Errors: as for vdb_search. Threads: any. Memory: of the handle's limit, 24 bytes for each row that was
/// fetched and not yet given, which are about as many as were given already.
///
/// ```c
/// status = vdb_cursor_open(db, query, 100, NULL, &cursor, &error);
/// while (status == VDB_OK && wanted > 0) {
///     status = vdb_cursor_next(cursor, 50, ids, distances, &count, &error);
///     if (count == 0)
///         break;
///     wanted -= take(ids, count);
/// }
/// vdb_cursor_free(cursor);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_cursor_open(
    db: *const vdb_t,
    query: *const f32,
    dim: usize,
    params: *const vdb_search_params_t,
    cursor: *mut *mut vdb_cursor_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || {
                let stats = stats_output(params);
                arg::handle_output("cursor", cursor).and(stats.map(|_| ()))
            },
            |()| {
                let database = database(db)?;
                check_dim(database, dim)?;
                let query = arg::input("query", query, dim)?;
                let params = arg::read(params)?;
                let opened = with_params(&params, |params| database.cursor(&query, params))?;
                let handle = vdb_cursor_t {
                    magic: AtomicU64::new(MAGIC),
                    fork: ForkGuard::new(),
                    cursor: opened,
                    cancel: params.cancel,
                };
                arg::put(cursor, arg::boxed(handle)?);
                Ok(())
            },
        )
    }
}

/// Gives the next rows: never one twice, none closer than those before.
///
/// A row that was missed when its turn came does not come later, so a cursor that was taken to its end may
/// leave some out: nearly none at recall 1, none with VDB_SEARCH_EXACT.
///
///   capacity    how many at most, 1 or more
///   ids         room for capacity
///   distances   room for capacity, or NULL
///   count       NULL, or receives how many: below capacity near the end, 0 at the end. Slots behind them
///               hold VDB_NO_ID and +infinity
///
/// Errors: as for vdb_search; the cursor stays where it was. Threads: one at a time for each cursor.
#[no_mangle]
pub unsafe extern "C" fn vdb_cursor_next(
    cursor: *mut vdb_cursor_t,
    capacity: usize,
    ids: *mut u64,
    distances: *mut f32,
    count: *mut usize,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || {
                arg::put(count, 0);
                Slots::new("capacity", ids, distances, 1, capacity)
            },
            |mut slots| {
                blank_unless_ok(&mut slots, Slots::blank, |slots| {
                    let handle = live(cursor)?;
                    check_process(&handle.fork)?;
                    let cancel = token(handle.cancel)?;
                    let (ids, distances) = (&mut *slots.ids, slots.distances.as_deref_mut());
                    arg::put(count, handle.cursor.next(capacity, ids, distances, cancel)?);
                    Ok(())
                })
            },
        )
    }
}

/// Ends a cursor. NULL is a no-op. Must not be called from within a callback.
#[no_mangle]
pub unsafe extern "C" fn vdb_cursor_free(cursor: *mut vdb_cursor_t) {
    quiet((), || {
        // SAFETY: the caller's, by the rules of the header; every live cursor was boxed by `vdb_cursor_open`.
        unsafe {
            let Ok(live) = live(cursor) else { return };
            if in_callback() || live.fork.forked() {
                return;
            }
            live.magic.store(0, Ordering::Relaxed);
            drop(Box::from_raw(cursor));
        }
    });
}

/// # Safety `cursor` is NULL or points to a cursor that no other call uses, for as long as `'a` is used; for
/// one that was freed there is no promise, only this attempt.
unsafe fn live<'a>(cursor: *mut vdb_cursor_t) -> Result<&'a mut vdb_cursor_t> {
    if !cursor.is_null() && cursor.is_aligned() {
        // SAFETY: the caller's promise.
        let handle = unsafe { &mut *cursor };
        if handle.magic.load(Ordering::Relaxed) == MAGIC {
            return Ok(handle);
        }
    }
    Err(Error::invalid("cursor is NULL or not open; pass what vdb_cursor_open gave, before it is freed"))
}
