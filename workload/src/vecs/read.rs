//! Reads any range of rows from a vector file, by several threads at once.
//!
//! Opening checks header and length against each other; after that only the disk can fail.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::f16;

use super::{bad, Element, Format};
use crate::rows::{beyond, Rows};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// An open vector file.
#[derive(Debug)]
pub struct VecFile {
    path: PathBuf,
    file: File,
    element: Element,
    rows: u64,
    dim: usize,
    /// Bytes before the first row, and before the values of each row.
    start: u64,
    prefix: usize,
}

impl VecFile {
    /// Opens a file; its name says which format to expect.
    ///
    /// # Errors
    /// It cannot be read, or header, length and name do not fit each other.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut opened =
            Self { path: path.to_owned(), file, element: Element::F32, rows: 0, dim: 0, start: 0, prefix: 0 };
        match Format::of(path)? {
            Format::Bin(element) => {
                opened.element = element;
                opened.start = 8;
                let (rows, dim) = (opened.word(0)?, opened.word(4)?);
                opened.rows = u64::from(rows);
                opened.dim = dim as usize;
            }
            Format::Vecs(element) => {
                opened.element = element;
                opened.prefix = 4;
                opened.dim = opened.word(0)? as usize;
                opened.rows = length / opened.stride().max(1);
            }
            Format::Npy(_) => opened.npy()?,
        }
        let expected = opened.stride().checked_mul(opened.rows).and_then(|b| b.checked_add(opened.start));
        if opened.dim == 0 || expected != Some(length) {
            let (rows, dim) = (opened.rows, opened.dim);
            return Err(bad(
                path,
                format_args!("{length} bytes do not hold {rows} rows of {dim} as its header says"),
            ));
        }
        Ok(opened)
    }

    /// How values are stored.
    #[must_use]
    pub fn element(&self) -> Element {
        self.element
    }

    fn stride(&self) -> u64 {
        self.prefix as u64 + self.dim as u64 * self.element.size() as u64
    }

    fn word(&self, at: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, at).map_err(|_| bad(&self.path, "ends within its header"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn npy(&mut self) -> io::Result<()> {
        let mut header = Vec::new();
        // No header we accept is longer.
        (&self.file).take(4096).read_to_end(&mut header)?;
        let wrong = |what: &str| bad(&self.path, what);
        if header.len() < 10 || &header[..6] != b"\x93NUMPY" || header[6] != 1 {
            return Err(wrong("is not a NumPy file of version 1.0"));
        }
        let size = usize::from(u16::from_le_bytes([header[8], header[9]]));
        let text = header.get(10..10 + size).ok_or_else(|| wrong("ends within its header"))?;
        let text = String::from_utf8_lossy(text).replace(' ', "");
        let after = |key: &str| text.split_once(key).map(|(_, rest)| rest);
        self.element = match after("'descr':'").and_then(|rest| rest.split('\'').next()) {
            Some("<f4") => Element::F32,
            Some("<f2") => Element::F16,
            Some("|u1") => Element::U8,
            _ => return Err(wrong("holds neither f32, f16 nor u8")),
        };
        if !text.contains("'fortran_order':False") {
            return Err(wrong("is stored column by column"));
        }
        let shape = after("'shape':(").and_then(|rest| rest.split(')').next()).unwrap_or_default();
        let axes: Vec<u64> = shape.split(',').filter_map(|axis| axis.parse().ok()).collect();
        let [rows, dim] = axes[..] else { return Err(wrong("does not have two axes")) };
        self.rows = rows;
        self.dim = u32::try_from(dim).map_err(|_| wrong("has rows of 2^32 or more dimensions"))? as usize;
        self.start = 10 + size as u64;
        Ok(())
    }

    fn decode(&self, bytes: &[u8], out: &mut [f32]) -> io::Result<()> {
        for (row, values) in bytes.chunks_exact(self.stride() as usize).zip(out.chunks_exact_mut(self.dim)) {
            let (prefix, row) = row.split_at(self.prefix);
            if self.prefix > 0 && prefix != (self.dim as u32).to_le_bytes() {
                return Err(bad(&self.path, "its rows are not all of one length"));
            }
            match self.element {
                Element::F32 => {
                    let words = row.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                    values.iter_mut().zip(words).for_each(|(v, w)| *v = w);
                }
                Element::F16 => {
                    let halves = row.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32());
                    values.iter_mut().zip(halves).for_each(|(v, h)| *v = h);
                }
                Element::U8 => values.iter_mut().zip(row).for_each(|(v, b)| *v = f32::from(*b)),
            }
        }
        Ok(())
    }
}

impl Rows for VecFile {
    fn count(&self) -> u64 {
        self.rows
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read(&self, first: u64, out: &mut [f32]) -> io::Result<()> {
        let rows = out.len() / self.dim;
        if first.checked_add(rows as u64).is_none_or(|end| end > self.rows) {
            return Err(beyond(first, rows, self.rows));
        }
        let stride = self.stride();
        let at_once = (CHUNK / stride as usize).max(1);
        let mut bytes = vec![0; at_once.min(rows) * stride as usize];
        for (i, values) in out.chunks_mut(at_once * self.dim).enumerate() {
            let bytes = &mut bytes[..values.len() / self.dim * stride as usize];
            self.file.read_exact_at(bytes, self.start + (first + (i * at_once) as u64) * stride)?;
            self.decode(bytes, values)?;
        }
        Ok(())
    }
}
