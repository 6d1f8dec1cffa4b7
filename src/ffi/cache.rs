//! The two caches of a handle.

use super::arg::{Output, SizedStruct};
use super::error::{vdb_error_t, vdb_status_t};
use super::guard::guard;
use super::open::{database, vdb_t, VDB_CACHE_OFF};
use crate::database::CacheKind;
use crate::types::{Error, Result};

/// Which cache. VDB_CACHE_...
pub type vdb_cache_t = u32;

/// Full vectors, by row; for handles that read rather than map.
pub const VDB_CACHE_VECTORS: vdb_cache_t = 1;
/// Whole answers, by query, k and parameters.
pub const VDB_CACHE_ANSWERS: vdb_cache_t = 2;

/// A cache, as it is now. Counts only grow.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_cache_info_t {
    /// sizeof(vdb_cache_info_t)
    pub struct_size: usize,
    /// 0: off.
    pub capacity_bytes: u64,
    /// Entries and what it takes to find them.
    pub used_bytes: u64,
    /// Vectors or answers held.
    pub entries: u64,
    /// Look-ups that found.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Entries that made room for others.
    pub evictions: u64,
}

// SAFETY: words.
unsafe impl SizedStruct for vdb_cache_info_t {
    const NAME: &'static str = "vdb_cache_info_t";
    const FIRST_BYTES: usize = 56;
}

/// Fills info with what a cache holds and how often it helped.
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once. Time: constant.
///
/// ```c
/// vdb_cache_info_t info = {0};
/// info.struct_size = sizeof info;
/// status = vdb_cache_info(db, VDB_CACHE_ANSWERS, &info, &error);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_cache_info(
    db: *const vdb_t,
    cache: vdb_cache_t,
    info: *mut vdb_cache_info_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || Output::new("info", info),
            |to| {
                let info = database(db)?.cache(kind(cache)?);
                to.put(&vdb_cache_info_t {
                    struct_size: size_of::<vdb_cache_info_t>(),
                    capacity_bytes: info.capacity_bytes,
                    used_bytes: info.used_bytes,
                    entries: info.entries,
                    hits: info.hits,
                    misses: info.misses,
                    evictions: info.evictions,
                });
                Ok(())
            },
        )
    }
}

/// Gives a cache another size, at once; entries that no longer fit go, counts stay.
///
///   bytes   0 and VDB_CACHE_OFF: off. Never more than the handle's limit leaves: see vdb_cache_info
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once, searches included.
#[no_mangle]
pub unsafe extern "C" fn vdb_cache_resize(
    db: *mut vdb_t,
    cache: vdb_cache_t,
    bytes: u64,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || Ok(()),
            |()| {
                let bytes = if bytes == VDB_CACHE_OFF { 0 } else { bytes };
                database(db)?.cache_resize(kind(cache)?, bytes)
            },
        )
    }
}

/// Forgets what a cache holds; size and counts stay.
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once, searches included.
#[no_mangle]
pub unsafe extern "C" fn vdb_cache_clear(
    db: *mut vdb_t,
    cache: vdb_cache_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || Ok(()),
            |()| {
                database(db)?.cache_clear(kind(cache)?);
                Ok(())
            },
        )
    }
}

fn kind(cache: vdb_cache_t) -> Result<CacheKind> {
    match cache {
        VDB_CACHE_VECTORS => Ok(CacheKind::Vectors),
        VDB_CACHE_ANSWERS => Ok(CacheKind::Answers),
        _ => {
            Err(Error::invalid(format_args!("cache is {cache}; use VDB_CACHE_VECTORS or VDB_CACHE_ANSWERS")))
        }
    }
}
