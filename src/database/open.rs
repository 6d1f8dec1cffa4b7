//! From a directory to a handle: manifest, segments, checks, caches.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::database::answers::AnswerCache;
use crate::database::handle::{Database, Failures, Inner};
use crate::database::options::{thread_count, LogLevel, OpenOptions};
use crate::format::{Manifest, SectionInfo, SectionKind, SegmentEntry, SegmentFile};
use crate::index::centres::RowCentres;
use crate::index::codes::Codes;
use crate::index::ids::Ids;
use crate::index::links::Links;
use crate::index::recall_table::RecallTable;
use crate::index::recall_table::LIST_MAX;
use crate::index::segment::{Quantiser, SegmentIndex};
use crate::index::tree::{Tree, TreeParts};
use crate::kernels::Kernels;
use crate::memory::budget::Share;
use crate::memory::{probe, AlignedBytes, Budget};
use crate::pool::Pool;
use crate::search::list::WalkList;
use crate::search::met::MetRows;
use crate::search::scratch::ScratchPool;
use crate::search::{Segment, Snapshot};
use crate::stats::Totals;
use crate::store::cache::VectorCache;
use crate::store::centroids::Centroids;
use crate::store::finer::FinerCodes;
use crate::store::vectors::{row_stride, Vectors};
use crate::types::{Error, Result, Status};
use crate::vfs::{OsVfs, Vfs};

/// Scratches kept between searches; more threads than this allocate theirs anew.
const SCRATCHES_MAX: usize = 64;
/// Bytes that they keep together: at least so many, of a large limit an eighth, and at most so many.
const SCRATCH_BYTES_MIN: u64 = 2 << 20;
const SCRATCH_BYTES_MAX: u64 = 256 << 20;
/// Room for the first cursors, of a limit that leaves nothing else.
pub(super) const CURSOR_BYTES_MIN: u64 = 256 << 10;
/// What an open reserves whatever the index is.
pub(super) const WORKING_BYTES_MIN: u64 = SCRATCH_BYTES_MIN + CURSOR_BYTES_MIN;
/// Answers remembered unless the caller says otherwise.
const ANSWER_CACHE_BYTES: u64 = 16 << 20;
/// Vectors kept on the read path unless the caller says otherwise: a part of what is free.
const VECTOR_CACHE_SHARE: u64 = 8;
/// And never more than this.
const VECTOR_CACHE_BYTES_MAX: u64 = 512 << 20;

impl Database {
    /// Opens the index in the directory `path`: reads and checks tree, codes and ids; vectors stay on disk.
    ///
    /// # Errors
    /// `VDB_NOT_FOUND`, `VDB_FORMAT`, `VDB_CORRUPT`, `VDB_IO`, `VDB_OUT_OF_MEMORY`.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Database> {
        let started = Instant::now();
        let vfs: Arc<dyn Vfs> = OsVfs::open_dir(path)?;
        Self::open_vfs(&vfs, options, started)
    }

    /// Opens the index of any [`Vfs`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_vfs(vfs: &Arc<dyn Vfs>, options: &OpenOptions, started: Instant) -> Result<Database> {
        let (manifest, files) = open_files(&**vfs)?;
        let files = files.into_iter().collect::<Result<Vec<SegmentFile>>>()?;
        let limit = memory_limit(options.memory_limit_bytes);
        // The sum before the first byte is read: a refusal names the limit that would do for all.
        let walk = files.iter().map(walk_bytes).max().unwrap_or(0);
        let least = WORKING_BYTES_MIN.saturating_add(walk);
        let mut needed = files.iter().map(segment_memory_bytes).fold(least, u64::saturating_add);
        if options.check {
            let scan = files.iter().map(SegmentFile::verify_bytes).max();
            needed = needed.saturating_add(scan.unwrap_or(0));
        }
        if needed > limit {
            return Err(Error::out_of_memory(format_args!("opening {}", vfs.display()), needed));
        }
        let budget = Budget::new(limit)?;
        let mut shares = Vec::new();
        let mut segments = Vec::with_capacity(manifest.segments.len());
        let mut mapped = !options.no_mmap;
        for (file, entry) in files.iter().zip(&manifest.segments) {
            let segment = open_segment(file, &manifest, entry, options, &budget, &mut shares)?;
            mapped &= segment.vectors.mapped().is_some();
            segments.push(Arc::new(segment));
        }
        let snapshot = Snapshot {
            generation: manifest.generation,
            metric: manifest.metric,
            element: manifest.element_type,
            dim: manifest.dim as usize,
            segments,
        };
        if snapshot.rows() != manifest.live_rows {
            return Err(Error::corrupt(format_args!(
                "{}: the manifest counts other rows than the segments",
                vfs.display()
            )));
        }
        let scratch_bytes = (budget.left_bytes() / 8).clamp(SCRATCH_BYTES_MIN, SCRATCH_BYTES_MAX);
        let scratch_bytes = scratch_bytes.max(SCRATCH_BYTES_MIN.saturating_add(walk));
        shares.push(budget.reserve("searches", scratch_bytes)?);
        let caches = Caches::new(&budget, options, mapped)?;
        let inner = Inner {
            kernels: Kernels::detect(),
            pool: options.pool.clone().unwrap_or_else(|| Arc::new(Pool::new(thread_count(options.threads)))),
            scratches: ScratchPool::new(SCRATCHES_MAX, scratch_bytes, budget.clone())?,
            vector_cache: VectorCache::new(to_usize(caches.vectors.bytes())),
            answers: AnswerCache::new(to_usize(caches.answers.bytes())),
            caches: Mutex::new(caches),
            totals: Totals::default(),
            failures: Failures::default(),
            budget,
            _shares: shares,
            log: options.log.clone(),
            log_level: options.log_level.unwrap_or(LogLevel::Warn),
            short_told: AtomicBool::new(false),
            mapped,
            disk_bytes: manifest.segments.iter().map(|entry| entry.file_bytes).sum(),
            open_ns: started.elapsed().as_nanos() as u64,
            snapshot,
        };
        let database = Database { inner: Arc::new(inner) };
        let rows = database.rows();
        database.warn_of_less(options);
        database.log(LogLevel::Info, || format!("opened {}: {rows} rows, mapped: {mapped}", vfs.display()));
        Ok(database)
    }

    /// Says what is not as it was asked for.
    fn warn_of_less(&self, options: &OpenOptions) {
        let inner = &*self.inner;
        if !options.no_mmap && !inner.mapped {
            self.log(LogLevel::Warn, || {
                "vectors cannot be mapped here and are read by system calls".to_owned()
            });
        }
        let caches = inner.caches.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, asked, share) in [
            ("vector", options.vector_cache_bytes, &caches.vectors),
            ("answer", options.answer_cache_bytes, &caches.answers),
        ] {
            if let Some(asked) = asked.filter(|asked| *asked > share.bytes()) {
                let (given, limit) = (share.bytes(), inner.budget.limit_bytes());
                self.log(LogLevel::Warn, || {
                    format!("the {what} cache has {given} bytes of {asked}: the memory limit is {limit}")
                });
            }
        }
    }

    /// Gives a line of log to the caller, if one is wanted.
    pub(super) fn log(&self, level: LogLevel, line: impl FnOnce() -> String) {
        if let Some(log) = self.inner.log.as_ref().filter(|_| level <= self.inner.log_level) {
            log(level, &line());
        }
    }
}

pub(super) fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What the caches take of the budget.
pub(super) struct Caches {
    pub vectors: Share,
    pub answers: Share,
}

impl Caches {
    /// As asked for, or chosen; together never more than is left when the first cursors have their room.
    fn new(budget: &Budget, options: &OpenOptions, mapped: bool) -> Result<Self> {
        let left = budget.left_bytes().saturating_sub(CURSOR_BYTES_MIN);
        let vectors = options.vector_cache_bytes.unwrap_or(if mapped {
            0
        } else {
            (left / VECTOR_CACHE_SHARE).min(VECTOR_CACHE_BYTES_MAX)
        });
        let answers = options.answer_cache_bytes.unwrap_or(ANSWER_CACHE_BYTES.min(left / 16));
        let vectors = vectors.min(left);
        Ok(Caches {
            vectors: budget.reserve("vector cache", vectors)?,
            answers: budget.reserve("answer cache", answers.min(left - vectors))?,
        })
    }
}

/// The manifest and its segments' files, all open: from here on a build that replaces them takes nothing away.
/// A file that is missing because a build replaced the index meanwhile is no damage: the new index is opened then.
///
/// # Errors
/// What reading a manifest gives. The error of a file is the file's own.
pub(super) fn open_files(vfs: &dyn Vfs) -> Result<(Manifest, Vec<Result<SegmentFile>>)> {
    let mut manifest = Manifest::load(vfs)?;
    loop {
        let open = |entry| SegmentFile::open(vfs, &manifest, entry);
        let files: Vec<Result<SegmentFile>> = manifest.segments.iter().map(open).collect();
        let missing =
            |file: &Result<SegmentFile>| file.as_ref().is_err_and(|error| error.status() == Status::NotFound);
        if files.iter().any(missing) {
            let latest = Manifest::load(vfs)?;
            if latest != manifest {
                manifest = latest;
                continue;
            }
        }
        let damaged = |error: Error| match error.status() {
            Status::NotFound => error.with_status(Status::Corrupt),
            _ => error,
        };
        return Ok((manifest, files.into_iter().map(|file| file.map_err(damaged)).collect()));
    }
}

/// Reads and checks one segment.
pub(super) fn open_segment(
    file: &SegmentFile,
    manifest: &Manifest,
    entry: &SegmentEntry,
    options: &OpenOptions,
    budget: &Budget,
    shares: &mut Vec<Share>,
) -> Result<Segment> {
    if options.check {
        file.verify_all(&mut |step| step.damage.map_or(Ok(()), Err))?;
    }
    load_segment(file, manifest, entry, !options.no_mmap, budget, shares)
        .map_err(|error| error.context(file.path()))
}

/// The limit that a caller set, or what machine and control groups have free.
pub(super) fn memory_limit(bytes: u64) -> u64 {
    match bytes {
        0 => probe::available_bytes(),
        limit => limit,
    }
}

/// Bytes that an open segment keeps in memory.
pub(super) fn segment_memory_bytes(file: &SegmentFile) -> u64 {
    file.sections().map(|section| memory_bytes(&section)).fold(0, u64::saturating_add)
}

/// The most bytes that a search of some leaves needs to take note of the rows that it met.
fn walk_bytes(file: &SegmentFile) -> u64 {
    /// Leaves that are visited, and their rows.
    const VISITED: u64 = 1 << 10;
    const SCANNED: u64 = 1 << 16;
    let met = WalkList::met_max(LIST_MAX as usize);
    file.section(SectionKind::LINKS)
        .map_or(0, |section| MetRows::bytes_max(section.count, met, VISITED, SCANNED))
}

/// Bytes that an open segment keeps in memory for one of its sections.
fn memory_bytes(section: &SectionInfo) -> u64 {
    match section.kind {
        SectionKind::VECTORS | SectionKind::CENTROIDS | SectionKind::FINER_CODES => 0,
        // And for each leaf its number.
        SectionKind::TREE_NODES => section.bytes.saturating_add(section.count.saturating_mul(4)),
        // And the signs of the rotation, which are made from it.
        SectionKind::QUANTISER => section.bytes.saturating_mul(2),
        SectionKind::NODE_FACTORS => section.bytes.saturating_add(Tree::derived_bytes(section.count)),
        // And which rows are relative to which of them.
        SectionKind::CENTRES => section.bytes.saturating_add(RowCentres::bytes_max(section.count)),
        _ if section.is_known() => section.bytes,
        _ => 0,
    }
}

fn load_segment(
    file: &SegmentFile,
    manifest: &Manifest,
    entry: &SegmentEntry,
    map: bool,
    budget: &Budget,
    shares: &mut Vec<Share>,
) -> Result<Segment> {
    let (dim, rows) = (manifest.dim as usize, entry.rows);
    let mut read = |kind: SectionKind, part: &'static str| -> Result<AlignedBytes> {
        shares.push(budget.reserve(part, memory_bytes(&require(file, kind)?))?);
        file.read(kind)
    };
    let quantiser = Quantiser::new(manifest.metric, dim, &read(SectionKind::QUANTISER, "tree")?)?;
    let shape = quantiser.shape;
    let parts = TreeParts {
        nodes: read(SectionKind::TREE_NODES, "tree")?,
        factors: read(SectionKind::NODE_FACTORS, "tree")?,
        bytes: read(SectionKind::NODE_BYTES, "tree")?,
        codes: read(SectionKind::NODE_CODES, "tree")?,
        centres: read(SectionKind::CENTRES, "tree")?,
    };
    let tree = Tree::new(parts, shape, rows)?;
    let codes = read(SectionKind::CODES, "codes")?;
    let factors = read(SectionKind::FACTORS, "codes")?;
    let codes = Codes::new(shape, codes, factors, rows)?;
    let id_width = require(file, SectionKind::IDS)?.stride as usize;
    let rows_u32 = u32::try_from(rows).map_err(|_| Error::corrupt("more rows than a segment may have"))?;
    let ids =
        Ids::new(rows_u32, id_width, read(SectionKind::IDS, "ids")?, read(SectionKind::ID_ORDER, "ids")?)?;
    let (links, recall_table) = load_links(file, rows_u32, &mut read)?;
    let section = require(file, SectionKind::VECTORS)?;
    let expected = rows.checked_mul(row_stride(dim * manifest.element_type.bytes()) as u64);
    if expected != Some(section.bytes) {
        return Err(Error::corrupt("vectors: the section's length is not that of its rows"));
    }
    let mapping = if map { file.map(SectionKind::VECTORS)? } else { None };
    let vectors = Vectors::new(
        Arc::clone(file.file()),
        section.offset,
        section.bytes,
        mapping,
        rows_u32,
        dim,
        manifest.element_type,
        entry.number,
    )?;
    // Last: what was read above from front to back has told the system so, of the whole open file.
    vectors.advise(crate::vfs::Advice::Random);
    let finer = if map { load_finer(file, rows_u32, &quantiser, &mut read)? } else { None };
    let section = require(file, SectionKind::CENTROIDS)?;
    let nodes = tree.nodes().len() as u32;
    let centroids =
        Centroids::new(Arc::clone(file.file()), section.offset, section.bytes, nodes, shape.padded)?;
    let index = SegmentIndex { quantiser, tree, codes, links, ids, recall_table };
    let finer_bytes = [SectionKind::FINER_CODES, SectionKind::FINER_FACTORS]
        .iter()
        .filter_map(|kind| file.section(*kind))
        .map(|section| section.bytes)
        .sum();
    Ok(Segment { number: entry.number, index, centroids, finer, finer_bytes, vectors })
}

/// The links, if there are any, and what was measured with or without them.
fn load_links(
    file: &SegmentFile,
    rows: u32,
    read: &mut dyn FnMut(SectionKind, &'static str) -> Result<AlignedBytes>,
) -> Result<(Option<Links>, RecallTable)> {
    let linked = file.section(SectionKind::LINKS).is_some_and(|section| section.is_known());
    let walked = file.section(SectionKind::WALK_LISTS).is_some();
    if linked != walked {
        // The recall that was measured with links would be promised without them, or the other way round.
        return Err(Error::corrupt("links: the section of them or that of walk lists is missing"));
    }
    let recall_table = match file.section(SectionKind::RECALL_TABLE).filter(SectionInfo::is_known) {
        Some(_) => {
            let records = read(SectionKind::RECALL_TABLE, "tree")?;
            let lists = match walked {
                true => Some(read(SectionKind::WALK_LISTS, "tree")?),
                false => None,
            };
            RecallTable::of_records(records.as_slice(), lists.as_ref().map(AlignedBytes::as_slice))?
        }
        // A file may do without; then every leaf is visited, unless the caller says how many.
        None => RecallTable::default(),
    };
    let links = match linked {
        true => Some(Links::new(rows, read(SectionKind::LINKS, "links")?)?),
        false => None,
    };
    Ok((links, recall_table))
}

/// The finer codes, mapped, if there are any.
fn load_finer(
    file: &SegmentFile,
    rows: u32,
    quantiser: &Quantiser,
    read: &mut dyn FnMut(SectionKind, &'static str) -> Result<AlignedBytes>,
) -> Result<Option<FinerCodes>> {
    let is_there = |kind| file.section(kind).is_some_and(|section| section.is_known());
    if !is_there(SectionKind::FINER_CODES) || !is_there(SectionKind::FINER_FACTORS) {
        return Ok(None);
    }
    let Some(codes) = file.map(SectionKind::FINER_CODES)? else { return Ok(None) };
    let factors = read(SectionKind::FINER_FACTORS, "codes")?;
    let Quantiser { shape, metric, finer_error_width, .. } = *quantiser;
    FinerCodes::new(codes, factors, shape, metric, finer_error_width, rows).map(Some)
}

/// What is known of a section that every segment has.
fn require(file: &SegmentFile, kind: SectionKind) -> Result<SectionInfo> {
    file.section(kind)
        .ok_or_else(|| Error::corrupt(format_args!("{kind} is missing; restore the file from a copy")))
}
