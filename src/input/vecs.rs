//! The four plain formats: `.fvecs` and `.bvecs`, `.fbin` and `.u8bin`.
//!
//! The former have no header: each row begins with its dim as an i32, and their number follows from the
//! file's length. The latter begin with u32 rows and u32 dim. None has a magic number, so that only
//! lengths which do not fit tell a foreign file.
//!
//! Calls `packed`, `vfs`.

use super::length;
use super::packed::{Layout, PackedRows};
use crate::types::{ElementType, Error, Result};
use crate::vfs::VfsFile;
use std::io;
use std::sync::Arc;

pub(super) fn open_fvecs(file: Arc<dyn VfsFile>, name: String) -> Result<PackedRows> {
    open_vecs(file, name, ElementType::F32)
}

pub(super) fn open_bvecs(file: Arc<dyn VfsFile>, name: String) -> Result<PackedRows> {
    open_vecs(file, name, ElementType::U8)
}

pub(super) fn open_fbin(file: Arc<dyn VfsFile>, name: String) -> Result<PackedRows> {
    open_bin(file, name, ElementType::F32)
}

pub(super) fn open_u8bin(file: Arc<dyn VfsFile>, name: String) -> Result<PackedRows> {
    open_bin(file, name, ElementType::U8)
}

fn open_vecs(file: Arc<dyn VfsFile>, name: String, element_type: ElementType) -> Result<PackedRows> {
    let [dim] = words(&*file)?;
    // A negative dim becomes one that is far out of range. Rows are rounded up, so that a file that is
    // cut inside a row is found to be too short.
    let stride = 4 + u64::from(dim) * element_type.bytes() as u64;
    let rows = length(&*file)?.div_ceil(stride);
    let layout = Layout { rows, dim: u64::from(dim), element_type, start: 0, dim_before_rows: true };
    PackedRows::new(file, name, &layout)
}

fn open_bin(file: Arc<dyn VfsFile>, name: String, element_type: ElementType) -> Result<PackedRows> {
    let [rows, dim] = words(&*file)?;
    let (rows, dim) = (u64::from(rows), u64::from(dim));
    let layout = Layout { rows, dim, element_type, start: 8, dim_before_rows: false };
    PackedRows::new(file, name, &layout)
}

/// The u32 at the start of the file.
fn words<const N: usize>(file: &dyn VfsFile) -> Result<[u32; N]> {
    let mut words = [0u32; N];
    match file.read_exact_at(bytemuck::cast_slice_mut(&mut words[..]), 0) {
        Ok(()) => Ok(words.map(u32::from_le)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Error::corrupt(format_args!(
            "the file is shorter than the {} bytes it must begin with; it is empty or was cut short, write \
             it again",
            4 * N
        ))),
        Err(error) => Err(Error::io("cannot read the first bytes", &error)),
    }
}
