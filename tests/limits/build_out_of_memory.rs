//! Memory that is refused ends a build in a status, and nothing half-built can be opened.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;

use vdb::database::{self, BuildReport, Database, Job, OpenOptions};
use vdb::ffi::build::{vdb_build, vdb_build_options_t, vdb_source_t, VDB_LINKS_ON};
use vdb::ffi::error::{vdb_error_free, vdb_error_message, vdb_error_status, VDB_OK, VDB_OUT_OF_MEMORY};
use vdb::ffi::job::vdb_job_t;
use vdb::input::ArrayRows;
use vdb::pool::Pool;
use vdb::types::params::{BuildParams, LinkMode, SearchParams};
use vdb::types::{ElementType, Metric, Result, Status};

use crate::allocator::{alone, GIVEN, LEFT, REFUSED_BYTES, RELENTS};
use crate::fixture::{folder, params, rows};

const DIM: usize = 20;

/// A set of rows to build from, and how.
struct Input {
    count: usize,
    floats: Vec<f32>,
    halves: Vec<u8>,
    ids: Vec<u64>,
    /// Files of the same.
    vectors: PathBuf,
    half_vectors: PathBuf,
    id_file: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Floats,
    Halves,
    FloatFile,
    HalfFile,
}

impl Input {
    /// Rows of which the first are `copies` of one.
    fn new(folder: &Path, count: usize, copies: usize) -> Self {
        let mut floats = rows(count, DIM, 3);
        floats[..copies * DIM].fill(0.25);
        // Halves with 5 bits of exponent around 1: any pattern of the rest is a number.
        let half = |x: &f32| (0x3800u16 | (x.to_bits() >> 13) as u16 & 0x3ff).to_le_bytes();
        let halves: Vec<u8> = floats.iter().flat_map(half).collect();
        let ids: Vec<u64> = (0..count as u64).map(|row| 7 * row + 1).collect();
        let [vectors, half_vectors, id_file] =
            ["rows.fvecs", "rows.npy", "ids.u64bin"].map(|name| folder.join(name));
        let prefixed = floats.chunks_exact(DIM).flat_map(|row| {
            (DIM as i32).to_le_bytes().into_iter().chain(row.iter().flat_map(|x| x.to_le_bytes()))
        });
        std::fs::write(&vectors, prefixed.collect::<Vec<u8>>()).unwrap();
        let head = format!("{{'descr': '<f2', 'fortran_order': False, 'shape': ({count}, {DIM}), }}\n");
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        npy.extend_from_slice(&(head.len() as u16).to_le_bytes());
        npy.extend_from_slice(head.as_bytes());
        npy.extend_from_slice(&halves);
        std::fs::write(&half_vectors, npy).unwrap();
        std::fs::write(&id_file, bytemuck::cast_slice::<u64, u8>(&ids)).unwrap();
        Input { count, floats, halves, ids, vectors, half_vectors, id_file }
    }

    fn build(&self, path: &Path, from: From, params: &BuildParams, pool: &Pool) -> Result<BuildReport> {
        let progress = |_: &str, _, _| true;
        let log = |_, _: &str| {};
        let job = Job { progress: Some(&progress), log: Some(&log), pool: Some(pool), ..Job::default() };
        let (bytes, element) = match from {
            From::Floats => (bytemuck::cast_slice(&self.floats), ElementType::F32),
            From::Halves => (&self.halves[..], ElementType::F16),
            From::FloatFile => {
                return database::build_from_file(path, &self.vectors, Some(&self.id_file), params, &job)
            }
            From::HalfFile => return database::build_from_file(path, &self.half_vectors, None, params, &job),
        };
        let source = ArrayRows::new(bytes, self.count as u64, DIM, element, 0)?;
        let ids = matches!(from, From::Halves).then_some(&self.ids[..]);
        database::build(path, &source, ids, params, &job)
    }
}

/// What a build may leave behind: an index that is whole, or the error of memory and no index.
fn check(path: &Path, built: &Result<BuildReport>, count: usize) {
    let options = OpenOptions { threads: 1, check: true, ..OpenOptions::default() };
    let opened = Database::open(path, &options);
    match built {
        Ok(_) => {
            let (mut ids, db) = ([0; 10], opened.unwrap());
            assert_eq!(db.info().rows, count as u64);
            db.search(&[0.5; DIM], 10, &SearchParams::default(), &mut ids, None).unwrap();
        }
        Err(error) => {
            assert_eq!(error.status(), Status::OutOfMemory, "{error}");
            assert!(error.message().contains("memory"), "{error}");
            assert_eq!(opened.map(|_| ()).unwrap_err().status(), Status::NotFound, "{error}");
        }
    }
}

/// From 0 on, each but `part` of a number more than the one before.
fn numbers(part: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(0), move |n| Some(n + 1 + n / part))
}

/// Builds while memory is refused as `refuse` says it for each of `numbers`; until one of them, by what `relent` says,
/// was enough.
fn build_with_less(
    input: &Input,
    (from, params, pool): (From, &BuildParams, &Pool),
    numbers: impl Iterator<Item = u64>,
    refuse: impl Fn(u64),
    relent: impl Fn() -> bool,
) {
    let dir = folder();
    let path = dir.path().join("index");
    let mut refused = 0;
    for number in numbers {
        refuse(number);
        let built = input.build(&path, from, params, pool);
        let was_enough = relent();
        check(&path, &built, input.count);
        refused += usize::from(built.is_err());
        if path.exists() {
            std::fs::remove_dir_all(&path).unwrap();
        }
        if was_enough {
            break;
        }
    }
    assert!(refused > 10, "{refused} {from:?} {params:?}");
}

/// Builds with so many allocations of this thread and then none, or then all but one.
fn build_with_few(input: &Input, from: From, params: &BuildParams, part: u64, relents: bool) {
    let refuse = |left| {
        RELENTS.set(relents);
        LEFT.set(left);
    };
    // None are left to count once they were too few.
    let relent = || (1..u64::MAX).contains(&LEFT.replace(u64::MAX));
    build_with_less(input, (from, params, &Pool::new(1)), numbers(part), refuse, relent);
}

/// Parameters of builds that take each of the ways there are.
fn ways() -> Vec<(From, BuildParams)> {
    let base = BuildParams { memory_limit_bytes: 1 << 30, ..params() };
    let tree = BuildParams { leaf_rows: 8, links: LinkMode::Off, ..base.clone() };
    let linked = BuildParams { links: LinkMode::On, ..tree.clone() };
    vec![
        (From::Floats, BuildParams { flat: true, ..base.clone() }),
        (From::HalfFile, BuildParams { metric: Metric::Cosine, ..base }),
        (From::FloatFile, BuildParams { metric: Metric::Cosine, ..tree.clone() }),
        (From::Halves, BuildParams { metric: Metric::InnerProduct, code_bits: 1, ..tree }),
        (From::Floats, linked.clone()),
        (From::FloatFile, BuildParams { metric: Metric::Cosine, code_bits: 1, ..linked.clone() }),
        (From::HalfFile, BuildParams { segment_rows: 180, fanout: 3, ..linked }),
    ]
}

#[test]
fn a_build_without_any_memory_ends_in_a_status() {
    let (_turn, dir) = (alone(), folder());
    let input = Input::new(dir.path(), 300, 0);
    for (from, params) in ways() {
        build_with_few(&input, from, &params, 50, false);
    }
}

#[test]
fn a_build_survives_any_allocation_that_fails() {
    let (_turn, dir) = (alone(), folder());
    let input = Input::new(dir.path(), 300, 0);
    for (from, params) in ways() {
        build_with_few(&input, from, &params, 50, true);
    }
}

/// Groups of centres, groups of leaves, cells that are divided, leaves of copies.
#[test]
fn a_larger_build_without_memory_ends_in_a_status() {
    let (_turn, dir) = (alone(), folder());
    for (copies, leaf_rows) in [(0, 1), (4_000, 1), (0, 600), (4_000, 20)] {
        let input = Input::new(dir.path(), 9_000, copies);
        let params = BuildParams { leaf_rows, links: LinkMode::Off, ..params() };
        build_with_few(&input, From::Floats, &params, 4, leaf_rows != 1);
    }
}

/// Not the smallest pieces: threads, and the lists by which they get their work, ask for those without asking.
#[test]
fn a_build_on_two_threads_without_large_pieces_ends_in_a_status() {
    let (_turn, dir) = (alone(), folder());
    let input = Input::new(dir.path(), 2_000, 300);
    let pool = Pool::new(2);
    let both = std::sync::Barrier::new(2);
    // Makes its thread.
    pool.for_each(2, 2, |_| {
        both.wait();
    });
    for (from, params) in ways() {
        let params = BuildParams { threads: 2, ..params };
        let refuse = |given| {
            GIVEN.store(given, Relaxed);
            REFUSED_BYTES.store(4 << 10, Relaxed);
        };
        let relent = || {
            REFUSED_BYTES.store(usize::MAX, Relaxed);
            GIVEN.load(Relaxed) > 0
        };
        build_with_less(&input, (from, &params, &pool), numbers(4), refuse, relent);
    }
    // What the last build left of its pieces is not for other tests.
    GIVEN.store(0, Relaxed);
}

#[test]
fn a_build_reaches_c_without_any_memory() {
    let (_turn, dir) = (alone(), folder());
    let input = Input::new(dir.path(), 300, 0);
    let path = dir.path().join("index");
    let c_path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: all are structs of numbers and pointers, for which zero is NULL and nothing.
    let (mut source, mut options, mut job): (vdb_source_t, vdb_build_options_t, vdb_job_t) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
    source.struct_size = size_of::<vdb_source_t>();
    (source.data, source.rows, source.dim) = (input.floats.as_ptr().cast(), 300, DIM);
    options.struct_size = size_of::<vdb_build_options_t>();
    (options.leaf_rows, options.links) = (8, VDB_LINKS_ON);
    job.struct_size = size_of::<vdb_job_t>();
    (job.threads, job.memory_limit_bytes) = (1, 1 << 30);
    let mut statuses = Vec::with_capacity(1_000);
    for left in numbers(50) {
        let mut error = null_mut();
        LEFT.set(left);
        // SAFETY: rows are as many as is said; the error is used until it is freed, once.
        let status = unsafe { vdb_build(c_path.as_ptr(), &source, &options, &job, &mut error) };
        let was_enough = LEFT.replace(u64::MAX) > 0;
        // SAFETY: as above.
        unsafe {
            assert_eq!(vdb_error_status(error), status);
            let message = CStr::from_ptr(vdb_error_message(error)).to_str().unwrap();
            assert!(status == VDB_OK || message.contains("memory"), "{message}");
            vdb_error_free(error);
        }
        assert_eq!(Database::open(&path, &OpenOptions::default()).is_ok(), status == VDB_OK);
        if path.exists() {
            std::fs::remove_dir_all(&path).unwrap();
        }
        statuses.push(status);
        if was_enough {
            break;
        }
    }
    assert_eq!((statuses.first(), statuses.last()), (Some(&VDB_OUT_OF_MEMORY), Some(&VDB_OK)));
    assert!(statuses.iter().all(|status| [VDB_OK, VDB_OUT_OF_MEMORY].contains(status)));
}
