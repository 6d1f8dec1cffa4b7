//! Care: how parts of an index will be used, and whether its bytes are what was written.

use std::ffi::c_char;
use std::sync::atomic::{AtomicU64, Ordering};

use super::arg;
use super::error::{vdb_error_t, vdb_status_t};
use super::guard::guard;
use super::job::{self, vdb_job_t};
use super::open::{check_flags, database, vdb_t};
use crate::database::{self as engine, Advice, LogLevel, Part};
use crate::types::{Error, Status};

/// Nodes and centroids.
pub const VDB_PART_TREE: u32 = 1 << 0;
/// Codes and their factors.
pub const VDB_PART_CODES: u32 = 1 << 1;
/// Full vectors.
pub const VDB_PART_VECTORS: u32 = 1 << 2;

/// How a part will be used. VDB_ADVICE_...
pub type vdb_advice_t = u32;

/// Bring it into memory now: vectors are read once, into the page cache, before the call returns.
pub const VDB_ADVICE_WARM: vdb_advice_t = 1;
/// It will not be needed for a while: its pages may leave the page cache, if no other program has them.
pub const VDB_ADVICE_COLD: vdb_advice_t = 2;
/// The system should not read ahead; how vectors begin.
pub const VDB_ADVICE_RANDOM: vdb_advice_t = 3;
/// The system should read ahead.
pub const VDB_ADVICE_SCAN: vdb_advice_t = 4;

/// Says how parts of the index will be used. No answer depends on it. Tree and codes are in memory in any
/// case: for them nothing is done. For vectors it says so to the system, which may do otherwise.
///
///   parts    VDB_PART_..., one or several
///   advice   VDB_ADVICE_...
///   job      NULL: quietly, to the end
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_CORRUPT, VDB_IO, VDB_OUT_OF_MEMORY, VDB_CANCELLED, VDB_TIMEOUT,
/// VDB_FORKED. Threads: any number at once.
///
/// ```c
/// status = vdb_advise(db, VDB_PART_VECTORS, VDB_ADVICE_WARM, NULL, &error);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_advise(
    db: *mut vdb_t,
    parts: u32,
    advice: vdb_advice_t,
    job: *const vdb_job_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || Ok(()),
            |()| {
                let database = database(db)?;
                let advice = match advice {
                    VDB_ADVICE_WARM => Advice::Warm,
                    VDB_ADVICE_COLD => Advice::Cold,
                    VDB_ADVICE_RANDOM => Advice::Random,
                    VDB_ADVICE_SCAN => Advice::Scan,
                    _ => {
                        return Err(Error::invalid(format_args!(
                            "advice is {advice}; use one of VDB_ADVICE_..."
                        )))
                    }
                };
                let all = [
                    (VDB_PART_TREE, Part::Tree),
                    (VDB_PART_CODES, Part::Codes),
                    (VDB_PART_VECTORS, Part::Vectors),
                ];
                check_flags("parts", parts, VDB_PART_TREE | VDB_PART_CODES | VDB_PART_VECTORS)?;
                if parts == 0 {
                    return Err(Error::invalid("parts is 0; name one or several of VDB_PART_..."));
                }
                job::run(&arg::read(job)?, |job| {
                    let named = all.into_iter().filter(|(flag, _)| parts & flag != 0);
                    named.map(|(_, part)| part).try_for_each(|part| database.advise(part, advice, job))
                })
            },
        )
    }
}

/// Reads the whole index at a path and checks every byte and every reference in it. Changes nothing; handles
/// may be open on it, and searched.
///
///   path      the directory
///   job       NULL: quietly. Its log gets each damage, by VDB_LOG_ERROR
///   damages   NULL, or receives how many there are
///
/// Returns VDB_OK if all is as it was written. VDB_CORRUPT: the message names the first damage. Other errors:
/// VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_FORMAT, VDB_IO, VDB_OUT_OF_MEMORY, VDB_CANCELLED, VDB_TIMEOUT.
/// Threads: any. Time: linear in the bytes of the index. Memory: tree, codes and ids of one segment at a time,
/// and a MiB or so that bytes pass through, within memory_limit_bytes of the job; if that is too little, it
/// says so before any work.
///
/// ```c
/// status = vdb_verify("words.vdb", NULL, NULL, &error);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_verify(
    path: *const c_char,
    job: *const vdb_job_t,
    damages: *mut u64,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || {
                arg::put(damages, 0);
                Ok(())
            },
            |()| {
                let path = arg::path("path", path)?;
                let logged = AtomicU64::new(0);
                let count = |level| {
                    if level == LogLevel::Error {
                        logged.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let result =
                    job::run_with_log(&arg::read(job)?, Some(&count), |job| engine::verify(path, job));
                match result {
                    Err(error) if error.status() == Status::Corrupt => {
                        arg::put(damages, logged.into_inner().max(1));
                        Err(error)
                    }
                    result => result,
                }
            },
        )
    }
}
