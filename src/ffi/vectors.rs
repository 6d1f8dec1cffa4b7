//! Vectors and codes: read a row, encode a vector, compare codes.

use std::ffi::c_void;
use std::slice;

use super::arg;
use super::build::vdb_type_t;
use super::error::{vdb_error_t, vdb_status_t};
use super::guard::{blank_unless_ok, guard, quiet};
use super::open::{check_dim, database, has_dim, vdb_t};
use crate::database::{self as engine, Database};
use crate::types::{Error, Result};

/// Copies vectors out, as floats, by their ids.
///
///   ids        id_count of them, in any order
///   id_count   0 is legal
///   dim        the index's
///   out        room for id_count x dim floats; rows that are not found are all zero. Not touched if dim is
///              not the index's
///   found      room for id_count bytes, which become 1 or 0. NULL: an id that is not there fails the call
///              with VDB_NOT_FOUND, and VDB_DETAIL_ROW is its place in ids
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_CORRUPT, VDB_IO, VDB_OUT_OF_MEMORY, VDB_FORKED. Threads:
/// any number at once.
///
/// ```c
/// status = vdb_get(db, &ids[0], 1, 100, vector, NULL, &error);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_get(
    db: *const vdb_t,
    ids: *const u64,
    id_count: usize,
    dim: usize,
    out: *mut f32,
    found: *mut u8,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || {
                // Lengths that no arrays can have are found before any of them is written to.
                let room = if has_dim(db, dim) { arg::product("out", id_count, dim)? } else { 0 };
                let found = arg::optional_output("found", found, id_count, 0);
                let out = arg::output("out", out, room, 0.0);
                Ok((out?, found?))
            },
            |mut outputs| {
                let database = database(db)?;
                check_dim(database, dim)?;
                let ids = arg::input("ids", ids, id_count)?;
                let blank = |(out, found): &mut (&mut [f32], Option<&mut [u8]>)| {
                    out.fill(0.0);
                    found.iter_mut().for_each(|found| found.fill(0));
                };
                blank_unless_ok(&mut outputs, blank, |(out, found)| {
                    database.get(&ids, out, found.as_deref_mut())
                })
            },
        )
    }
}

/// Gives the place of a vector in the index, as it is stored there: no copy.
///
///   vector   receives its address, aligned to its type; valid until db is freed
///   type     NULL, or receives the type of its elements, VDB_TYPE_...
///
/// Touching it may end in a signal if the disk fails; plugins use vdb_get.
///
/// Errors: VDB_NOT_FOUND, VDB_UNSUPPORTED (opened with VDB_OPEN_NO_MMAP), VDB_CORRUPT, VDB_FORKED. Threads:
/// any number at once.
#[no_mangle]
pub unsafe extern "C" fn vdb_borrow(
    db: *const vdb_t,
    id: u64,
    vector: *mut *const c_void,
    r#type: *mut vdb_type_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || {
                arg::put(r#type, 0);
                if vector.is_null() {
                    return Err(arg::null("vector"));
                }
                arg::put(vector, std::ptr::null());
                Ok(())
            },
            |()| {
                let (bytes, element) = database(db)?.borrow(id)?;
                arg::put(vector, bytes.as_ptr().cast());
                arg::put(r#type, element as vdb_type_t);
                Ok(())
            },
        )
    }
}

/// The node that no tree has.
pub const VDB_NODE_NONE: u64 = u64::MAX;

/// Encodes a vector from the centroid of a node: the signs of their difference, rotated, or finer steps of it.
/// The rows of a leaf are encoded from the centroid of the root's child that is above the leaf, or is it;
/// where the root is the only leaf, from the root's.
///
///   vector, dim       the vector, as a query of vdb_search
///   segment, node     the node, as for vdb_tree_node. VDB_NODE_NONE: from the origin, by the rotation of the
///                     first segment; segment is then not looked at
///   code, code_bytes  receives the code; vdb_info_t.code_bytes of room
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND (segment or node), VDB_OUT_OF_MEMORY, VDB_FORKED, and for a
/// node, whose centroid is read from disk, VDB_IO and VDB_CORRUPT. Threads: any number at once.
///
/// ```c
/// status = vdb_encode(db, vector, 100, 0, VDB_NODE_NONE, code, info.code_bytes, &error);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_encode(
    db: *const vdb_t,
    vector: *const f32,
    dim: usize,
    segment: u32,
    node: u64,
    code: *mut u8,
    code_bytes: usize,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || arg::output("code", code, code_bytes, 0),
            |code| {
                let database = database(db)?;
                check_dim(database, dim)?;
                check_code_bytes(database, code_bytes)?;
                let vector = arg::input("vector", vector, dim)?;
                database.encode(&vector, (node != VDB_NODE_NONE).then_some((segment, node)), code)
            },
        )
    }
}

/// Reads the code that a row has.
///
///   code, code_bytes  receives the code; vdb_info_t.code_bytes of room
///   segment, leaf     NULL, or receive where the row is: the leaf's number is a node's for vdb_tree_node;
///                     VDB_NODE_NONE on failure
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_FORKED. Threads: any number at once.
#[no_mangle]
pub unsafe extern "C" fn vdb_code(
    db: *const vdb_t,
    id: u64,
    code: *mut u8,
    code_bytes: usize,
    segment: *mut u32,
    leaf: *mut u64,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || {
                arg::put(segment, 0);
                arg::put(leaf, VDB_NODE_NONE);
                arg::output("code", code, code_bytes, 0)
            },
            |code| {
                let database = database(db)?;
                check_code_bytes(database, code_bytes)?;
                let (in_segment, in_leaf) = database.code(id, code)?;
                arg::put(segment, in_segment);
                arg::put(leaf, in_leaf);
                Ok(())
            },
        )
    }
}

/// Counts the bits in which two codes differ, by the fastest kernel of this machine.
///
///   a, b    bytes of them, at any address; nothing about them is checked but NULL
///
/// Returns the count, or UINT64_MAX if a or b is NULL though bytes is not 0. Any thread.
#[no_mangle]
pub unsafe extern "C" fn vdb_hamming(a: *const u8, b: *const u8, bytes: usize) -> u64 {
    quiet(u64::MAX, || {
        if bytes == 0 {
            return 0;
        }
        if a.is_null() || b.is_null() || isize::try_from(bytes).is_err() {
            return u64::MAX;
        }
        // SAFETY: the caller's, by the rules of the header; NULL and impossible lengths were refused.
        unsafe { engine::hamming(slice::from_raw_parts(a, bytes), slice::from_raw_parts(b, bytes)) }
    })
}

pub(super) fn check_code_bytes(database: &Database, code_bytes: usize) -> Result<()> {
    let wanted = database.info().code_bytes as usize;
    if code_bytes == wanted {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "code_bytes is {code_bytes}, but a code of this index has {wanted}; see vdb_info"
    )))
}
