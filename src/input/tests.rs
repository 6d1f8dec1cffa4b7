//! What a source promises: the rows of the file whatever the order they are asked in, and a sentence for
//! any file that is something else.

use super::*;
use crate::types::params::DIM_MAX;
use crate::types::rng::SplitMix64;
use crate::types::Status;
use crate::vfs::faulty::FaultVfs;
use crate::vfs::{Advice, FileName, MemVfs, Vfs};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Bytes that are elements of any type.
fn elements(bytes: usize) -> Vec<u8> {
    let mut random = SplitMix64::new(7);
    (0..bytes).map(|_| random.next_u64() as u8).collect()
}

fn npy(descr: &str, fortran_order: &str, shape: &str, version: u8, elements: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY".to_vec();
    file.extend([version, 0]);
    match version {
        1 => file.extend((text.len() as u16).to_le_bytes()),
        _ => file.extend((text.len() as u32).to_le_bytes()),
    }
    file.extend(text.as_bytes());
    file.extend(elements);
    file
}

fn bin(rows: u32, dim: u32, elements: &[u8]) -> Vec<u8> {
    [&rows.to_le_bytes()[..], &dim.to_le_bytes(), elements].concat()
}

fn vecs(dim: i32, row_bytes: usize, elements: &[u8]) -> Vec<u8> {
    elements.chunks(row_bytes).flat_map(|row| [&dim.to_le_bytes()[..], row].concat()).collect()
}

/// A file of each format with these rows, by the end of its name.
fn files(rows: u64, dim: usize) -> Vec<(&'static str, ElementType, Vec<u8>)> {
    let of = |element_type: ElementType| elements(rows as usize * dim * element_type.bytes());
    let (f32s, f16s, bytes) = (of(ElementType::F32), of(ElementType::F16), of(ElementType::U8));
    let shape = format!("({rows}, {dim})");
    vec![
        ("1.npy", ElementType::F32, npy("'<f4'", "False", &shape, 1, &f32s)),
        ("2.npy", ElementType::F16, npy("'<f2'", "False", &shape, 2, &f16s)),
        ("3.NPY", ElementType::U8, npy("\"|u1\"", "False", &shape, 3, &bytes)),
        ("1.fvecs", ElementType::F32, vecs(dim as i32, dim * 4, &f32s)),
        ("1.bvecs", ElementType::U8, vecs(dim as i32, dim, &bytes)),
        ("1.fbin", ElementType::F32, bin(rows as u32, dim as u32, &f32s)),
        ("1.u8bin", ElementType::U8, bin(rows as u32, dim as u32, &bytes)),
    ]
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The error of opening these bytes under this name. Its sentence must name the file.
    fn refusal(&self, name: &str, bytes: &[u8]) -> Error {
        let path = self.write(name, bytes);
        let error = open_file(&path).err().unwrap_or_else(|| panic!("{name} was opened"));
        assert_eq!(error.message().matches(&*path.to_string_lossy()).count(), 1, "{error}");
        error
    }
}

/// Compares every way to read with the elements.
fn check_reads(source: &dyn Rows, elements: &[u8]) {
    let row_bytes = source.row_bytes();
    let rows = source.rows();
    assert_eq!(rows as usize * row_bytes, elements.len());
    let mut random = SplitMix64::new(rows);
    for _ in 0..50 {
        let first = random.below(rows + 1);
        let count = random.below(rows - first + 1) as usize;
        let mut out = vec![0; count * row_bytes];
        source.read(first, count, &mut out).unwrap();
        assert_eq!(out, elements[first as usize * row_bytes..][..out.len()]);
    }
    for round in 0..50 {
        // Any order, ascending with few gaps, ascending with many.
        let mut wanted: Vec<u64> = match round % 3 {
            0 => (0..random.below(40)).map(|_| random.below(rows)).collect(),
            1 => (0..rows).filter(|_| random.below(10) >= 1).collect(),
            _ => (0..rows).filter(|_| random.below(10) < 1).collect(),
        };
        wanted.truncate(2000);
        let mut out = vec![0; wanted.len() * row_bytes];
        source.gather(&wanted, &mut out).unwrap();
        for (row, out) in wanted.iter().zip(out.chunks(row_bytes)) {
            assert_eq!(out, &elements[*row as usize * row_bytes..][..row_bytes]);
        }
    }
    let mut out = vec![0; row_bytes];
    for error in [
        source.read(rows, 1, &mut out).unwrap_err(),
        source.read(u64::MAX, 1, &mut out).unwrap_err(),
        source.read(0, 2, &mut out).unwrap_err(),
        source.read(0, usize::MAX, &mut out).unwrap_err(),
        source.gather(&[rows], &mut out).unwrap_err(),
        source.gather(&[0], &mut out[1..]).unwrap_err(),
    ] {
        assert_eq!(error.status(), Status::InvalidArgument);
    }
    source.read(rows, 0, &mut []).unwrap();
    source.gather(&[], &mut []).unwrap();
}

#[test]
fn every_format_gives_its_rows_in_any_order() {
    let folder = Folder::new();
    for (rows, dim) in [(1, 1), (3, 2), (500, 7), (100, 1024), (2, DIM_MAX)] {
        for (name, element_type, bytes) in files(rows, dim) {
            let source = open_file(&folder.write(name, &bytes)).unwrap();
            assert_eq!((source.rows(), source.dim()), (rows, dim), "{name}");
            assert_eq!(source.element_type(), element_type);
            assert!(source.describe().contains(&format!("{name}: {rows} rows x {dim}, ")));
            check_reads(&*source, &elements(rows as usize * dim * element_type.bytes()));
        }
    }
}

#[test]
fn announced_rows_are_those_that_a_file_is_advised_of() {
    let (rows, dim) = (500u64, 300usize);
    let numbers: Vec<u64> = [0, 1, 2, 9, 100, 101, 250, 498, 499].to_vec();
    for (name, _, bytes) in files(rows, dim) {
        let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
        vfs.create_new(FileName::Segment(1)).unwrap().write_all_at(&bytes, 0).unwrap();
        let faulty = FaultVfs::new(vfs);
        let file = faulty.open_read(FileName::Segment(1)).unwrap();
        let source: Box<dyn Rows> =
            match name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "npy" => Box::new(npy::open(file, name.into()).unwrap()),
                "fvecs" => Box::new(vecs::open_fvecs(file, name.into()).unwrap()),
                "bvecs" => Box::new(vecs::open_bvecs(file, name.into()).unwrap()),
                "fbin" => Box::new(vecs::open_fbin(file, name.into()).unwrap()),
                _ => Box::new(vecs::open_u8bin(file, name.into()).unwrap()),
            };
        source.announce(&numbers);
        let stride = source.row_bytes() as u64 + if name.ends_with("vecs") { 4 } else { 0 };
        let start = bytes.len() as u64 - rows * stride;
        let advised = faulty.advices();
        for row in 0..rows {
            let (first, end) = (start + row * stride, start + (row + 1) * stride);
            let covered = advised.iter().any(|(_, at, len)| *at <= first && end <= at + len);
            assert!(covered || !numbers.contains(&row), "{name}: row {row} in {advised:?}");
            // Gaps of less than a page are read over.
            assert!(
                !covered || numbers.iter().any(|n| n.abs_diff(row) * stride <= 4096 + stride),
                "{name}: {row}"
            );
        }
        assert!(advised.iter().all(|(advice, _, _)| *advice == Advice::WillNeed), "{name}");
        // Only a hint: what is beyond the end is refused when it is asked for.
        source.announce(&[rows, u64::MAX]);
        assert_eq!(faulty.advices().len(), advised.len(), "{name}");
    }
}

#[test]
fn an_array_gives_its_rows_at_any_stride() {
    for element_type in [ElementType::F32, ElementType::F16, ElementType::U8] {
        for (rows, dim, gap) in [(1, 1, 0), (300, 5, 0), (300, 5, 1), (20, 1024, 100)] {
            let row_bytes = dim * element_type.bytes();
            let elements = elements(rows * row_bytes);
            let mut memory = vec![0xff];
            for row in elements.chunks(row_bytes) {
                memory.extend(row);
                memory.extend(vec![0xee; gap]);
            }
            // Begins at an odd address, and ends with the last element.
            let memory = &memory[1..memory.len() - gap];
            let stride = if gap == 0 { 0 } else { row_bytes + gap };
            let source = ArrayRows::new(memory, rows as u64, dim, element_type, stride).unwrap();
            check_reads(&source, &elements);
            let needed = ArrayRows::needed_bytes(rows as u64, dim, element_type, stride).unwrap();
            assert_eq!(needed, memory.len());
            let short = ArrayRows::new(&memory[1..], rows as u64, dim, element_type, stride);
            assert_eq!(short.err().unwrap().status(), Status::InvalidArgument);
        }
    }
    let floats = [1.0f32, 2.0, 3.0, 4.0];
    check_reads(&ArrayRows::of_floats(&floats, 2).unwrap(), bytemuck::cast_slice(&floats));
}

#[test]
fn an_array_that_cannot_be_is_refused() {
    let f32s = ElementType::F32;
    for (rows, dim, stride) in [
        (1, 0, 0),
        (1, DIM_MAX + 1, 0),
        (1, usize::MAX, 0),
        (1, 4, 15),
        (u64::MAX, 4, 0),
        (u64::MAX, DIM_MAX, usize::MAX),
        (3, 1, usize::MAX / 2),
    ] {
        let error = ArrayRows::new(&[], rows, dim, f32s, stride).err().unwrap();
        assert_eq!(error.status(), Status::InvalidArgument, "{rows} {dim} {stride}");
    }
    assert_eq!(ArrayRows::new(&[], 0, 4, f32s, 0).unwrap().rows(), 0);
    assert!(ArrayRows::of_floats(&[1.0; 5], 2).is_err());
    assert!(ArrayRows::of_floats(&[1.0; 5], 0).is_err());
}

#[test]
fn a_file_without_rows_is_a_source_of_none() {
    let folder = Folder::new();
    for (name, bytes) in [
        ("a.npy", npy("'<f4'", "False", "(0, 4)", 1, &[])),
        ("a.fbin", bin(0, 4, &[])),
        ("a.u8bin", bin(0, 4, &[])),
    ] {
        let source = open_file(&folder.write(name, &bytes)).unwrap();
        assert_eq!((source.rows(), source.dim()), (0, 4));
    }
}

#[test]
fn truncation_at_any_byte_is_refused() {
    let folder = Folder::new();
    let (rows, dim) = (5, 3);
    for (name, element_type, bytes) in files(rows, dim) {
        for length in 0..bytes.len() {
            // Without a header, a file that ends between rows is a shorter file.
            let stride = 4 + dim * element_type.bytes();
            if name.ends_with("vecs") && length > 0 && length % stride == 0 {
                let source = open_file(&folder.write(name, &bytes[..length])).unwrap();
                assert_eq!(source.rows(), (length / stride) as u64);
                continue;
            }
            let status = folder.refusal(name, &bytes[..length]).status();
            assert_eq!(status, Status::Corrupt, "{name} cut to {length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(folder.refusal(name, &longer).status(), Status::Corrupt);
    }
}

#[test]
fn a_changed_header_byte_never_panics() {
    let folder = Folder::new();
    for (name, _, mut bytes) in files(5, 3) {
        for at in 0..bytes.len().min(80) {
            let before = bytes[at];
            for value in [0, 1, before ^ 1, before ^ 0x80, 0x7f, b'9', 0xff] {
                bytes[at] = value;
                let path = folder.write(name, &bytes);
                if let Ok(source) = open_file(&path) {
                    let mut out = vec![0; source.rows() as usize * source.row_bytes()];
                    let _ = source.read(0, source.rows() as usize, &mut out);
                }
            }
            bytes[at] = before;
        }
    }
}

#[test]
fn headers_that_claim_too_much_are_refused_before_anything_is_allocated() {
    let folder = Folder::new();
    let max = u32::MAX;
    for (name, bytes, status) in [
        ("a.fbin", bin(1, 0, &[]), Status::InvalidArgument),
        ("a.fbin", bin(1, DIM_MAX as u32 + 1, &[]), Status::InvalidArgument),
        ("a.fbin", bin(max, max, &[]), Status::InvalidArgument),
        ("a.fbin", bin(max, DIM_MAX as u32, &[]), Status::Corrupt),
        ("a.u8bin", bin(2, 3, &[0; 24]), Status::Corrupt),
        ("a.fvecs", vecs(0, 4, &[0; 4]), Status::InvalidArgument),
        ("a.fvecs", vecs(-1, 4, &[0; 4]), Status::InvalidArgument),
        ("a.bvecs", vecs(i32::MAX, 4, &[0; 4]), Status::InvalidArgument),
        ("a.npy", npy("'<f4'", "False", "(18446744073709551615, 65536)", 1, &[]), Status::Corrupt),
        ("a.npy", npy("'<f4'", "False", "(3, 18446744073709551615)", 1, &[]), Status::InvalidArgument),
        ("a.npy", npy("'<f4'", "False", "(1, 0)", 1, &[]), Status::InvalidArgument),
        ("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), Status::Corrupt),
    ] {
        let error = folder.refusal(name, &bytes);
        assert_eq!(error.status(), status, "{error}");
    }
}

#[test]
fn what_numpy_has_and_we_have_not_is_refused_with_the_cure() {
    let folder = Folder::new();
    let data = [0; 96];
    for (descr, order, shape, cure) in [
        ("'<f8'", "False", "(3, 4)", "a.astype('<f4')"),
        ("'>f4'", "False", "(3, 4)", "a.astype('<f4')"),
        ("'<i8'", "False", "(3, 4)", "a.astype('<f4')"),
        ("[('a', '<f4'), ('b', '<f4')]", "False", "(3, 4)", "a.astype('<f4')"),
        ("'<f4'", "True", "(3, 4)", "numpy.ascontiguousarray(a)"),
        ("'<f4'", "False", "(24,)", "a.reshape(-1, dim)"),
        ("'<f4'", "False", "()", "a.reshape(-1, dim)"),
        ("'<f4'", "False", "(2, 3, 4)", "a.reshape(-1, dim)"),
    ] {
        let error = folder.refusal("a.npy", &npy(descr, order, shape, 1, &data));
        assert_eq!(error.status(), Status::Unsupported);
        assert!(error.message().contains(cure), "{error}");
    }
    let error = folder.refusal("a.npy", &npy("'<f4'", "False", "(3, 8)", 4, &data));
    assert_eq!(error.status(), Status::Unsupported);
}

#[test]
fn foreign_and_missing_files_are_told_apart() {
    let folder = Folder::new();
    assert_eq!(folder.refusal("a.npy", b"PK\x03\x04 an archive of arrays").status(), Status::Format);
    assert_eq!(folder.refusal("a.npy", b"\x93NUMPX\x01\x00\x02\x00{}").status(), Status::Format);
    for name in ["a.txt", "a", "a.npz", "a.hdf5", ".fbin"] {
        let error = folder.refusal(name, b"x");
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.message().contains(".npy, .fvecs, .bvecs, .fbin or .u8bin"));
    }
    assert_eq!(open_file(&folder.path("none.npy")).err().unwrap().status(), Status::NotFound);
    std::fs::create_dir(folder.path("folder.npy")).unwrap();
    assert!(open_file(&folder.path("folder.npy")).is_err());
}

#[test]
fn a_row_of_another_dim_is_found_when_it_is_read() {
    let folder = Folder::new();
    let mut bytes = vecs(3, 3, &elements(15));
    bytes[3 * 7] = 4;
    let source = open_file(&folder.write("a.bvecs", &bytes)).unwrap();
    let mut out = [0; 15];
    source.read(0, 3, &mut out[..9]).unwrap();
    for error in
        [source.read(0, 5, &mut out).unwrap_err(), source.gather(&[4, 3], &mut out[..6]).unwrap_err()]
    {
        assert_eq!((error.status(), error.row(), error.offset()), (Status::Corrupt, Some(3), Some(21)));
        assert!(error.message().contains("a.bvecs: row 3 says it has dim 4"), "{error}");
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let folder = Folder::new();
    for (name, _, bytes) in files(5, 3) {
        let path = folder.write(name, &bytes);
        let source = open_file(&path).unwrap();
        let shorter = bytes.len() as u64 - 1;
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(shorter).unwrap();
        let mut out = vec![0; 5 * source.row_bytes()];
        let error = source.read(0, 5, &mut out).unwrap_err();
        assert_eq!(error.status(), Status::Corrupt);
        assert!(error.message().contains(name), "{error}");
    }
}

#[test]
fn ids_are_read_from_both_formats() {
    let folder = Folder::new();
    let ids = [5u64, 0, u64::MAX - 1, 1 << 40];
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    assert_eq!(read_ids(&folder.write("a.u64bin", &bytes), 4).unwrap(), ids);
    assert_eq!(read_ids(&folder.write("a.npy", &npy("'<u8'", "False", "(4,)", 1, &bytes)), 4).unwrap(), ids);
    let signed = npy("'<i8'", "True", "(1,)", 2, &7i64.to_le_bytes());
    assert_eq!(read_ids(&folder.write("b.npy", &signed), 1).unwrap(), [7]);
    assert_eq!(read_ids(&folder.write("c.u64bin", &[]), 0).unwrap(), [0; 0]);
}

#[test]
fn files_that_are_no_ids_are_refused() {
    let folder = Folder::new();
    let refusal = |name: &str, bytes: &[u8], rows: u64| {
        let path = folder.write(name, bytes);
        let error = read_ids(&path, rows).unwrap_err();
        assert_eq!(error.message().matches(&*path.to_string_lossy()).count(), 1, "{error}");
        error
    };
    let ones = [1u8; 16];
    let none = [0xff; 16];
    for (name, bytes, rows, status, row) in [
        ("a.u64bin", ones.to_vec(), 3, Status::InvalidArgument, None),
        ("a.u64bin", ones.to_vec(), u64::MAX, Status::InvalidArgument, None),
        ("a.u64bin", ones[1..].to_vec(), 2, Status::Corrupt, None),
        ("a.u64bin", [&ones[8..], &none[8..]].concat(), 2, Status::InvalidArgument, Some(1)),
        ("a.txt", ones.to_vec(), 2, Status::InvalidArgument, None),
        ("a.npy", ones.to_vec(), 2, Status::Format, None),
        ("a.npy", npy("'<i8'", "False", "(2,)", 1, &none), 2, Status::InvalidArgument, Some(0)),
        ("a.npy", npy("'<i4'", "False", "(4,)", 1, &ones), 4, Status::Unsupported, None),
        ("a.npy", npy("'<u8'", "False", "(2, 1)", 1, &ones), 2, Status::Unsupported, None),
        ("a.npy", npy("'<u8'", "False", "(3,)", 1, &ones), 3, Status::Corrupt, None),
        ("a.npy", npy("'<u8'", "False", "(2305843009213693952,)", 1, &ones), 2, Status::Corrupt, None),
    ] {
        let error = refusal(name, &bytes, rows);
        assert_eq!((error.status(), error.row()), (status, row), "{error}");
    }
    assert_eq!(read_ids(&folder.path("none.npy"), 1).unwrap_err().status(), Status::NotFound);
}
