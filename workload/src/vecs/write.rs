//! Streams rows into a vector file of any format.
//!
//! The number of rows is not asked beforehand: the header is written again by [`Writer::finish`]. A file whose
//! writer was dropped without it says 0 rows and is refused by readers.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::f16;

use super::{bad, Element, Format};

/// NumPy headers end at a multiple of 64; this one has room for any shape.
pub(super) const NPY_HEADER: usize = 128;

/// A vector file being written.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    format: Format,
    dim: usize,
    rows: u64,
    byte_scale: (f32, f32),
    /// One row as bytes.
    row: Vec<u8>,
}

impl Writer {
    /// Creates or replaces a file; its name decides the format ([`Format::of`]).
    ///
    /// # Errors
    /// The ending is unknown, dim is 0 or beyond 32 bits, or the file cannot be created.
    pub fn create(path: &Path, dim: usize) -> io::Result<Self> {
        let format = Format::of(path)?;
        if dim == 0 || u32::try_from(dim).is_err() {
            return Err(bad(path, format_args!("cannot hold rows of {dim} dimensions")));
        }
        let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let path = path.to_owned();
        let mut writer = Self { path, file, format, dim, rows: 0, byte_scale: (1.0, 0.0), row: Vec::new() };
        writer.header()?;
        Ok(writer)
    }

    /// Bytes are written as `value * factor + offset`, rounded and clamped to 0..=255; without this call as they
    /// are. Has no effect on the float formats.
    #[must_use]
    pub fn with_byte_scale(mut self, factor: f32, offset: f32) -> Self {
        self.byte_scale = (factor, offset);
        self
    }

    /// Appends rows.
    ///
    /// # Errors
    /// The values are not whole rows, or the file cannot be written.
    pub fn write(&mut self, values: &[f32]) -> io::Result<()> {
        if !values.len().is_multiple_of(self.dim) {
            return Err(bad(
                &self.path,
                format_args!("{} values are no whole rows of {}", values.len(), self.dim),
            ));
        }
        let (element, prefix) = match self.format {
            Format::Npy(element) | Format::Bin(element) => (element, false),
            Format::Vecs(element) => (element, true),
        };
        for values in values.chunks_exact(self.dim) {
            self.row.clear();
            if prefix {
                self.row.extend((self.dim as u32).to_le_bytes());
            }
            encode(values, element, self.byte_scale, &mut self.row);
            self.file.write_all(&self.row)?;
        }
        self.rows += (values.len() / self.dim) as u64;
        Ok(())
    }

    /// Writes the final header; returns the number of rows.
    ///
    /// # Errors
    /// The file cannot be written, or has more rows than its format can count.
    pub fn finish(mut self) -> io::Result<u64> {
        self.file.flush()?;
        self.file.seek(SeekFrom::Start(0))?;
        self.header()?;
        self.file.flush()?;
        Ok(self.rows)
    }

    fn header(&mut self) -> io::Result<()> {
        match self.format {
            Format::Vecs(_) => Ok(()),
            Format::Bin(_) => {
                let rows =
                    u32::try_from(self.rows).map_err(|_| bad(&self.path, "more than 2^32 - 1 rows"))?;
                self.file.write_all(&rows.to_le_bytes())?;
                self.file.write_all(&(self.dim as u32).to_le_bytes())
            }
            Format::Npy(element) => self.file.write_all(&npy_header(element, self.rows, self.dim)),
        }
    }
}

fn encode(values: &[f32], element: Element, (factor, offset): (f32, f32), out: &mut Vec<u8>) {
    match element {
        Element::F32 => values.iter().for_each(|v| out.extend(v.to_le_bytes())),
        Element::F16 => values.iter().for_each(|v| out.extend(f16::from_f32(*v).to_le_bytes())),
        // The cast saturates: below 0 is 0, above 255 is 255.
        Element::U8 => out.extend(values.iter().map(|v| (v * factor + offset).round() as u8)),
    }
}

fn npy_header(element: Element, rows: u64, dim: usize) -> Vec<u8> {
    let kind = match element {
        Element::F32 => "<f4",
        Element::F16 => "<f2",
        Element::U8 => "|u1",
    };
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((NPY_HEADER as u16 - 10).to_le_bytes());
    let shape = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    header.extend(shape.as_bytes());
    header.resize(NPY_HEADER - 1, b' ');
    header.push(b'\n');
    header
}
