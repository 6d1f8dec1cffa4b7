//! Every checksum and every invariant of a directory, without opening it for use.

use std::path::Path;
use std::sync::Arc;

use crate::database::open::{memory_limit, open_files, open_segment, segment_memory_bytes};
use crate::database::options::{Job, LogLevel, OpenOptions};
use crate::database::throttle::Throttle;
use crate::format::{Manifest, SegmentEntry, SegmentFile};
use crate::index::links::Links;
use crate::memory::Budget;
use crate::pool::cancel::Stop;
use crate::search::Segment;
use crate::types::{Error, Result, Status};
use crate::vfs::{OsVfs, Vfs};

/// Checks every byte and every reference of the index at `path`; changes nothing. One segment at a time is in memory,
/// as an open has it.
///
/// # Errors
/// The first damage, `VDB_CORRUPT` as a rule; `job.log` is told of each. Also what opening a directory gives, and
/// before any work `VDB_OUT_OF_MEMORY` for a limit that is too low.
pub fn verify(path: &Path, job: &Job<'_>) -> Result<()> {
    let vfs: Arc<dyn Vfs> = OsVfs::open_dir(path)?;
    verify_vfs(&vfs, job)
}

/// Checks the index of any [`Vfs`].
///
/// # Errors
/// As [`verify`].
pub fn verify_vfs(vfs: &Arc<dyn Vfs>, job: &Job<'_>) -> Result<()> {
    let (manifest, files) = open_files(&**vfs)?;
    let limit = memory_limit(job.memory_limit_bytes);
    // What a segment keeps, and what passes through memory while its bytes are checked.
    let bytes = |file| segment_memory_bytes(file).saturating_add(SegmentFile::verify_bytes(file));
    let needed = files.iter().flatten().map(bytes).max().unwrap_or(0);
    if needed > limit {
        return Err(Error::out_of_memory(format_args!("verifying {}", vfs.display()), needed));
    }
    let budget = Budget::new(limit)?;
    let throttle = Throttle::new(job.progress);
    let mut found = Found { job, stop: job.stop(), throttle, first: None, damages: 0 };
    let total: u64 = manifest.segments.iter().map(|segment| segment.file_bytes).sum();
    let mut done = 0;
    for (file, entry) in files.into_iter().zip(&manifest.segments) {
        match file.and_then(|file| verify_segment(&file, &manifest, entry, &budget, &mut found, done, total))
        {
            Ok(()) => {}
            // The work ended, and says nothing about the file.
            Err(error)
                if matches!(error.status(), Status::Cancelled | Status::Timeout | Status::OutOfMemory) =>
            {
                return Err(error)
            }
            Err(error) => found.damage(error),
        }
        done += entry.file_bytes;
    }
    found.first.map_or(Ok(()), Err)
}

/// Damage so far.
struct Found<'a> {
    job: &'a Job<'a>,
    stop: Stop<'a>,
    throttle: Throttle<'a>,
    first: Option<Error>,
    damages: u64,
}

impl Found<'_> {
    fn damage(&mut self, error: Error) {
        self.damages += 1;
        if let Some(log) = self.job.log {
            log(LogLevel::Error, error.message());
        }
        self.first.get_or_insert(error);
    }
}

fn verify_segment(
    file: &SegmentFile,
    manifest: &Manifest,
    entry: &SegmentEntry,
    budget: &Budget,
    found: &mut Found<'_>,
    done: u64,
    total: u64,
) -> Result<()> {
    let before = found.damages;
    let mut looked_at = 0;
    file.verify_all(&mut |step| {
        looked_at += step.bytes;
        if let Some(damage) = step.damage {
            found.damage(damage);
        }
        found.throttle.check("verify", done + looked_at, total)?;
        found.stop.check()
    })?;
    if found.damages > before {
        return Ok(());
    }
    let options = OpenOptions { no_mmap: true, ..OpenOptions::default() };
    let segment = open_segment(file, manifest, entry, &options, budget, &mut Vec::new())?;
    let links = segment.index.links.as_ref().map_or(Ok(()), Links::check);
    check_ids(&segment)
        .and(links)
        .and_then(|()| segment.centroids.check())
        .map_err(|error| error.context(file.path()))
}

/// What an open takes on trust: that the way from id to position is in order, so that every id is there once.
fn check_ids(segment: &Segment) -> Result<()> {
    if segment.index.ids.is_sorted() {
        return Ok(());
    }
    Err(Error::corrupt(
        "ids: the order by id is wrong, or an id is there twice; rows cannot be found by id. Build again",
    ))
}
