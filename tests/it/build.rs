//! A build ends in a whole index or leaves what was there: cancelled, refused, out of disk, or without power.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use vdb::database::create::build_vfs;
use vdb::database::{self, Database, GivenIds, Job, OpenOptions};
use vdb::input::ArrayRows;
use vdb::types::params::{BuildParams, SearchParams, NO_ID};
use vdb::types::{ElementType, Error, Metric, Result, Status};
use vdb::vfs::faulty::{Call, Fault, FaultVfs, Plan};
use vdb::vfs::power::PowerVfs;
use vdb::vfs::{FileName, MemVfs, Vfs};

use crate::fixture::{build, build_job, folder, names, open, params, rows, Random};

const DIM: usize = 16;
const ROWS: usize = 900;

/// With a tree, and in two segments, so that every phase is met.
fn with_tree() -> BuildParams {
    BuildParams { leaf_rows: 20, segment_rows: 600, ..params() }
}

/// Ten ids for a few queries: what tells one index from another.
fn answers(db: &Database) -> Vec<u64> {
    let mut all = Vec::new();
    for query in rows(5, db.dim(), 99).chunks_exact(db.dim()) {
        let mut ids = [0; 10];
        db.search(query, 10, &SearchParams::default(), &mut ids, None).unwrap();
        all.extend(ids);
    }
    all
}

/// The directory holds nothing but files that docs/format.md names, and no temporary ones.
fn is_clean(path: &Path) {
    for name in names(path) {
        let kind = FileName::parse(name.as_bytes());
        let settled = matches!(kind, Some(FileName::Lock | FileName::Manifest | FileName::Segment(_)));
        assert!(settled, "{name} was left behind");
    }
}

/// A failed first build leaves at most the lock, and room for the next.
fn is_empty(path: &Path) {
    assert!(names(path).iter().all(|name| name == "LOCK"), "{:?}", names(path));
    assert_eq!(open(path).map(|_| ()).unwrap_err().status(), Status::NotFound);
}

/// Runs `job` on a new directory and over an index; both must fail and leave what was there.
fn fails_and_leaves(what: &str, status: Status, run: &dyn Fn(&Path, bool) -> Result<()>) {
    let dir = folder();
    let error = run(dir.path(), false).expect_err(what);
    assert_eq!(error.status(), status, "{what}: {error}");
    assert!(error.message().len() > 20, "{error}");
    is_empty(dir.path());
    build(dir.path(), &rows(300, DIM, 5), DIM, &params()).unwrap();
    let (before, listed) = (answers(&open(dir.path()).unwrap()), names(dir.path()));
    let error = run(dir.path(), true).expect_err(what);
    assert_eq!(error.status(), status, "{what}: {error}");
    assert_eq!(names(dir.path()), listed, "{what}");
    let db = open(dir.path()).unwrap();
    assert_eq!((answers(&db), db.info().generation), (before, 1), "{what}");
}

#[test]
fn a_build_that_is_cancelled_anywhere_leaves_what_was_there() {
    let data = rows(ROWS, DIM, 1);
    let told: Mutex<Vec<String>> = Mutex::default();
    let progress = |phase: &str, done: u64, total: u64| {
        assert!(done <= total, "{phase}: {done} of {total}");
        told.lock().unwrap().push(phase.to_owned());
        true
    };
    let dir = folder();
    let job = Job { progress: Some(&progress), ..Job::default() };
    build_job(dir.path(), &data, DIM, &with_tree(), &job).unwrap();
    let told = told.into_inner().unwrap();
    for phase in ["train", "assign", "encode", "tune", "sync"] {
        assert!(told.iter().any(|t| t == phase), "{phase} was not told: {told:?}");
    }
    let calls = told.iter().position(|phase| phase == "done").unwrap();
    for (stop_at, phase) in told.iter().enumerate().take(calls) {
        let what = format!("stopped at call {stop_at}, {phase}");
        fails_and_leaves(&what, Status::Cancelled, &|path, replace| {
            let seen = AtomicUsize::new(0);
            let progress = |_: &str, _, _| seen.fetch_add(1, Relaxed) < stop_at;
            let job = Job { progress: Some(&progress), ..Job::default() };
            build_job(path, &data, DIM, &BuildParams { replace, ..with_tree() }, &job).map(|_| ())
        });
        fails_and_leaves(&what, Status::Cancelled, &|path, replace| {
            let (seen, token) = (AtomicUsize::new(0), AtomicI32::new(0));
            let progress = |_: &str, _, _| {
                token.store(i32::from(seen.fetch_add(1, Relaxed) >= stop_at), Relaxed);
                true
            };
            let job = Job { progress: Some(&progress), cancel: Some(&token), ..Job::default() };
            build_job(path, &data, DIM, &BuildParams { replace, ..with_tree() }, &job).map(|_| ())
        });
    }
}

#[test]
fn a_build_out_of_time_leaves_what_was_there() {
    let data = rows(ROWS, DIM, 1);
    for threads in [1, 2] {
        fails_and_leaves("one nanosecond", Status::Timeout, &|path, replace| {
            let job = Job { timeout_ns: 1, ..Job::default() };
            let params = BuildParams { replace, threads, ..with_tree() };
            build_job(path, &data, DIM, &params, &job).map(|_| ())
        });
    }
}

#[test]
fn bad_rows_are_named_wherever_they_are() {
    for (value, metric) in [
        (f32::NAN, Metric::L2),
        (f32::INFINITY, Metric::InnerProduct),
        (f32::NEG_INFINITY, Metric::Cosine),
        (1e16, Metric::L2),
        (0.0, Metric::Cosine),
    ] {
        for at in [0, 299, 601, ROWS - 1] {
            let mut data = rows(ROWS, DIM, 1);
            match value {
                0.0 => data[at * DIM..][..DIM].fill(-0.0),
                value => data[at * DIM + at % DIM] = value,
            }
            let what = format!("{value} in row {at}");
            fails_and_leaves(&what, Status::InvalidArgument, &|path, replace| {
                let params = BuildParams { metric, replace, threads: 2, ..with_tree() };
                build(path, &data, DIM, &params).map(|_| ()).inspect_err(|error| {
                    assert_eq!(error.row(), Some(at as u64), "{what}: {error}");
                    assert!(error.message().contains(&format!("row {at} ")), "{what}: {error}");
                })
            });
        }
    }
}

#[test]
fn bad_ids_are_named_before_anything_is_touched() {
    let data = rows(50, DIM, 1);
    let source = ArrayRows::of_floats(&data, DIM).unwrap();
    let dir = folder();
    let path = dir.path().join("new");
    let with = |ids: &[u64]| {
        let error = database::build(&path, &source, Some(ids), &params(), &Job::default()).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument, "{error}");
        assert!(!path.exists(), "the directory was made for nothing");
        error
    };
    let good: Vec<u64> = (100..150).collect();
    let changed = |row: usize, id| {
        let mut ids = good.clone();
        ids[row] = id;
        with(&ids)
    };
    let twice = changed(40, 107);
    assert_eq!(twice.row(), Some(40));
    assert!(twice.message().contains("id 107") && twice.message().contains("row 40"), "{twice}");
    assert_eq!(changed(49, NO_ID).row(), Some(49));
    with(&good[..49]);
    with(&[]);
    let dim =
        database::build(&path, &source, None, &BuildParams { code_bits: 3, ..params() }, &Job::default());
    assert_eq!(dim.unwrap_err().status(), Status::InvalidArgument);
    assert!(!path.exists());
}

#[test]
fn sets_without_shape_are_built_and_searched() {
    let one = [0.5f32; DIM];
    for (what, data) in [
        ("no row", vec![]),
        ("one row", one.to_vec()),
        ("two rows", one.repeat(2)),
        ("all equal", one.repeat(ROWS)),
        ("pairs", rows(ROWS / 2, DIM, 1).repeat(2)),
        ("all but one equal", [one.repeat(ROWS - 1), vec![-3.0; DIM]].concat()),
    ] {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            for params in [params(), with_tree()] {
                let (dir, count) = (folder(), data.len() / DIM);
                build(dir.path(), &data, DIM, &BuildParams { metric, ..params }).unwrap();
                database::verify(dir.path(), &Job::default())
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                let db = open(dir.path()).unwrap();
                assert_eq!(db.rows(), count as u64);
                // More than there are: all of them, each once, in order, and the rest says so.
                let (mut ids, mut distances) = (vec![7; ROWS + 10], vec![7.0; ROWS + 10]);
                let k = ids.len();
                let found = db.search(&one, k, &SearchParams::default(), &mut ids, Some(&mut distances));
                assert_eq!(found.unwrap().count, count, "{what}, {metric:?}");
                assert!(distances.is_sorted(), "{what}, {metric:?}");
                assert!(ids[count..].iter().all(|id| *id == NO_ID), "{what}");
                assert!(distances[count..].iter().all(|d| *d == f32::INFINITY), "{what}");
                ids.truncate(count);
                ids.sort_unstable();
                assert!(ids.iter().copied().eq(0..count as u64), "{what}, {metric:?}");
            }
        }
    }
}

#[test]
fn a_reader_goes_on_while_its_index_is_replaced() {
    for no_mmap in [false, true] {
        let dir = folder();
        build(dir.path(), &rows(ROWS, DIM, 1), DIM, &with_tree()).unwrap();
        let options = OpenOptions { threads: 1, no_mmap, ..OpenOptions::default() };
        let reader = Database::open(dir.path(), &options).unwrap();
        let before = answers(&reader);
        let refused = build(dir.path(), &rows(ROWS, DIM, 2), DIM, &with_tree()).unwrap_err();
        assert_eq!(refused.status(), Status::Exists, "{refused}");
        let replace = BuildParams { replace: true, ..with_tree() };
        let during = |_: &str, _, _| {
            assert_eq!(answers(&reader), before);
            true
        };
        let job = Job { progress: Some(&during), ..Job::default() };
        let report = build_job(dir.path(), &rows(ROWS, DIM, 2), DIM, &replace, &job).unwrap();
        assert_eq!((report.generation, reader.info().generation), (2, 1));
        is_clean(dir.path());
        assert_eq!(answers(&reader), before);
        let mut vector = [0.0; DIM];
        reader.get(&[17], &mut vector, None).unwrap();
        assert_eq!(vector, rows(ROWS, DIM, 1)[17 * DIM..][..DIM]);
        let again = Database::open(dir.path(), &options).unwrap();
        assert_eq!(again.info().generation, 2);
        assert_ne!(answers(&again), before);
    }
}

#[test]
fn an_open_that_meets_a_replacement_gets_the_old_or_the_new() {
    let dir = folder();
    let small = BuildParams { replace: true, ..params() };
    build(dir.path(), &rows(60, DIM, 1), DIM, &small).unwrap();
    let stop = AtomicI32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seed in 0..60 {
                build(dir.path(), &rows(60, DIM, seed), DIM, &small).unwrap();
            }
            stop.store(1, Relaxed);
        });
        let mut last = 0;
        while stop.load(Relaxed) == 0 {
            let generation = open(dir.path()).unwrap().info().generation;
            assert!(generation >= last, "{generation} after {last}");
            last = generation;
        }
    });
}

#[test]
fn a_second_builder_is_told_to_wait() {
    let (dir, data) = (folder(), rows(ROWS, DIM, 1));
    let refused = AtomicUsize::new(0);
    let inside = |_: &str, _, _| {
        let error = build(dir.path(), &data, DIM, &params()).unwrap_err();
        assert_eq!(error.status(), Status::Busy, "{error}");
        refused.fetch_add(1, Relaxed);
        true
    };
    let job = Job { progress: Some(&inside), ..Job::default() };
    build_job(dir.path(), &data, DIM, &with_tree(), &job).unwrap();
    assert!(refused.load(Relaxed) > 4);
    database::verify(dir.path(), &Job::default()).unwrap();
}

#[test]
fn a_damaged_index_is_replaced_only_on_request_and_kept_until_then() {
    let (dir, data) = (folder(), rows(ROWS, DIM, 1));
    build(dir.path(), &data, DIM, &with_tree()).unwrap();
    let manifest = dir.path().join("MANIFEST");
    let good = fs::read(&manifest).unwrap();
    let mut bad = good.clone();
    bad[50] ^= 1;
    fs::write(&manifest, &bad).unwrap();
    let listed = names(dir.path());
    assert_eq!(build(dir.path(), &data, DIM, &with_tree()).unwrap_err().status(), Status::Corrupt);
    assert_eq!(names(dir.path()), listed);
    // A build that fails has not taken away what a copy of the manifest could save.
    let replace = BuildParams { replace: true, ..with_tree() };
    let job = Job { timeout_ns: 1, ..Job::default() };
    let late = build_job(dir.path(), &data, DIM, &replace, &job).unwrap_err();
    assert_eq!((late.status(), names(dir.path())), (Status::Timeout, listed));
    fs::write(&manifest, &good).unwrap();
    database::verify(dir.path(), &Job::default()).unwrap();
    fs::write(&manifest, &bad).unwrap();
    build(dir.path(), &data, DIM, &replace).unwrap();
    assert_eq!(names(dir.path()).len(), 4, "{:?}", names(dir.path()));
    database::verify(dir.path(), &Job::default()).unwrap();
}

#[test]
fn what_a_crash_left_is_removed_and_strangers_stay() {
    let dir = folder();
    for name in
        ["MANIFEST.tmp", "seg-0000000000000001.vdb", "seg-00000000000000ff.vdb", "spill-000000000000000a.tmp"]
    {
        fs::write(dir.path().join(name), "left").unwrap();
    }
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    build(dir.path(), &rows(60, DIM, 1), DIM, &params()).unwrap();
    let left = names(dir.path());
    assert_eq!(left, ["LOCK", "MANIFEST", "notes.txt", "seg-0000000000000001.vdb"]);
}

/// A small index in any directory.
fn build_into(vfs: &Arc<dyn Vfs>, seed: u64, replace: bool) -> Result<()> {
    let data = rows(80, DIM, seed);
    let source = ArrayRows::of_floats(&data, DIM).unwrap();
    build_vfs(vfs, &source, None, &BuildParams { replace, ..params() }, &Job::default()).map(|_| ())
}

/// Generation of the index that is there, checked to the last byte; 0 if there is none.
fn state(vfs: &Arc<dyn Vfs>) -> u64 {
    let options = OpenOptions { threads: 1, check: true, ..OpenOptions::default() };
    match Database::open_vfs(vfs, &options, Instant::now()) {
        Ok(db) => db.info().generation,
        Err(error) => {
            assert_eq!(error.status(), Status::NotFound, "{error}");
            0
        }
    }
}

#[test]
fn a_disk_that_fails_at_any_call_leaves_what_was_there() {
    for replace in [false, true] {
        let prepare = || {
            let inner: Arc<dyn Vfs> = Arc::new(MemVfs::new());
            if replace {
                build_into(&inner, 1, false).unwrap();
            }
            let faulty = FaultVfs::new(Arc::clone(&inner));
            (inner, faulty.clone(), Arc::new(faulty) as Arc<dyn Vfs>)
        };
        let (_, faulty, vfs) = prepare();
        faulty.set_plan(None);
        build_into(&vfs, 2, true).unwrap();
        let calls = faulty.calls();
        let before = u64::from(replace);
        for nth in 1..=calls.len() {
            for fault in [Fault::Errno(libc_enospc()), Fault::Errno(libc_eio()), Fault::TornWrite(libc_eio())]
            {
                for forever in [false, true] {
                    let (inner, faulty, vfs) = prepare();
                    faulty.set_plan(Some(Plan { call: None, nth: nth as u64, forever, fault }));
                    let what = format!("call {nth}, {:?}, {fault:?}, forever: {forever}", calls[nth - 1]);
                    let built = build_into(&vfs, 2, true);
                    let now = state(&inner);
                    match &built {
                        // Only what comes after the commit may fail unseen.
                        Ok(()) => assert_eq!(now, before + 1, "{what}"),
                        Err(error) => sane(error, &what),
                    }
                    assert!(now == before || now == before + 1, "{what}: generation {now}");
                    build_into(&inner, 3, true).unwrap_or_else(|e| panic!("{what}: and the next: {e}"));
                    assert_eq!(inner.list().unwrap().ours.len(), 3, "{what}: {:?}", inner.list());
                }
            }
            let (inner, faulty, vfs) = prepare();
            faulty.set_plan(Some(Plan { call: None, nth: nth as u64, forever: false, fault: Fault::Short }));
            build_into(&vfs, 2, true).unwrap_or_else(|e| panic!("short {nth}: {e}"));
            assert_eq!(state(&inner), before + 1);
        }
        assert!(calls.iter().filter(|call| **call == Call::SyncData).count() >= 2, "{calls:?}");
    }
}

fn libc_enospc() -> i32 {
    28
}

fn libc_eio() -> i32 {
    5
}

/// A failure of the disk, said as such.
fn sane(error: &Error, what: &str) {
    let fair = [Status::Io, Status::DiskFull];
    assert!(fair.contains(&error.status()), "{what}: {:?}: {error}", error.status());
    assert!(error.message().len() > 20, "{what}: {error}");
}

#[test]
fn a_loss_of_power_leaves_the_old_index_or_the_new() {
    let calls = {
        let disk = PowerVfs::new();
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        build_into(&vfs, 1, false).unwrap();
        let first = disk.calls();
        build_into(&vfs, 2, true).unwrap();
        (first, disk.calls())
    };
    for cut in calls.0 + 1..=calls.1 {
        for seed in 0..4 {
            let disk = PowerVfs::new();
            let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
            build_into(&vfs, 1, false).unwrap();
            disk.cut_at(cut);
            let _ = build_into(&vfs, 2, true);
            let vfs: Arc<dyn Vfs> = Arc::new(disk.crash(seed));
            let now = state(&vfs);
            assert!(now == 1 || now == 2, "cut at {cut}, seed {seed}: generation {now}");
            build_into(&vfs, 3, true).unwrap_or_else(|e| panic!("cut at {cut}: and the next: {e}"));
        }
    }
}

/// The vectors of a file in every format that is read, 20 rows of dim 4.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let (count, dim) = (20usize, 4usize);
    let floats: Vec<u8> = rows(count, dim, 3).iter().flat_map(|x| x.to_le_bytes()).collect();
    let halves: Vec<u8> = (0..count * dim).flat_map(|i| (0x3800 + i as u16 * 7).to_le_bytes()).collect();
    let bytes: Vec<u8> = (0..count * dim).map(|i| (i * 37) as u8).collect();
    let npy = |descr: &str, data: &[u8]| {
        let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count}, {dim}), }}\n");
        [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
    };
    let each = |data: &[u8], row: usize| -> Vec<u8> {
        data.chunks(row).flat_map(|row| [&(dim as u32).to_le_bytes()[..], row].concat()).collect()
    };
    let head = [(count as u32).to_le_bytes(), (dim as u32).to_le_bytes()].concat();
    let made = [
        ("a.npy", npy("<f4", &floats)),
        ("b.npy", npy("<f2", &halves)),
        ("c.npy", npy("|u1", &bytes)),
        ("d.fvecs", each(&floats, 4 * dim)),
        ("e.bvecs", each(&bytes, dim)),
        ("f.fbin", [&head[..], &floats].concat()),
        ("g.u8bin", [&head[..], &bytes].concat()),
    ];
    made.into_iter()
        .map(|(name, content)| {
            let path = dir.join(name);
            fs::write(&path, content).unwrap();
            path
        })
        .collect()
}

/// Builds from a file; what fails must leave no index and say why.
fn from_file(vectors: &Path, index: &Path) -> Result<u64> {
    let built = database::build_from_file(index, vectors, None, &params(), &Job::default());
    if let Err(error) = &built {
        let fair = [
            Status::Corrupt,
            Status::Format,
            Status::InvalidArgument,
            Status::Unsupported,
            Status::OutOfMemory,
        ];
        assert!(fair.contains(&error.status()), "{}: {:?}: {error}", vectors.display(), error.status());
        assert!(error.message().len() > 20, "{error}");
        if index.exists() {
            is_empty(index);
        }
    }
    built.map(|report| report.rows)
}

#[test]
fn every_format_is_built_from_and_no_damage_of_it_hurts() {
    let dir = folder();
    let mut random = Random(5);
    for path in files(dir.path()) {
        let good = fs::read(&path).unwrap();
        let index = dir.path().join("index");
        assert_eq!(from_file(&path, &index).unwrap(), 20, "{}", path.display());
        assert_eq!(open(&index).unwrap().dim(), 4);
        fs::remove_dir_all(&index).unwrap();
        for cut in (0..good.len()).step_by(7).chain([good.len() - 1]) {
            fs::write(&path, &good[..cut]).unwrap();
            // Formats without a head are whole after any whole row.
            let whole = path.extension().is_some_and(|e| e == "fvecs" || e == "bvecs");
            match from_file(&path, &index) {
                Ok(count) => assert!(whole && count < 20, "{} cut to {cut}", path.display()),
                Err(error) => assert!(error.message().contains(path.to_str().unwrap()), "{error}"),
            }
            let _ = fs::remove_dir_all(&index);
        }
        for _ in 0..150 {
            let mut bytes = good.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len().min(96));
                bytes[at] = [random.word() as u8, 0, 0xff, bytes[at] ^ 1][random.below(4)];
            }
            fs::write(&path, &bytes).unwrap();
            let _ = from_file(&path, &index);
            let _ = fs::remove_dir_all(&index);
        }
    }
    for (name, content, status) in [
        ("x.npy", "{'descr': '<f4', 'fortran_order': True, 'shape': (4, 5), }\n", Status::Unsupported),
        ("x.npy", "{'descr': '<f8', 'fortran_order': False, 'shape': (4, 5), }\n", Status::Unsupported),
        ("x.npy", "{'descr': '>f4', 'fortran_order': False, 'shape': (4, 5), }\n", Status::Unsupported),
        ("x.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (20,), }\n", Status::Unsupported),
        ("x.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 0), }\n", Status::InvalidArgument),
        (
            "x.npy",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999, 5), }\n",
            Status::Corrupt,
        ),
        ("x.txt", "1 2 3\n", Status::InvalidArgument),
    ] {
        let path = dir.path().join(name);
        let text =
            [b"\x93NUMPY\x01\x00", &(content.len() as u16).to_le_bytes()[..], content.as_bytes()].concat();
        fs::write(&path, [&text[..], &[0; 80]].concat()).unwrap();
        let error = from_file(&path, &dir.path().join("index")).unwrap_err();
        assert_eq!(error.status(), status, "{content}: {error}");
    }
}

#[test]
fn estimates_of_any_size_are_numbers_or_refusals() {
    for rows in [0, 1, 1 << 32, 1 << 48, u64::MAX] {
        for dim in [0, 1, 768, 65_536, 65_537, usize::MAX] {
            for segment_rows in [0, 1, 1 << 20, u64::MAX] {
                let params = BuildParams { segment_rows, ..params() };
                match database::estimate(rows, dim, ElementType::F32, GivenIds::None, &params) {
                    Ok(told) => assert!(told.index_disk_bytes <= told.build_disk_bytes && rows < u64::MAX),
                    Err(error) => assert_eq!(error.status(), Status::InvalidArgument, "{error}"),
                }
            }
        }
    }
}

#[test]
fn an_index_opens_with_the_memory_that_was_estimated() {
    let sizes = [(1, 2), (20, 2), (20, 100), (20, 1024), (300, 2), (300, 100), (300, 1024), (20_000, 2)];
    for (count, dim) in sizes.into_iter().chain([(20_000, 100), (4_000, 1024)]) {
        let values = rows(count, dim, 3);
        for (flat, leaf_rows, metric) in [
            (true, 0, Metric::L2),
            (false, 0, Metric::Cosine),
            (false, 7, Metric::L2),
            (false, 48, Metric::L2),
        ] {
            let dir = folder();
            let params = BuildParams { flat, leaf_rows, metric, ..params() };
            build(dir.path(), &values, dim, &params).unwrap();
            let told =
                database::estimate(count as u64, dim, ElementType::F32, GivenIds::None, &params).unwrap();
            let open = |memory_limit_bytes| {
                let options = OpenOptions { memory_limit_bytes, threads: 1, ..OpenOptions::default() };
                Database::open(dir.path(), &options)
            };
            let needed = open(1).map(|_| ()).unwrap_err().needed_bytes().unwrap();
            let told = told.open_memory_bytes;
            assert!((needed..=2 * needed).contains(&told), "{count} x {dim}: {told} told, {needed} needed");
            let db = open(told).unwrap();
            let (mut ids, query) = ([0; 10], &values[..dim]);
            db.search(query, 10, &SearchParams::default(), &mut ids, None).unwrap();
            db.cursor(query, &SearchParams::default()).unwrap().next(10, &mut ids, None, None).unwrap();
            assert!(db.memory().total_bytes <= told);
        }
    }
}
