//! Truth files: the nearest rows of each query, in `.ibin`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::bad;
use crate::recall::Truth;

/// Writes the neighbours of each query; ids must be below 2^32, distances are stored as f32.
///
/// # Errors
/// An id, the number of queries or k does not fit, or the file cannot be written.
pub fn write_truth(path: &Path, truth: &Truth) -> io::Result<()> {
    let word = |value: u64| {
        u32::try_from(value).map_err(|_| bad(path, format_args!("{value} does not fit in 32 bits")))
    };
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&word(truth.queries() as u64)?.to_le_bytes())?;
    file.write_all(&word(truth.k as u64)?.to_le_bytes())?;
    for id in &truth.ids {
        file.write_all(&word(*id)?.to_le_bytes())?;
    }
    for distance in &truth.distances {
        file.write_all(&(*distance as f32).to_le_bytes())?;
    }
    file.flush()
}

/// Reads a truth file.
///
/// # Errors
/// It cannot be read, or its length is not what its header says.
pub fn read_truth(path: &Path) -> io::Result<Truth> {
    let bytes = std::fs::read(path)?;
    let words: Vec<[u8; 4]> = bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect();
    let number = |i: usize| words.get(i).map(|b: &[u8; 4]| u64::from(u32::from_le_bytes(*b)));
    let (Some(queries), Some(k)) = (number(0), number(1)) else {
        return Err(bad(path, "ends within its header"));
    };
    let expected = u128::from(queries) * u128::from(k) * 8 + 8;
    if expected != bytes.len() as u128 {
        let length = bytes.len();
        return Err(bad(
            path,
            format_args!("{length} bytes do not hold {k} neighbours of {queries} queries"),
        ));
    }
    let (ids, distances) = words[2..].split_at((words.len() - 2) / 2);
    Ok(Truth {
        k: k as usize,
        ids: ids.iter().map(|b| u64::from(u32::from_le_bytes(*b))).collect(),
        distances: distances.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_comes_back_and_a_cut_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("truth.ibin");
        let truth = Truth { k: 2, ids: vec![3, 1, 0, 7], distances: vec![0.0, 0.5, 1.5, 2.25] };
        write_truth(&path, &truth).unwrap();
        assert_eq!(read_truth(&path).unwrap(), truth);
        let bytes = std::fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert!(read_truth(&path).is_err(), "cut at {len}");
        }
        assert!(write_truth(&path, &Truth { k: 1, ids: vec![1 << 32], distances: vec![0.0] }).is_err());
    }
}
