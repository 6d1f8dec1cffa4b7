//! A build job -> a committed generation.
//!
//! Segments are written to files of their own numbers, synced, and become the index by the commit of the manifest: one
//! rename. Until then a reader sees what was there before, or no index. What a failed or killed build leaves behind is
//! removed: by the build itself, or by the next.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::build::layout::BuildLayout;
use crate::build::{self, Work};
use crate::database::open::{memory_limit, WORKING_BYTES_MIN};
use crate::database::options::{no_threads, thread_count, Job, LogLevel};
use crate::database::report::{BuildReport, Estimate};
use crate::database::throttle::Throttle;
use crate::format::manifest::SEGMENTS_MAX;
use crate::format::{remove_strays, Manifest, SegmentHeader, SegmentWriter};
use crate::input::{self, Rows};
use crate::kernels::Kernels;
use crate::memory::{try_collect, try_push, try_vec};
use crate::pool::cancel::Stop;
use crate::pool::Pool;
use crate::types::params::{BuildParams, LinkMode, NO_ID, SEGMENT_ROWS_MAX};
use crate::types::rng::SplitMix64;
use crate::types::{ElementType, Error, Metric, Result, Status};
use crate::vfs::{FileName, OsVfs, Vfs};

/// Builds an index in the directory `path` from `source`, and commits it. `ids[i]` is the id of row `i`; without,
/// ids are 0 to rows - 1.
///
/// # Errors
/// `VDB_EXISTS` unless `params.replace`, `VDB_INVALID_ARGUMENT` ([`Error::row`] names the row), `VDB_DISK_FULL`,
/// `VDB_IO`, `VDB_BUSY`, `VDB_OUT_OF_MEMORY` ([`Error::needed_bytes`]), `VDB_CANCELLED`, `VDB_TIMEOUT`.
pub fn build(
    path: &Path,
    source: &dyn Rows,
    ids: Option<&[u64]>,
    params: &BuildParams,
    job: &Job<'_>,
) -> Result<BuildReport> {
    // Before the directory is touched.
    let plan = Plan::with_ids(source, ids, params, job)?;
    build_at(path, source, ids, params, job, &plan)
}

fn build_at(
    path: &Path,
    source: &dyn Rows,
    ids: Option<&[u64]>,
    params: &BuildParams,
    job: &Job<'_>,
    plan: &Plan<'_>,
) -> Result<BuildReport> {
    let vfs: Arc<dyn Vfs> = match OsVfs::open_dir(path) {
        Err(error) if error.status() == Status::NotFound => OsVfs::create_dir(path)?,
        opened => opened?,
    };
    build_planned(&vfs, source, ids, params, job, plan)
}

/// Builds in the directory of any [`Vfs`].
///
/// # Errors
/// As [`build`].
pub fn build_vfs(
    vfs: &Arc<dyn Vfs>,
    source: &dyn Rows,
    ids: Option<&[u64]>,
    params: &BuildParams,
    job: &Job<'_>,
) -> Result<BuildReport> {
    build_planned(vfs, source, ids, params, job, &Plan::with_ids(source, ids, params, job)?)
}

fn build_planned(
    vfs: &Arc<dyn Vfs>,
    source: &dyn Rows,
    ids: Option<&[u64]>,
    params: &BuildParams,
    job: &Job<'_>,
    plan: &Plan<'_>,
) -> Result<BuildReport> {
    let started = Instant::now();
    plan.stop.check()?;
    let guard = vfs.lock().map_err(|e| Error::io(format_args!("{}: cannot lock", vfs.display()), &e))?;
    let Some(_guard) = guard else {
        let what = format_args!("{} is being written by another build; wait for it", vfs.display());
        return Err(Error::new(Status::Busy, what));
    };
    let before = Before::load(&**vfs, params.replace)?;
    let tell = |level, line: fmt::Arguments<'_>| job.tell(level, format_args!("{}: {line}", vfs.display()));
    if matches!(before, Before::Damaged) {
        tell(LogLevel::Warn, format_args!("the index that is here is damaged; it is replaced"));
    }
    if plan.threads < plan.threads_asked {
        let (threads, asked) = (plan.threads, plan.threads_asked);
        tell(LogLevel::Warn, format_args!("the memory limit has room for {threads} threads of {asked}"));
    }
    if let Some(bytes) = plan.unlinked_for {
        let what = "rows are not linked: making links needs";
        tell(LogLevel::Warn, format_args!("{what} {bytes} bytes, and the memory limit has no room"));
    }
    before.make_durable(&**vfs)?;
    sweep(&**vfs, &|number| before.keeps(number), job)?;
    let mut report =
        BuildReport { rows: source.rows(), peak_bytes: plan.memory_bytes, ..BuildReport::default() };
    let own_pool;
    let pool = match job.pool {
        Some(pool) => pool,
        None => {
            own_pool = Pool::new(plan.threads);
            &own_pool
        }
    };
    let built = build_segments(vfs, source, ids, params, job, plan, pool, &before, &mut report);
    if pool.is_short() {
        tell(LogLevel::Warn, format_args!("{}", no_threads(pool)));
    }
    match built {
        Ok(manifest) => {
            // What cannot be removed now is removed by the next build.
            let _ = sweep(&**vfs, &|number| manifest.names(number), job);
            report.generation = manifest.generation;
            let (rows, segments, bytes) = (report.rows, manifest.segments.len(), report.disk_bytes);
            let seconds = started.elapsed().as_secs_f64();
            tell(
                LogLevel::Info,
                format_args!("built {rows} rows, {segments} segments, {bytes} bytes, in {seconds:.1} s"),
            );
            Ok(report)
        }
        Err(error) => {
            // The commit may have failed after its rename. Then the new manifest stands, and the old one may
            // come back with a loss of power: the segments of both stay, and nothing is synced once more.
            let now = Before::load(&**vfs, true).unwrap_or(Before::Damaged);
            let _ = sweep(&**vfs, &|number| before.keeps(number) || now.keeps(number), job);
            Err(error)
        }
    }
}

/// What the directory held when the build began.
enum Before {
    Nothing,
    Index(Manifest),
    /// Segments may still be saved by a copy of the manifest, until another index stands in their place.
    Damaged,
}

impl Before {
    fn load(vfs: &dyn Vfs, replace: bool) -> Result<Self> {
        match Manifest::load(vfs) {
            Ok(_) if !replace => {
                let what =
                    format_args!("{} holds an index; choose another directory or replace it", vfs.display());
                Err(Error::new(Status::Exists, what))
            }
            Ok(manifest) => Ok(Before::Index(manifest)),
            Err(error) if error.status() == Status::NotFound => Ok(Before::Nothing),
            // A damaged index may be replaced, never silently. One that cannot be read may be whole.
            Err(error) if replace && matches!(error.status(), Status::Corrupt | Status::Format) => {
                Ok(Before::Damaged)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the manifest anew: the sync of its directory may have failed when it was committed, and another sync of
    /// the same says nothing. Until it is durable, the one before it may come back and want its segments.
    fn make_durable(&self, vfs: &dyn Vfs) -> Result<()> {
        match self {
            Before::Index(manifest) => manifest.commit(vfs),
            Before::Nothing | Before::Damaged => Ok(()),
        }
    }

    /// Whether the segment of this number must outlive a build that fails.
    fn keeps(&self, number: u64) -> bool {
        match self {
            Before::Nothing => false,
            Before::Index(manifest) => manifest.names(number),
            Before::Damaged => true,
        }
    }

    /// A number that no file has.
    fn next_number(&self, vfs: &dyn Vfs) -> Result<u64> {
        if let Before::Index(manifest) = self {
            return Ok(manifest.next_number);
        }
        let listing =
            vfs.list().map_err(|e| Error::io(format_args!("{}: cannot list", vfs.display()), &e))?;
        let numbers = listing.ours.iter().filter_map(|name| match name {
            FileName::Segment(number) => Some(*number),
            _ => None,
        });
        numbers.max().map_or(Ok(1), |number| following(vfs, "file number", number))
    }
}

/// The number after one of the directory's. No index was ever committed so often that there is none.
fn following(vfs: &dyn Vfs, what: &str, number: u64) -> Result<u64> {
    number.checked_add(1).ok_or_else(|| {
        let sentence = format_args!(
            "{}: {number} is the last {what} there can be, and no build wrote it; build into an empty directory",
            vfs.display()
        );
        Error::new(Status::Corrupt, sentence)
    })
}

/// Builds from a file of vectors, and one of ids if given.
///
/// # Errors
/// As [`build`], and what opening the files gives.
pub fn build_from_file(
    path: &Path,
    vectors: &Path,
    ids: Option<&Path>,
    params: &BuildParams,
    job: &Job<'_>,
) -> Result<BuildReport> {
    let stop = job.stop();
    let source = input::open_file(vectors)?;
    let given = if ids.is_some() { GivenIds::File } else { GivenIds::None };
    let plan = Plan::new(&*source, given, params, job, stop)?;
    let ids = ids.map(|ids| input::read_ids(ids, source.rows())).transpose()?;
    check_ids(source.rows(), ids.as_deref(), &stop)?;
    build_at(path, &*source, ids.as_deref(), params, job, &plan)
}

/// Where the ids of a build come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenIds {
    /// The rows' own numbers.
    None,
    /// The caller's array.
    Lent,
    /// A file, which is read into memory.
    File,
}

impl GivenIds {
    /// What a build takes that takes `bytes` beside the ids of its `rows` rows. They are held if they came from a file,
    /// and sorted once before the work, to see that none is there twice.
    fn build_bytes(self, rows: u64, bytes: u64) -> u64 {
        let once = rows.saturating_mul(8);
        match self {
            GivenIds::None => bytes,
            GivenIds::Lent => bytes.max(once),
            GivenIds::File => bytes.max(once).saturating_add(once),
        }
    }
}

/// Says beforehand what a build and an open will take.
///
/// # Errors
/// `VDB_INVALID_ARGUMENT` for sizes out of range.
pub fn estimate(
    rows: u64,
    dim: usize,
    element: ElementType,
    ids: GivenIds,
    params: &BuildParams,
) -> Result<Estimate> {
    let segment_rows = segment_rows(params);
    let rows_max = rows.min(segment_rows);
    let largest = BuildLayout::new(rows_max, dim, element, params)?;
    let at_least = match params.links {
        LinkMode::Auto => BuildParams { links: LinkMode::Off, ..params.clone() },
        LinkMode::On | LinkMode::Off => params.clone(),
    };
    let least = BuildLayout::new(rows_max, dim, element, &at_least)?;
    let threads = thread_count(params.threads);
    let segments = segment_count(rows, segment_rows)?.max(1);
    Ok(Estimate {
        build_memory_bytes: ids.build_bytes(rows, least.least_bytes(1)),
        build_memory_best_bytes: ids.build_bytes(rows, largest.least_bytes(threads)),
        build_disk_bytes: largest.disk_bytes().saturating_mul(segments),
        open_memory_bytes: largest
            .open_bytes()
            .saturating_mul(segments)
            .saturating_add(largest.walk_bytes())
            .saturating_add(WORKING_BYTES_MIN),
        index_disk_bytes: largest.disk_bytes().saturating_mul(segments),
    })
}

/// What was decided before the first row is read.
struct Plan<'a> {
    segment_rows: u64,
    threads: usize,
    /// More than `threads` if the memory limit does not let them all work.
    threads_asked: usize,
    memory_bytes: u64,
    /// On or off.
    links: LinkMode,
    /// What links would have needed, if there was no room for them.
    unlinked_for: Option<u64>,
    /// Counts from the call on.
    stop: Stop<'a>,
}

impl<'a> Plan<'a> {
    /// Of a build whose ids, if any, are the caller's; checks them too, as soon as there is memory for it.
    fn with_ids(source: &dyn Rows, ids: Option<&[u64]>, params: &BuildParams, job: &Job<'a>) -> Result<Self> {
        let given = if ids.is_some() { GivenIds::Lent } else { GivenIds::None };
        let plan = Self::new(source, given, params, job, job.stop())?;
        check_ids(source.rows(), ids, &plan.stop)?;
        Ok(plan)
    }

    fn new(
        source: &dyn Rows,
        ids: GivenIds,
        params: &BuildParams,
        job: &Job<'_>,
        stop: Stop<'a>,
    ) -> Result<Self> {
        let segment_rows = segment_rows(params);
        segment_count(source.rows(), segment_rows)?;
        let rows = source.rows().min(segment_rows);
        let layout = |links| {
            let params = BuildParams { links, ..params.clone() };
            BuildLayout::new(rows, source.dim(), source.element_type(), &params)
        };
        let limit = memory_limit(params.memory_limit_bytes);
        let bytes =
            |layout: &BuildLayout, threads| ids.build_bytes(source.rows(), layout.least_bytes(threads));
        let (mut links, mut unlinked_for) = (params.links, None);
        let mut planned = layout(links)?;
        if links == LinkMode::Auto {
            let linked = bytes(&planned, 1);
            links = if planned.links && linked > limit { LinkMode::Off } else { LinkMode::On };
            unlinked_for = (links == LinkMode::Off).then_some(linked);
            planned = layout(links)?;
        }
        let needed = |threads| bytes(&planned, threads);
        let threads_asked = job.pool.map_or_else(|| thread_count(params.threads), Pool::threads);
        let mut threads = threads_asked;
        // Fewer threads hold fewer cells at once.
        while threads > 1 && needed(threads) > limit {
            threads -= 1;
        }
        let memory_bytes = needed(threads);
        if memory_bytes > limit {
            let what = if planned.links { "the build with links between rows" } else { "the build" };
            return Err(Error::out_of_memory(what, memory_bytes));
        }
        Ok(Plan { segment_rows, threads, threads_asked, memory_bytes, links, unlinked_for, stop })
    }
}

fn segment_rows(params: &BuildParams) -> u64 {
    if params.segment_rows == 0 {
        SEGMENT_ROWS_MAX
    } else {
        params.segment_rows.min(SEGMENT_ROWS_MAX)
    }
}

fn segment_count(rows: u64, segment_rows: u64) -> Result<u64> {
    let count = rows.div_ceil(segment_rows);
    if count > SEGMENTS_MAX as u64 {
        return Err(Error::invalid(format_args!(
            "{rows} rows would be {count} segments of {segment_rows}, and an index has at most {SEGMENTS_MAX}; \
             build it from fewer rows or with larger segments"
        )));
    }
    Ok(count)
}

fn check_ids(rows: u64, ids: Option<&[u64]>, stop: &Stop<'_>) -> Result<()> {
    stop.check()?;
    let Some(ids) = ids else { return Ok(()) };
    if ids.len() as u64 != rows {
        return Err(Error::invalid(format_args!("there are {} ids for {rows} rows", ids.len())));
    }
    if let Some(row) = ids.iter().position(|id| *id == NO_ID) {
        return Err(Error::invalid(format_args!("row {row} has the id {NO_ID}, which means \"no row\""))
            .with_row(row as u64));
    }
    let mut sorted = crate::memory::try_with_capacity(ids.len())?;
    sorted.extend_from_slice(ids);
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        let row = ids.iter().rposition(|id| *id == pair[0]).unwrap_or(0) as u64;
        return Err(Error::invalid(format_args!("the id {} is there twice, again at row {row}", pair[0]))
            .with_row(row));
    }
    Ok(())
}

/// Removes temporary files and the segments that are not `kept`.
fn sweep(vfs: &dyn Vfs, kept: &dyn Fn(u64) -> bool, job: &Job<'_>) -> Result<()> {
    for name in remove_strays(vfs, kept)? {
        job.tell(LogLevel::Debug, format_args!("removed {}", vfs.display_file(name)));
    }
    Ok(())
}

fn build_segments(
    vfs: &Arc<dyn Vfs>,
    source: &dyn Rows,
    ids: Option<&[u64]>,
    params: &BuildParams,
    job: &Job<'_>,
    plan: &Plan<'_>,
    pool: &Pool,
    before: &Before,
    report: &mut BuildReport,
) -> Result<Manifest> {
    let stop = plan.stop;
    let throttle = Throttle::new(job.progress);
    let tell = |phase: &'static str, done: u64, total: u64| throttle.tell(phase, done, total);
    let seed = SplitMix64::new(params.seed).next_u64();
    let mut manifest = no_segments(&**vfs, source, params.metric, seed, before)?;
    let params = &BuildParams { links: plan.links, ..params.clone() };
    let mut first = 0;
    while first < source.rows() {
        let rows = plan.segment_rows.min(source.rows() - first);
        let range = RowRange { source, first, rows };
        let layout = BuildLayout::new(rows, source.dim(), source.element_type(), params)?;
        let work = Work {
            kernels: Kernels::detect(),
            metric: params.metric,
            seed,
            pool,
            threads: plan.threads,
            stop,
            caller: build::this_thread(),
            report: &tell,
        };
        let number = manifest.next_number;
        let header = SegmentHeader {
            uuid: manifest.uuid,
            number,
            rows,
            dim: manifest.dim,
            metric: params.metric,
            element_type: manifest.element_type,
            seed,
        };
        let mut writer = SegmentWriter::create(vfs, header)?;
        let segment_ids = ids.map(|ids| &ids[first as usize..(first + rows) as usize]);
        let phases = build::segment::build(&work, &layout, &range, segment_ids, first, &mut writer)?;
        phases.into_iter().try_for_each(|(phase, ns)| report.add_phase(phase, ns))?;
        report.links |= layout.links;
        let synced = Instant::now();
        work.progress("sync", 0, 1)?;
        let entry = writer.finish()?;
        report.add_phase("sync", synced.elapsed().as_nanos() as u64)?;
        report.disk_bytes += entry.file_bytes;
        try_push(&mut manifest.segments, entry)?;
        manifest.next_number = following(&**vfs, "file number", number)?;
        first += rows;
    }
    stop.check()?;
    manifest.commit(&**vfs)?;
    throttle.tell("done", source.rows(), source.rows());
    Ok(manifest)
}

/// The manifest of the generation to come, before its first segment.
fn no_segments(
    vfs: &dyn Vfs,
    source: &dyn Rows,
    metric: Metric,
    seed: u64,
    before: &Before,
) -> Result<Manifest> {
    Ok(Manifest {
        uuid: uuid(seed, source)?,
        generation: match before {
            Before::Index(manifest) => following(vfs, "generation", manifest.generation)?,
            _ => 1,
        },
        next_number: before.next_number(vfs)?,
        dim: source.dim() as u32,
        metric,
        element_type: source.element_type(),
        live_rows: source.rows(),
        segments: Vec::new(),
    })
}

/// A name for the index that two builds of other content hardly share; no clock and no process in it, so that the same
/// input and seed give the same bytes.
fn uuid(seed: u64, source: &dyn Rows) -> Result<[u8; 16]> {
    let mut sample = try_vec(source.row_bytes(), 0u8)?;
    let mut hash = xxhash_rust::xxh3::Xxh3::with_seed(seed);
    hash.update(&source.rows().to_le_bytes());
    for row in [0, source.rows() / 2, source.rows().saturating_sub(1)] {
        if row < source.rows() && source.read(row, 1, &mut sample).is_ok() {
            hash.update(&sample);
        }
    }
    Ok(hash.digest128().to_le_bytes())
}

/// A run of the rows of a source, as a source.
struct RowRange<'a> {
    source: &'a dyn Rows,
    first: u64,
    rows: u64,
}

impl RowRange<'_> {
    /// The numbers that rows of the run have in the source.
    fn of_source(&self, rows: &[u64]) -> Result<Vec<u64>> {
        try_collect(rows.iter().map(|row| self.first + row))
    }
}

impl Rows for RowRange<'_> {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn dim(&self) -> usize {
        self.source.dim()
    }

    fn element_type(&self) -> ElementType {
        self.source.element_type()
    }

    fn read(&self, first: u64, count: usize, out: &mut [u8]) -> Result<()> {
        self.source.read(self.first + first, count, out)
    }

    fn gather(&self, rows: &[u64], out: &mut [u8]) -> Result<()> {
        if self.first == 0 {
            return self.source.gather(rows, out);
        }
        self.source.gather(&self.of_source(rows)?, out)
    }

    fn reads_ahead(&self) -> bool {
        self.source.reads_ahead()
    }

    fn announce(&self, rows: &[u64]) {
        if self.first == 0 {
            return self.source.announce(rows);
        }
        // A hint: without memory it is not given.
        if let Ok(rows) = self.of_source(rows) {
            self.source.announce(&rows);
        }
    }

    fn number(&self, row: u64) -> u64 {
        self.source.number(self.first + row)
    }

    fn describe(&self) -> String {
        self.source.describe()
    }
}
