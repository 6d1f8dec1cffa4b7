//! Vector files: `.npy` (f32, f16, u8), `.fvecs`, `.bvecs`, `.fbin`, `.u8bin`, and truth in `.ibin`.
//!
//! ```text
//! .fbin .u8bin   u32 rows, u32 dim, then rows * dim f32 or bytes
//! .fvecs .bvecs  per row: u32 dim, then dim f32 or bytes
//! .npy           version 1.0, C order, two axes; type in the header
//! .ibin          u32 queries, u32 k, queries * k u32 ids, queries * k f32 distances, nearest first
//! ```
//!
//! All little endian. [`Writer`] streams and never holds more than it was given; [`VecFile`] reads any range.
//! Files are believed only as far as their length allows; engine and workload read files with separate code.

mod read;
mod truth;
mod write;

use std::io;
use std::path::Path;

pub use read::VecFile;
pub use truth::{read_truth, write_truth};
pub use write::Writer;

/// How a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Four bytes.
    F32,
    /// Two bytes, IEEE half precision.
    F16,
    /// One byte, 0 to 255.
    U8,
}

impl Element {
    /// Bytes of one value.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::U8 => 1,
        }
    }
}

/// How rows are laid out in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// NumPy's, with a type.
    Npy(Element),
    /// Count and dim first, then values: `.fbin` or `.u8bin`.
    Bin(Element),
    /// Dim before each row: `.fvecs` or `.bvecs`.
    Vecs(Element),
}

impl Format {
    /// The format that a file's name promises. `.f16.npy` and `.u8.npy` name the type; plain `.npy` is f32 when
    /// written, and when read the header decides.
    ///
    /// # Errors
    /// The ending is none of those above.
    pub fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
        let endings = [
            (".f16.npy", Self::Npy(Element::F16)),
            (".u8.npy", Self::Npy(Element::U8)),
            (".npy", Self::Npy(Element::F32)),
            (".fbin", Self::Bin(Element::F32)),
            (".u8bin", Self::Bin(Element::U8)),
            (".fvecs", Self::Vecs(Element::F32)),
            (".bvecs", Self::Vecs(Element::U8)),
        ];
        endings.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, format)| format).ok_or_else(
            || bad(path, "the ending is none of .npy .f16.npy .u8.npy .fbin .u8bin .fvecs .bvecs"),
        )
    }
}

/// An error about a file's content: the file, then what is wrong.
fn bad(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use crate::rows::{Matrix, Rows};

    const NAMES: [&str; 7] = ["a.npy", "a.f16.npy", "a.u8.npy", "a.fbin", "a.u8bin", "a.fvecs", "a.bvecs"];

    fn sample(rows: usize, dim: usize) -> Vec<f32> {
        // Whole numbers up to 255 are exact in every element type.
        let mut stream = Stream::new((rows * dim) as u64);
        (0..rows * dim).map(|_| stream.below(256) as f32).collect()
    }

    #[test]
    fn every_format_gives_back_what_was_written_in_any_blocks() {
        let folder = tempfile::tempdir().unwrap();
        for name in NAMES {
            for (rows, dim) in [(0, 3), (1, 1), (17, 5), (1000, 33)] {
                let path = folder.path().join(name);
                let values = sample(rows, dim);
                let mut writer = Writer::create(&path, dim).unwrap();
                values.chunks(7 * dim).for_each(|part| writer.write(part).unwrap());
                assert_eq!(writer.finish().unwrap(), rows as u64);
                // An .fvecs file without a row has no dim to tell.
                if rows == 0 && matches!(Format::of(&path).unwrap(), Format::Vecs(_)) {
                    assert!(VecFile::open(&path).is_err());
                    continue;
                }
                let file = VecFile::open(&path).unwrap();
                assert_eq!((file.count(), file.dim()), (rows as u64, dim), "{name}");
                assert_eq!(Matrix::of(&file).unwrap().values(), values, "{name}");
                if rows > 3 {
                    let mut part = vec![0.0; 2 * dim];
                    file.read(rows as u64 - 2, &mut part).unwrap();
                    assert_eq!(part, values[(rows - 2) * dim..], "{name}");
                    assert!(file.read(rows as u64 - 1, &mut part).is_err());
                }
            }
        }
    }

    #[test]
    fn halves_and_bytes_are_rounded_to_the_nearest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.f16.npy");
        let mut writer = Writer::create(&path, 2).unwrap();
        writer.write(&[0.1, -3.3]).unwrap();
        writer.finish().unwrap();
        let back = Matrix::of(&VecFile::open(&path).unwrap()).unwrap();
        assert!((back.values()[0] - 0.1).abs() < 5e-5 && (back.values()[1] + 3.3).abs() < 1e-3);

        let path = folder.path().join("a.u8bin");
        let mut writer = Writer::create(&path, 4).unwrap().with_byte_scale(10.0, 128.0);
        writer.write(&[0.0, 1.26, -100.0, 100.0]).unwrap();
        writer.finish().unwrap();
        assert_eq!(Matrix::of(&VecFile::open(&path).unwrap()).unwrap().values(), [128.0, 141.0, 0.0, 255.0]);
    }

    #[test]
    fn files_cut_anywhere_or_grown_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in NAMES {
            let path = folder.path().join(name);
            let mut writer = Writer::create(&path, 3).unwrap();
            writer.write(&sample(4, 3)).unwrap();
            writer.finish().unwrap();
            let whole = std::fs::read(&path).unwrap();
            for len in 0..whole.len() {
                std::fs::write(&path, &whole[..len]).unwrap();
                let opened = VecFile::open(&path);
                // The formats without a header are whole at the end of any row.
                let stride = whole.len() / 4;
                let whole_rows =
                    matches!(Format::of(&path).unwrap(), Format::Vecs(_)) && len > 0 && len % stride == 0;
                assert_eq!(opened.is_ok(), whole_rows, "{name} cut at {len}");
            }
            std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
            assert!(VecFile::open(&path).is_err(), "{name} with a byte too many");
        }
        assert!(Format::of(Path::new("rows.csv")).is_err());
    }

    #[test]
    fn half_a_row_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&folder.path().join("a.fbin"), 3).unwrap();
        assert!(writer.write(&[1.0; 4]).is_err());
        assert!(Writer::create(&folder.path().join("b.fbin"), 0).is_err());
    }
}
