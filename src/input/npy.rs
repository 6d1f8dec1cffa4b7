//! NumPy's `.npy` format, as far as rows and ids need it.
//!
//! | bytes | content |
//! |---|---|
//! | 6 | `\x93NUMPY` |
//! | 2 | major and minor version: 1.0, 2.0, 3.0 |
//! | 2, from version 2 on 4 | length of what follows up to the elements |
//! | ... | a Python dictionary with `descr`, `fortran_order`, `shape`, then spaces and a line end |
//! | ... | the elements |
//!
//! The dictionary is read by a parser of what NumPy writes: strings, booleans, tuples of numbers. What
//! NumPy can store and we cannot (columns first, big-endian, other types, other shapes) is refused with the
//! line of Python that makes it readable.
//!
//! Calls `packed`, `vfs`, `memory`.

use super::packed::{Layout, PackedRows};
use crate::memory::{try_text, try_vec, try_with_capacity};
use crate::types::error::Words;
use crate::types::{ElementType, Error, Result, Status};
use crate::vfs::VfsFile;
use std::io;
use std::sync::Arc;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Longest header that is read. NumPy itself refuses more than 10,000 bytes.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Type of the elements, "<f4" say; "[" for records.
    pub descr: String,
    pub fortran_order: bool,
    pub shape: Vec<u64>,
    /// Byte of the file at which the elements begin.
    pub start: u64,
}

/// Opens a two-dimensional array as rows.
pub(super) fn open(file: Arc<dyn VfsFile>, name: String) -> Result<PackedRows> {
    let header = read_header(&*file)?;
    let element_type = match header.descr.as_str() {
        "<f4" => ElementType::F32,
        "<f2" => ElementType::F16,
        "|u1" | "<u1" => ElementType::U8,
        other => {
            return Err(unsupported(format_args!(
                "its elements are of NumPy's type '{other}'; rows are read as '<f4' (float32), '<f2' \
                 (float16) or '|u1' (uint8), so convert them: numpy.save(path, a.astype('<f4'))"
            )))
        }
    };
    if header.fortran_order {
        return Err(unsupported(
            "its elements are stored column by column (fortran_order); store them row by row: \
             numpy.save(path, numpy.ascontiguousarray(a))",
        ));
    }
    let [rows, dim] = header.shape[..] else {
        return Err(unsupported(format_args!(
            "it has {} dimensions, but rows are read from an array of two, (rows, dim); change it by \
             a.reshape(-1, dim)",
            header.shape.len()
        )));
    };
    let layout = Layout { rows, dim, element_type, start: header.start, dim_before_rows: false };
    PackedRows::new(file, name, &layout)
}

/// Reads and parses a header.
///
/// # Errors
/// `Format` for another kind of file, `Corrupt` for a header that ends early or makes no sense, `Io`.
pub(super) fn read_header(file: &dyn VfsFile) -> Result<Header> {
    let mut head = [0u8; 12];
    read(file, &mut head[..10], 0)?;
    let [magic @ .., major, _, low, high] = &head[..10] else { return Err(not_npy()) };
    if magic != MAGIC {
        return Err(not_npy());
    }
    let (start, bytes) = match major {
        1 => (10, usize::from(u16::from_le_bytes([*low, *high]))),
        2 | 3 => {
            let (low, high) = (*low, *high);
            read(file, &mut head[10..], 10)?;
            (12, u32::from_le_bytes([low, high, head[10], head[11]]) as usize)
        }
        other => {
            return Err(unsupported(format_args!(
                "it is of version {other} of NumPy's format, and 1 to 3 are known; save it again with an \
                 older NumPy"
            )))
        }
    };
    if bytes > HEADER_BYTES_MAX {
        return Err(Error::corrupt(format_args!(
            "its header claims {bytes} bytes, more than the {HEADER_BYTES_MAX} that any array needs; the \
             file is damaged, save it again"
        )));
    }
    let mut text = try_vec(bytes, 0u8)?;
    read(file, &mut text, start)?;
    parse(&text, start + bytes as u64)?.ok_or_else(|| {
        Error::corrupt(
            "its header is not the dictionary of descr, fortran_order and shape that NumPy writes; the file \
             is damaged, save it again",
        )
    })
}

fn read(file: &dyn VfsFile, bytes: &mut [u8], offset: u64) -> Result<()> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::corrupt(
            "the file ends before its header does; it is empty or was cut short, copy or save it again",
        ),
        _ => Error::io("cannot read the header", &error),
    })
}

fn not_npy() -> Error {
    Error::new(
        Status::Format,
        "this is not a NumPy file: it does not begin with \\x93NUMPY; check its name, or save it by \
         numpy.save",
    )
}

fn unsupported(message: impl Words) -> Error {
    Error::new(Status::Unsupported, message)
}

/// The header that is this text; `None` if it is another.
fn parse(text: &[u8], start: u64) -> Result<Option<Header>> {
    // Between any two numbers there is a comma.
    let numbers = text.iter().filter(|byte| **byte == b',').count() + 1;
    let parser = Parser { rest: text, numbers: try_with_capacity(numbers)? };
    let Some((descr, fortran_order, shape)) = parser.header() else { return Ok(None) };
    Ok(Some(Header { descr: try_text(format_args!("{descr}"))?, fortran_order, shape, start }))
}

/// Reads the text of a header from its front. Every function returns `None` where the text is another.
struct Parser<'a> {
    rest: &'a [u8],
    /// Room for the numbers of the shape.
    numbers: Vec<u64>,
}

impl<'a> Parser<'a> {
    /// Descr, order and shape.
    fn header(mut self) -> Option<(&'a str, bool, Vec<u64>)> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.take(b'{').then_some(())?;
        while !self.take(b'}') {
            let key = self.string()?;
            self.take(b':').then_some(())?;
            match key {
                "descr" => descr = Some(self.descr()?),
                "fortran_order" => fortran_order = Some(self.boolean()?),
                "shape" => shape = Some(self.numbers()?),
                _ => return None,
            }
            if !self.take(b',') {
                self.take(b'}').then_some(())?;
                break;
            }
        }
        self.skip_space();
        let ended = self.rest.is_empty();
        ended.then_some((descr?, fortran_order?, shape?))
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Takes `byte`, if it is the next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// A string without escapes, in either kind of quotes.
    fn string(&mut self) -> Option<&'a str> {
        let quote = if self.take(b'\'') { b'\'' } else { self.take(b'"').then_some(b'"')? };
        let end = self.rest.iter().position(|byte| *byte == quote)?;
        let (string, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        std::str::from_utf8(string).ok().filter(|string| !string.contains('\\'))
    }

    /// A string, or the beginning of a list of record fields. Those end the parse: what follows them does
    /// not matter to who refuses them.
    fn descr(&mut self) -> Option<&'a str> {
        if !self.take(b'[') {
            return self.string();
        }
        let (mut depth, mut end) = (1usize, 0);
        while depth > 0 {
            match self.rest.get(end)? {
                b'[' => depth += 1,
                b']' => depth -= 1,
                _ => {}
            }
            end += 1;
        }
        self.rest = &self.rest[end..];
        Some("records")
    }

    fn boolean(&mut self) -> Option<bool> {
        self.skip_space();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Some(value);
            }
        }
        None
    }

    /// A tuple of numbers: `()`, `(3,)`, `(3, 4)`.
    fn numbers(&mut self) -> Option<Vec<u64>> {
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.clear();
        self.take(b'(').then_some(())?;
        while !self.take(b')') {
            self.skip_space();
            let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (number, rest) = self.rest.split_at(digits);
            // No text has more of them than there is room for, unless it says its shape twice.
            (numbers.len() < numbers.capacity()).then_some(())?;
            numbers.push(std::str::from_utf8(number).ok()?.parse().ok()?);
            // Python 2 wrote long numbers as `3L`.
            self.rest = rest.strip_prefix(b"L").unwrap_or(rest);
            if !self.take(b',') {
                self.take(b')').then_some(())?;
                break;
            }
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Header> {
        super::parse(text.as_bytes(), 0).unwrap()
    }

    #[test]
    fn what_numpy_writes_is_read() {
        let header = |descr: &str, fortran_order, shape: &[u64]| {
            Some(Header { descr: descr.to_owned(), fortran_order, shape: shape.to_vec(), start: 0 })
        };
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }          \n";
        assert_eq!(parse(text), header("<f4", false, &[3, 4]));
        let text = "{\"shape\":(3L,),\"descr\":\"|u1\",\"fortran_order\":True}";
        assert_eq!(parse(text), header("|u1", true, &[3]));
        let text = "{'descr': '<f8', 'fortran_order': False, 'shape': (), }";
        assert_eq!(parse(text), header("<f8", false, &[]));
        let text =
            "{'descr': [('a', '<f4', (2,)), ('b', [('c', '<i2')])], 'fortran_order': False, 'shape': (2,), }";
        assert_eq!(parse(text), header("records", false, &[2]));
    }

    #[test]
    fn any_other_text_is_refused() {
        let whole = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\n";
        for end in 0..whole.len() - 1 {
            assert_eq!(parse(&whole[..end]), None, "{}", &whole[..end]);
        }
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } x",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3 4), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,, 4), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551616, 4), }",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 4), }",
            "{'descr': '<f4', 'fortran_order': False, }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), 'more': 'x'}",
            "{'descr': [[['<f4', 'fortran_order': False, 'shape': (3, 4), }",
            "{'descr': '<f4' 'fortran_order': False, 'shape': (3, 4), }",
            "{'descr: '<f4', 'fortran_order': False, 'shape': (3, 4), }",
            "\u{fffd}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
