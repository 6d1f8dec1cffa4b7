//! What no caller can time or see from outside: threads of a build, one deadline a batch, lines of log, syncs, reads,
//! advice, and files whose checksums are right and whose content is not.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::handle::TileJob;
use super::*;
use crate::format::{Manifest, SectionKind, SectionSpec, SegmentFile, SegmentWriter};
use crate::input::{ArrayRows, Rows};
use crate::memory::AlignedBytes;
use crate::pool::cancel::Stop;
use crate::search::candidates::{Candidate, Candidates};
use crate::search::rerank::{by_bound, Exact, Reader};
use crate::stats::SearchStats;
use crate::topk::heap::TopK;
use crate::types::params::{BuildParams, LinkMode, SearchParams, RERANK_ALL};
use crate::types::rng::SplitMix64;
use crate::types::{ElementType, Result, Status};
use crate::vfs::faulty::{Call, Fault, FaultVfs, Plan};
use crate::vfs::{self, FileName, MemVfs, OsVfs, Vfs};

mod limits;
mod links;

const DIM: usize = 8;
const ROWS: usize = 3_000;

fn floats(seed: u64) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..ROWS * DIM).map(|_| random.below(2_001) as f32 * 0.001 - 1.0).collect()
}

fn params() -> BuildParams {
    BuildParams { leaf_rows: 16, threads: 1, ..BuildParams::default() }
}

fn build_into(vfs: &Arc<dyn Vfs>, replace: bool) -> Result<()> {
    let floats = floats(1);
    let source = ArrayRows::of_floats(&floats, DIM).unwrap();
    create::build_vfs(vfs, &source, None, &BuildParams { replace, ..params() }, &Job::default()).map(|_| ())
}

fn open(vfs: &Arc<dyn Vfs>, options: OpenOptions) -> Database {
    Database::open_vfs(vfs, &OpenOptions { threads: 1, ..options }, Instant::now()).unwrap()
}

fn index() -> (Arc<dyn Vfs>, Database) {
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    build_into(&vfs, false).unwrap();
    let database = open(&vfs, OpenOptions::default());
    (vfs, database)
}

/// Counts how many threads read at the same time.
struct Crowd<'a> {
    rows: ArrayRows<'a>,
    inside: AtomicUsize,
    most: AtomicUsize,
    announced: AtomicUsize,
}

impl<'a> Crowd<'a> {
    fn new(rows: ArrayRows<'a>) -> Self {
        let [inside, most, announced] = Default::default();
        Crowd { rows, inside, most, announced }
    }

    fn through<T>(&self, work: impl FnOnce() -> T) -> T {
        self.most.fetch_max(self.inside.fetch_add(1, SeqCst) + 1, SeqCst);
        // Lets the others come in.
        std::thread::sleep(Duration::from_micros(200));
        let value = work();
        self.inside.fetch_sub(1, SeqCst);
        value
    }
}

impl Rows for Crowd<'_> {
    fn rows(&self) -> u64 {
        self.rows.rows()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn element_type(&self) -> ElementType {
        self.rows.element_type()
    }

    fn read(&self, first: u64, count: usize, out: &mut [u8]) -> Result<()> {
        self.through(|| self.rows.read(first, count, out))
    }

    fn gather(&self, rows: &[u64], out: &mut [u8]) -> Result<()> {
        self.through(|| self.rows.gather(rows, out))
    }

    fn announce(&self, rows: &[u64]) {
        self.announced.fetch_add(rows.len(), SeqCst);
    }

    fn describe(&self) -> String {
        self.rows.describe()
    }
}

#[test]
fn rows_in_memory_are_not_announced() {
    let floats = floats(1);
    let rows = ArrayRows::of_floats(&floats, DIM).unwrap();
    let source = Crowd::new(rows);
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    let params = BuildParams { leaf_rows: 8, ..params() };
    create::build_vfs(&vfs, &source, None, &params, &Job::default()).unwrap();
    assert_eq!(source.announced.into_inner(), 0);
}

#[test]
fn a_build_uses_no_more_of_a_lent_pool_than_its_memory_limit_allows() {
    let floats = floats(1);
    let pool = crate::pool::Pool::new(16);
    let told = |threads| {
        let params = BuildParams { threads, ..params() };
        let told = create::estimate(ROWS as u64, DIM, ElementType::F32, GivenIds::None, &params);
        told.unwrap().build_memory_best_bytes
    };
    for (limit, fits) in [(told(1), 1), (told(2), 2), (told(16), 16)] {
        let rows = ArrayRows::of_floats(&floats, DIM).unwrap();
        let source = Crowd::new(rows);
        let params = BuildParams { memory_limit_bytes: limit, ..params() };
        let job = Job { pool: Some(&pool), ..Job::default() };
        let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
        let report = create::build_vfs(&vfs, &source, None, &params, &job).unwrap();
        let most = source.most.into_inner();
        assert!(most <= fits, "{most} threads held rows where {fits} fit");
        assert!(report.peak_bytes <= limit);
    }
}

#[test]
fn all_tiles_of_a_batch_stop_by_the_deadline_of_the_call() {
    let (_, database) = index();
    let queries = floats(2);
    let passed = Stop::NEVER.with_timeout(Duration::ZERO);
    for exact in [false, true] {
        // A time limit of a tile's own would last an hour.
        let params = SearchParams { exact, timeout_ns: 3_600_000_000_000, ..SearchParams::default() };
        for queries in queries.chunks(5 * DIM).take(3) {
            let (mut ids, mut counts) = ([0; 15], [0; 5]);
            let mut job = TileJob { queries, ids: &mut ids, distances: None, counts: &mut counts };
            let call = database.call(3, &params, passed);
            let mut scratch = database.inner.scratches.take(0).unwrap();
            let error = database.run_tile(&mut job, &call, 1, &mut scratch).unwrap_err();
            assert_eq!(error.status(), Status::Timeout);
        }
        let (mut ids, params) = (vec![0; 300], SearchParams { timeout_ns: 1, ..params });
        let late = database.batch_search(&queries[..100 * DIM], DIM, 3, &params, &mut ids, None, None);
        assert_eq!(late.unwrap_err().status(), Status::Timeout);
    }
}

#[test]
fn all_rounds_of_a_cursor_stop_by_the_deadline_of_the_call() {
    let (_, database) = index();
    let query = &floats(2)[..DIM];
    // A time limit of a round's own would last an hour.
    let params = SearchParams { timeout_ns: 3_600_000_000_000, ..SearchParams::default() };
    let mut cursor = database.cursor(query, &params).unwrap();
    let passed = Stop::NEVER.with_timeout(Duration::ZERO);
    assert_eq!(cursor.fetch(10, passed).unwrap_err().status(), Status::Timeout);
    assert_eq!(cursor.next(10, &mut [0; 10], None, None).unwrap(), 10);
}

#[test]
fn threads_without_a_query_of_their_own_help() {
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    let floats = floats(1);
    let source = ArrayRows::of_floats(&floats, DIM).unwrap();
    let small = BuildParams { segment_rows: 1_000, ..params() };
    create::build_vfs(&vfs, &source, None, &small, &Job::default()).unwrap();
    let options = OpenOptions { threads: 4, ..OpenOptions::default() };
    let database = Database::open_vfs(&vfs, &options, Instant::now()).unwrap();
    // An exact search looks here once, and before the unit of work that it has in each segment.
    let seen: Mutex<HashSet<ThreadId>> = Mutex::default();
    let (looks, started) = (AtomicUsize::new(0), Instant::now());
    let crowded = || {
        if looks.fetch_add(1, SeqCst) == 0 {
            return false;
        }
        seen.lock().unwrap().insert(thread::current().id());
        while seen.lock().unwrap().len() < 2 && started.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        false
    };
    let (mut ids, mut counts) = ([0; 3], [0; 1]);
    let params = SearchParams { exact: true, ..SearchParams::default() };
    let call = database.call(3, &params, Stop::NEVER.with_callback(&crowded));
    let job = TileJob { queries: &floats[..DIM], ids: &mut ids, distances: None, counts: &mut counts };
    database.run_batch(job, &call, 4).unwrap();
    assert_eq!((ids[0], counts[0]), (0, 3));
    assert!(seen.into_inner().unwrap().len() > 1, "one thread did it all");
    // More than the pool has are not asked for.
    assert_eq!(database.threads(&SearchParams { threads: 64, ..params }), 4);
    assert_eq!(database.threads(&SearchParams { threads: 3, ..params }), 3);
}

#[test]
fn lines_below_the_level_are_not_made() {
    let (vfs, _) = index();
    for (level, lines) in [
        (None, 0),
        (Some(LogLevel::Error), 0),
        (Some(LogLevel::Warn), 0),
        (Some(LogLevel::Info), 1),
        (Some(LogLevel::Debug), 1),
    ] {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let log: LogFn = {
            let heard = Arc::clone(&heard);
            Arc::new(move |_, line: &str| heard.lock().unwrap().push(line.into()))
        };
        open(&vfs, OpenOptions { log: Some(log), log_level: level, no_mmap: true, ..OpenOptions::default() });
        assert_eq!(heard.lock().unwrap().len(), lines, "{level:?}");
    }
}

#[test]
fn a_peak_is_remembered_though_nobody_looked() {
    let (_, database) = index();
    let floats = floats(2);
    let mut ids = [0; 10];
    for query in floats.chunks(DIM).take(50) {
        database.search(query, 10, &SearchParams::default(), &mut ids, None).unwrap();
    }
    let held = database.cache(CacheKind::Answers).used_bytes;
    database.cache_clear(CacheKind::Answers);
    let memory = database.memory();
    assert!(held > 0 && memory.answer_cache_bytes == 0 && memory.scratch_bytes > 0);
    // While they ran, searches had more than they left.
    assert!(memory.peak_bytes > memory.total_bytes + held);
    let cursor = database.cursor(&floats[..DIM], &SearchParams::default()).unwrap();
    let with_cursor = database.memory();
    assert!(
        with_cursor.other_bytes > 0 && with_cursor.peak_bytes == memory.peak_bytes + with_cursor.other_bytes
    );
    drop(cursor);
    assert_eq!(database.memory().peak_bytes, with_cursor.peak_bytes);
}

#[test]
fn warming_reads_every_vector_and_stops_when_told() {
    let (vfs, _) = index();
    let faulty = FaultVfs::new(vfs);
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    let database = open(&vfs, OpenOptions::default());
    let warm = |job: &Job<'_>| database.advise(Part::Vectors, Advice::Warm, job).map_err(|e| e.status());
    let told: Mutex<Vec<(String, u64, u64)>> = Mutex::default();
    let progress = |phase: &str, done: u64, total: u64| {
        told.lock().unwrap().push((phase.into(), done, total));
        true
    };
    let reads = |calls: Vec<Call>| calls.into_iter().filter(|call| *call == Call::Read).count();
    let before = reads(faulty.calls());
    assert_eq!(warm(&Job { progress: Some(&progress), ..Job::default() }), Ok(()));
    assert_eq!(reads(faulty.calls()) - before, 1, "less than what is read at a time");
    assert_eq!(*told.lock().unwrap(), [("warm".into(), 0, ROWS as u64)]);
    let (token, no) = (AtomicI32::new(1), |_: &str, _: u64, _: u64| false);
    assert_eq!(warm(&Job { cancel: Some(&token), ..Job::default() }), Err(Status::Cancelled));
    assert_eq!(warm(&Job { progress: Some(&no), ..Job::default() }), Err(Status::Cancelled));
    assert_eq!(warm(&Job { timeout_ns: 1, ..Job::default() }), Err(Status::Timeout));
    let fault = Fault::Errno(libc::EIO);
    faulty.set_plan(Some(Plan { call: Some(Call::Read), nth: 1, forever: true, fault }));
    assert_eq!(warm(&Job::default()), Err(Status::Io));
}

#[test]
fn verifying_keeps_its_limits() {
    let (vfs, _) = index();
    let verify = |memory_limit_bytes, progress| {
        verify::verify_vfs(&vfs, &Job { memory_limit_bytes, progress, ..Job::default() })
    };
    let error = verify(1_000, None).unwrap_err();
    assert_eq!(error.status(), Status::OutOfMemory);
    let needed = error.needed_bytes().unwrap();
    assert!(needed > ROWS as u64 && verify(needed - 1, None).is_err());
    let (calls, started) = (AtomicUsize::new(0), Instant::now());
    let count = |_: &str, _: u64, _: u64| calls.fetch_add(1, SeqCst) < usize::MAX;
    verify(needed, Some(&count)).unwrap();
    let most = 2 + started.elapsed().as_millis() as usize / 100;
    assert!((1..=most).contains(&calls.into_inner()), "at most ten times a second, and at the end");
}

/// Copies the index of `vfs` with all checksums right; `change` may give a section another content, or leave it out.
fn rewritten(
    vfs: &Arc<dyn Vfs>,
    change: impl Fn(SectionSpec, Vec<u8>) -> Option<(SectionSpec, Vec<u8>)>,
) -> Arc<dyn Vfs> {
    let manifest = Manifest::load(&**vfs).unwrap();
    let file = SegmentFile::open(&**vfs, &manifest, &manifest.segments[0]).unwrap();
    let copy: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    let mut writer = SegmentWriter::create(&copy, *file.header()).unwrap();
    for section in file.sections() {
        let spec = match section.stride {
            0 => SectionSpec::opaque(section.kind, section.bytes),
            stride => SectionSpec::array(section.kind, section.count, stride),
        };
        let content = file.read(section.kind).unwrap().to_vec();
        let Some((spec, content)) = change(spec.unwrap(), content) else { continue };
        let slot = writer.reserve(spec).unwrap();
        writer.append(slot, &content).unwrap();
    }
    let entry = writer.finish().unwrap();
    Manifest { segments: vec![entry], ..manifest }.commit(&*copy).unwrap();
    copy
}

/// Copies the index of `vfs`, its recall table left out or of a later version.
fn without_recall_table(vfs: &Arc<dyn Vfs>, later: bool) -> Arc<dyn Vfs> {
    rewritten(vfs, |mut spec, content| {
        if spec.kind == SectionKind::RECALL_TABLE {
            spec.version += 1;
            return later.then_some((spec, content));
        }
        Some((spec, content))
    })
}

#[test]
fn centroids_are_held_against_their_nodes() {
    let (vfs, _) = index();
    let check = |copy: &Arc<dyn Vfs>| {
        let opened = Database::open_vfs(copy, &OpenOptions::default(), Instant::now()).map(|_| ());
        (opened, verify::verify_vfs(copy, &Job::default()))
    };
    let (opened, verified) = check(&rewritten(&vfs, |spec, content| Some((spec, content))));
    assert!(opened.is_ok() && verified.is_ok());
    // Fewer than the nodes, and more: a read of the last would meet what lies behind.
    for more in [-1i64, 1] {
        let copy = rewritten(&vfs, |spec, mut content| {
            if spec.kind != SectionKind::CENTROIDS {
                return Some((spec, content));
            }
            let count = spec.count.checked_add_signed(more).unwrap();
            content.resize(count as usize * spec.stride as usize, 0);
            Some((SectionSpec::array(spec.kind, count, spec.stride).unwrap(), content))
        });
        let (opened, verified) = check(&copy);
        assert_eq!(opened.unwrap_err().status(), Status::Corrupt);
        assert_eq!(verified.unwrap_err().status(), Status::Corrupt);
    }
    // What is no number is not looked for by an open, which stays short.
    for bad in [f32::NAN, f32::INFINITY] {
        let copy = rewritten(&vfs, |spec, mut content| {
            if spec.kind == SectionKind::CENTROIDS {
                let last = content.len() - 4;
                content[last..].copy_from_slice(&bad.to_le_bytes());
            }
            Some((spec, content))
        });
        let (opened, verified) = check(&copy);
        let error = verified.unwrap_err();
        assert!(opened.is_ok() && error.status() == Status::Corrupt, "{error}");
        assert!(error.message().contains("centroid"), "{error}");
    }
}

#[test]
fn advice_reaches_the_file_on_both_paths() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Vfs> = OsVfs::open_dir(dir.path()).unwrap();
    build_into(&disk, false).unwrap();
    for no_mmap in [false, true] {
        let faulty = FaultVfs::new(Arc::clone(&disk));
        let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
        let database = open(&vfs, OpenOptions { no_mmap, ..OpenOptions::default() });
        let vectors = &database.inner.snapshot.segments[0].vectors;
        let bytes = u64::from(vectors.rows()) * vectors.stride() as u64;
        let last = || faulty.advices().last().map(|(advice, _, len)| (*advice, *len));
        // Sections were read from front to back; rows will not be.
        assert_eq!(last(), Some((vfs::Advice::Random, bytes)));
        for (advice, told) in [
            (Advice::Cold, vfs::Advice::DontNeed),
            (Advice::Scan, vfs::Advice::Sequential),
            (Advice::Random, vfs::Advice::Random),
        ] {
            database.advise(Part::Vectors, advice, &Job::default()).unwrap();
            assert_eq!(last(), Some((told, bytes)));
        }
    }
}

/// The lines of a call, with their levels.
#[derive(Default)]
struct Heard(Mutex<Vec<(LogLevel, String)>>);

impl Heard {
    fn line(&self, level: LogLevel, line: &str) {
        self.0.lock().unwrap().push((level, line.to_owned()));
    }

    /// Those of a level; forgets all.
    fn take(&self, level: LogLevel) -> Vec<String> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.into_iter().filter(|line| line.0 == level).map(|line| line.1).collect()
    }
}

#[test]
fn a_build_says_that_it_is_done_and_what_was_not_as_asked() {
    let (floats, heard) = (floats(1), Heard::default());
    let source = ArrayRows::of_floats(&floats, DIM).unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    let log = |level: LogLevel, line: &str| heard.line(level, line);
    let job = Job { log: Some(&log), ..Job::default() };
    let build = |params: BuildParams| create::build_vfs(&vfs, &source, None, &params, &job).unwrap();
    build(params());
    let lines = heard.take(LogLevel::Info);
    assert!(lines.len() == 1 && lines[0].contains("3000 rows"), "{lines:?}");
    let one = create::estimate(ROWS as u64, DIM, ElementType::F32, GivenIds::None, &params()).unwrap();
    let limit = one.build_memory_bytes;
    build(BuildParams { threads: 1, replace: true, ..params() });
    assert_eq!(heard.take(LogLevel::Warn), [""; 0]);
    build(BuildParams { threads: 2, memory_limit_bytes: limit, replace: true, ..params() });
    let lines = heard.take(LogLevel::Warn);
    assert!(lines.len() == 2 && lines[0].contains("1 threads of 2"), "{lines:?}");
    assert!(lines[1].contains("rows are not linked"), "{lines:?}");
    vfs.remove(FileName::Manifest).unwrap();
    vfs.create_new(FileName::Manifest).unwrap();
    build(BuildParams { replace: true, ..params() });
    let lines = heard.take(LogLevel::Warn);
    assert!(lines.len() == 1 && lines[0].contains("damaged"), "{lines:?}");
}

#[test]
fn an_open_warns_of_less_than_was_asked() {
    let (vfs, _) = index();
    let heard: Arc<Heard> = Arc::default();
    let warnings = |options: OpenOptions| {
        let ear = Arc::clone(&heard);
        let log: LogFn = Arc::new(move |level, line| ear.line(level, line));
        open(&vfs, OpenOptions { log: Some(log), ..options });
        heard.take(LogLevel::Warn)
    };
    let read = OpenOptions { no_mmap: true, ..OpenOptions::default() };
    assert_eq!(warnings(read.clone()), [""; 0]);
    let lines = warnings(OpenOptions::default());
    assert!(lines.len() == 1 && lines[0].contains("mapped"), "memory has no mappings: {lines:?}");
    let lines =
        warnings(OpenOptions { vector_cache_bytes: Some(1 << 40), memory_limit_bytes: 64 << 20, ..read });
    assert!(lines.len() == 1 && lines[0].contains("the vector cache"), "{lines:?}");
}

#[test]
fn a_build_asks_the_clock_then_memory_and_then_its_ids() {
    let floats = floats(1);
    let source = ArrayRows::of_floats(&floats, DIM).unwrap();
    let ids = vec![7; ROWS];
    let build = |memory_limit_bytes, timeout_ns| {
        let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
        let params = BuildParams { memory_limit_bytes, ..params() };
        let job = Job { timeout_ns, ..Job::default() };
        let error = create::build_vfs(&vfs, &source, Some(&ids), &params, &job).unwrap_err();
        assert_eq!(vfs.list().unwrap().ours, []);
        error.status()
    };
    assert_eq!(build(0, 0), Status::InvalidArgument, "an id twice");
    assert_eq!(build(1_000, 0), Status::OutOfMemory);
    assert_eq!(build(0, 1), Status::Timeout);
}

#[test]
fn the_ids_of_a_build_are_in_its_memory() {
    let told = |ids, segment_rows| {
        let params = BuildParams { segment_rows, ..params() };
        let rows = 10_000_000;
        create::estimate(rows, DIM, ElementType::F32, ids, &params).unwrap().build_memory_bytes
    };
    for segment_rows in [0, 100_000] {
        let none = told(GivenIds::None, segment_rows);
        // Sorted once before the work, when the work's own memory is not yet needed.
        assert_eq!(told(GivenIds::Lent, segment_rows), none.max(80_000_000));
        // And from a file held beside it.
        assert_eq!(told(GivenIds::File, segment_rows), none.max(80_000_000) + 80_000_000);
    }
}

#[test]
fn each_phase_is_reported_once() {
    let floats = floats(1);
    let source = ArrayRows::of_floats(&floats, DIM).unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    let params = BuildParams { segment_rows: 500, ..params() };
    let report = create::build_vfs(&vfs, &source, None, &params, &Job::default()).unwrap();
    let phases: Vec<&str> = report.phases.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(phases, ["partition", "encode", "write", "link", "tune", "sync"]);
}

#[test]
fn without_a_recall_table_that_we_know_every_leaf_is_visited() {
    let (vfs, whole) = index();
    let query = &floats(3)[..DIM];
    let mut exact = [0; 10];
    let params = SearchParams { exact: true, ..SearchParams::default() };
    whole.search(query, 10, &params, &mut exact, None).unwrap();
    for later in [false, true] {
        let database = open(&without_recall_table(&vfs, later), OpenOptions::default());
        let (mut ids, params) = ([0; 10], SearchParams { recall: 0.5, ..SearchParams::default() });
        let stats = database.search(query, 10, &params, &mut ids, None).unwrap().stats;
        assert_eq!(stats.probes, database.inner.snapshot.segments[0].index.tree.leaf_count());
        let common = ids.iter().filter(|id| exact.contains(id)).count();
        assert!(common >= 8, "{common} of 10, later: {later}");
        let params = SearchParams { probes: 2, ..SearchParams::default() };
        assert_eq!(database.search(query, 10, &params, &mut ids, None).unwrap().count, 10);
    }
}

#[test]
fn reranking_looks_at_the_token_every_few_rows() {
    let (_, database) = index();
    let snapshot = &database.inner.snapshot;
    let query = &floats(4)[..DIM];
    let exact = Exact::new(database.inner.kernels, snapshot.metric, snapshot.element, query);
    let candidates = std::cell::RefCell::new(Candidates::default());
    candidates.borrow_mut().reset(100, 100, f32::INFINITY).unwrap();
    for position in 0..100 {
        candidates.borrow_mut().push(Candidate { bound: f32::NEG_INFINITY, segment: 0, position }, 0.0);
    }
    let rerank = |stop: &Stop<'_>| {
        let (mut row, mut stats, mut top) = (AlignedBytes::empty(), SearchStats::default(), TopK::default());
        top.reset(100);
        let mut reader = Reader { cache: None, row: &mut row, stats: &mut stats };
        let candidates = &mut candidates.borrow_mut();
        let plan = crate::search::Plan::new(snapshot, 100, &SearchParams::default(), *stop);
        by_bound(snapshot, candidates, &exact, &plan, &mut top, &mut reader)?;
        Ok::<_, crate::types::Error>(top.len())
    };
    let looks = AtomicUsize::new(0);
    let count = || looks.fetch_add(1, SeqCst) == usize::MAX;
    assert_eq!(rerank(&Stop::NEVER.with_callback(&count)).unwrap(), 100);
    // Rows in memory are not mapped: each may be a read.
    assert_eq!(looks.into_inner(), 100usize.div_ceil(8));
    let token = AtomicI32::new(1);
    assert_eq!(rerank(&Stop::NEVER.with_token(&token)).unwrap_err().status(), Status::Cancelled);
}

#[test]
fn a_sync_of_the_directory_that_failed_is_not_repeated() {
    for nth in 1.. {
        let inner: Arc<dyn Vfs> = Arc::new(MemVfs::new());
        build_into(&inner, false).unwrap();
        let faulty = FaultVfs::new(Arc::clone(&inner));
        let fault = Fault::Errno(libc::EIO);
        faulty.set_plan(Some(Plan { call: Some(Call::SyncDir), nth, forever: false, fault }));
        let built = build_into(&(Arc::new(faulty.clone()) as Arc<dyn Vfs>), true);
        if faulty.fired() == 0 {
            built.unwrap();
            assert!(nth > 4, "{nth}");
            break;
        }
        assert_eq!(built.unwrap_err().status(), Status::Io);
        let calls = faulty.calls();
        let syncs = calls.iter().filter(|call| **call == Call::SyncDir).count() as u64;
        assert_eq!(syncs, nth, "a sync after the one that failed: {calls:?}");
        // The next build writes and syncs the manifest before it removes what that does not name.
        let next = FaultVfs::new(Arc::clone(&inner));
        build_into(&(Arc::new(next.clone()) as Arc<dyn Vfs>), true).unwrap();
        let calls = next.calls();
        let renamed = calls.iter().position(|call| *call == Call::Rename).unwrap();
        assert!(calls[renamed..].starts_with(&[Call::Rename, Call::SyncDir, Call::List]), "{calls:?}");
        assert_eq!(inner.list().unwrap().ours.len(), 2 + 1, "{:?}", inner.list());
    }
}
