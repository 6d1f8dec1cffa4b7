//! Queries from a vector file, as floats in memory; and how many threads 0 stands for.
//!
//! Files are read by the library's own reader, so that what `vdb build` takes and says, `--queries` takes and
//! says. A file is read up to the rows that are wanted, never beyond.

use std::path::Path;

use vdb::input;
use vdb::kernels::Kernels;
use vdb::types::ElementType;
use workload::rows::Matrix;

use crate::failure::Failure;

/// Bytes read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// Reads the first `limit` rows of a file, which must have `dim` dimensions.
pub fn read_queries(path: &Path, dim: usize, limit: Option<u64>) -> Result<Matrix, Failure> {
    let file = input::open_file(path)?;
    if file.dim() != dim {
        return Err(Failure::at(
            path,
            format_args!("its vectors have {} dimensions; {dim} are needed", file.dim()),
        ));
    }
    let rows = file.rows().min(limit.unwrap_or(u64::MAX)) as usize;
    if rows == 0 {
        return Err(Failure::at(path, "holds no vector to search with"));
    }
    let mut values = vec![0.0; rows * dim];
    let block_rows = (BLOCK_BYTES / file.row_bytes()).max(1);
    let mut block = vec![0; block_rows.min(rows) * file.row_bytes()];
    for (i, values) in values.chunks_mut(block_rows * dim).enumerate() {
        let count = values.len() / dim;
        let block = &mut block[..count * file.row_bytes()];
        file.read((i * block_rows) as u64, count, block)?;
        widen(file.element_type(), block, values);
    }
    Ok(Matrix::new(dim, values))
}

fn widen(element: ElementType, bytes: &[u8], values: &mut [f32]) {
    let kernels = Kernels::detect();
    match element {
        ElementType::F32 => {
            let words = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            values.iter_mut().zip(words).for_each(|(value, word)| *value = word);
        }
        ElementType::F16 => {
            let halves: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
            kernels.f16_to_f32(&halves, values);
        }
        ElementType::U8 => kernels.u8_to_f32(bytes, values),
    }
}

/// What `--threads` means: 0 is what machine and cgroup allow.
pub fn threads_or_all(threads: u32) -> u32 {
    match threads {
        0 => vdb::memory::probe::allowed_cpus() as u32,
        set => set,
    }
}
