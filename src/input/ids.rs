//! The ids of rows from a file: `.u64bin`, or a one-dimensional `.npy` of u64 or i64.
//!
//! Their number is known before the file is opened, so that a file of any length makes no allocation but
//! the one that the rows need anyway. That ids are distinct is for the build to check.
//!
//! Calls `vfs`, `memory`, `npy`.

use super::{ends_in, length, npy};
use crate::memory::try_vec;
use crate::types::params::NO_ID;
use crate::types::{Error, Result, Status};
use crate::vfs::{open_outside, VfsFile};
use std::fmt;
use std::path::Path;

/// Reads the ids of `rows` rows.
///
/// # Errors
/// `NotFound`, `Io`; `InvalidArgument` for an unknown name, another number of ids, a negative id, or the
/// one that no row may have; `Format`, `Corrupt`, `Unsupported` for files that are no ids;
/// `OutOfMemory`.
pub fn read_ids(path: &Path, rows: u64) -> Result<Vec<u64>> {
    let file = open_outside(path)?;
    read_open(&*file, path, rows).map_err(|error| error.context(path.display()))
}

fn read_open(file: &dyn VfsFile, path: &Path, rows: u64) -> Result<Vec<u64>> {
    let length = length(file)?;
    let (start, count, signed) = if ends_in(path, "u64bin") {
        (0, length.div_ceil(8), false)
    } else if ends_in(path, "npy") {
        npy_ids(&npy::read_header(file)?)?
    } else {
        return Err(Error::invalid(
            "the name does not say what the file holds; ids are read from files that end in .u64bin or .npy",
        ));
    };
    if count.checked_mul(8).and_then(|bytes| bytes.checked_add(start)) != Some(length) {
        return Err(Error::corrupt(format_args!(
            "its {length} bytes are not those of {count} ids, 8 bytes each; it was cut short or damaged, \
             write it again"
        )));
    }
    if count != rows {
        return Err(Error::invalid(format_args!(
            "it has {count} ids for {rows} rows; give one id for each row, in their order"
        )));
    }
    let count = usize::try_from(rows).map_err(|_| Error::out_of_memory("the ids", u64::MAX))?;
    let mut ids = try_vec(count, 0u64)?;
    let read = file.read_exact_at(bytemuck::cast_slice_mut(&mut ids), start);
    read.map_err(|error| Error::io("cannot read the ids", &error))?;
    for (row, id) in ids.iter_mut().enumerate() {
        *id = u64::from_le(*id);
        if *id == NO_ID || (signed && *id > i64::MAX as u64) {
            let shown = if signed { i128::from(*id as i64) } else { i128::from(*id) };
            return Err(Error::invalid(format_args!(
                "row {row} has id {shown}, which no row may have; ids are from 0 to 2^64 - 2"
            ))
            .with_row(row as u64));
        }
    }
    Ok(ids)
}

/// Where the ids of an array begin, how many there are, and whether they are signed.
fn npy_ids(header: &npy::Header) -> Result<(u64, u64, bool)> {
    let unsupported = |message: fmt::Arguments<'_>| Err(Error::new(Status::Unsupported, message));
    let signed = match header.descr.as_str() {
        "<u8" => false,
        "<i8" => true,
        other => {
            return unsupported(format_args!(
                "its elements are of NumPy's type '{other}'; ids are read as '<u8' or '<i8', so convert \
                 them: numpy.save(path, a.astype('<u8'))"
            ))
        }
    };
    match header.shape[..] {
        [count] => Ok((header.start, count, signed)),
        _ => unsupported(format_args!(
            "it has {} dimensions, but ids are read from an array of one; change it by a.reshape(-1)",
            header.shape.len()
        )),
    }
}
