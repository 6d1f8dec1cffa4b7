//! Where vectors come from: memory, a file ([`crate::vecs::VecFile`]) or a generator.
//!
//! Everything that measures takes a [`Rows`] and reads it in blocks, so that no set has to fit in memory.

use std::io;

use crate::gen::Generator;

/// Vectors that can be read in blocks, by several threads at once.
pub trait Rows: Sync {
    /// How many there are.
    fn count(&self) -> u64;
    /// Dimensions of each.
    fn dim(&self) -> usize;
    /// Fills `out`, a multiple of dim long, with rows `first..`.
    ///
    /// # Errors
    /// The source cannot be read, or the rows asked for lie beyond its end.
    fn read(&self, first: u64, out: &mut [f32]) -> io::Result<()>;
}

/// Vectors in memory, one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    dim: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Takes values whose number is a multiple of `dim`; a rest that is no whole row is dropped.
    #[must_use]
    pub fn new(dim: usize, mut values: Vec<f32>) -> Self {
        let dim = dim.max(1);
        values.truncate(values.len() / dim * dim);
        Self { dim, values }
    }

    /// Reads a whole source into memory.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn of(source: &dyn Rows) -> io::Result<Self> {
        Self::first(source, source.count())
    }

    /// Reads the first rows of a source, at most `count`, into memory.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn first(source: &dyn Rows, count: u64) -> io::Result<Self> {
        let mut values = vec![0.0; count.min(source.count()) as usize * source.dim()];
        source.read(0, &mut values)?;
        Ok(Self::new(source.dim(), values))
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// One row.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..(index + 1) * self.dim]
    }

    /// All values, row after row.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl Rows for Matrix {
    fn count(&self) -> u64 {
        self.len() as u64
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn read(&self, first: u64, out: &mut [f32]) -> io::Result<()> {
        let start = usize::try_from(first).ok().and_then(|f| f.checked_mul(self.dim));
        let part = start.and_then(|s| self.values.get(s..s.checked_add(out.len())?));
        out.copy_from_slice(part.ok_or_else(|| beyond(first, out.len() / self.dim, self.count()))?);
        Ok(())
    }
}

/// The first rows of a generator, made when read.
#[derive(Clone, Copy, Debug)]
pub struct Generated<'a> {
    generator: &'a Generator,
    count: u64,
}

impl<'a> Generated<'a> {
    /// A set of `count` rows.
    #[must_use]
    pub fn new(generator: &'a Generator, count: u64) -> Self {
        Self { generator, count }
    }
}

impl Rows for Generated<'_> {
    fn count(&self) -> u64 {
        self.count
    }

    fn dim(&self) -> usize {
        self.generator.dim()
    }

    fn read(&self, first: u64, out: &mut [f32]) -> io::Result<()> {
        let rows = (out.len() / self.dim()) as u64;
        if first.checked_add(rows).is_none_or(|end| end > self.count) {
            return Err(beyond(first, rows as usize, self.count));
        }
        self.generator.rows(first, out);
        Ok(())
    }
}

/// The error of rows asked for that are not there.
pub(crate) fn beyond(first: u64, rows: usize, count: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("rows {first} and {rows} following were asked for, of {count}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gen::{Difficulty, GenParams};

    #[test]
    fn reading_beyond_the_end_is_an_error() {
        let generator = Generator::new(GenParams::new(4, Difficulty::Typical));
        let made = Generated::new(&generator, 10);
        let matrix = Matrix::of(&made).unwrap();
        assert_eq!((matrix.len(), matrix.count()), (10, 10));
        let mut out = vec![0.0; 8];
        for source in [&made as &dyn Rows, &matrix] {
            source.read(8, &mut out).unwrap();
            assert_eq!(out, matrix.values()[32..]);
            assert!(source.read(9, &mut out).is_err());
            assert!(source.read(u64::MAX, &mut out).is_err());
        }
    }
}
