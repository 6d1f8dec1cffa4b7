//! The manifest: which segments an index has. Replacing it by rename is the commit.
//!
//! Steps of a commit, whose order is the specification: write `MANIFEST.tmp`, sync it, sync the directory
//! (now the new segments' names are durable too), rename it to `MANIFEST`, sync the directory. A crash
//! before the rename is durable leaves the old index, one after it the new one, never a mixture.
//! Segments must be synced before. Calls `vfs`.

use super::checksum::checksum;
use super::layout::{
    manifest_head as head, manifest_segment as segment, segment_header, FORMAT_MAJOR, FORMAT_MINOR,
    MANIFEST_BYTES_MAX, MANIFEST_MAGIC,
};
use super::parse::{internal, put, Field, View};
use super::section::{check_dim, check_element_type, check_metric, check_rows, check_version};
use crate::memory::{try_vec, try_with_capacity};
use crate::types::{ElementType, Error, Metric, Result, Status};
use crate::vfs::{FileName, FilePath, Vfs};
use std::io;

/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 8;

/// Most segments of an index.
pub const SEGMENTS_MAX: usize = (MANIFEST_BYTES_MAX - head::BYTES - CHECKSUM_BYTES) / segment::BYTES;

/// A committed state of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Of the index.
    pub uuid: [u8; 16],
    /// Grows by one with every commit.
    pub generation: u64,
    /// Dimensions of a vector.
    pub dim: u32,
    /// How distance is measured.
    pub metric: Metric,
    /// How vectors are stored.
    pub element_type: ElementType,
    /// Number of the next new file; greater than that of any file ever named in a manifest.
    pub next_number: u64,
    /// Rows that a search can find.
    pub live_rows: u64,
    /// Ascending by number.
    pub segments: Vec<SegmentEntry>,
}

/// A segment of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// In the file's name.
    pub number: u64,
    /// Rows.
    pub rows: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Checksum of the file's header: another file of that name, or an older one, is refused.
    pub header_checksum: u64,
}

impl Manifest {
    /// Reads the manifest of a directory.
    ///
    /// # Errors
    /// `NotFound` (no manifest: not an index), `Format` (no manifest of ours, or a newer one),
    /// `Corrupt`, `Io`, `OutOfMemory`.
    pub fn load(vfs: &dyn Vfs) -> Result<Self> {
        let file = vfs.open_read(FileName::Manifest).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(
                Status::NotFound,
                format_args!("{}: is not an index directory, it has no file MANIFEST", vfs.display()),
            ),
            _ => Error::io(format_args!("{}: cannot open", path(vfs)), &error),
        })?;
        let failed = |error: io::Error| Error::io(format_args!("{}: cannot read", path(vfs)), &error);
        let len = file.len().map_err(failed)?;
        let len = match usize::try_from(len) {
            Ok(len) if len <= MANIFEST_BYTES_MAX => len,
            _ => {
                let sentence = format_args!("{}: {len} bytes are too long for a manifest", path(vfs));
                return Err(Error::new(Status::Format, sentence));
            }
        };
        let mut bytes = try_vec(len, 0u8)?;
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        Self::decode(&bytes).map_err(|error| match error.status() {
            Status::Corrupt => Error::corrupt(format_args!(
                "{}: {error}. The index cannot be opened; restore it from a copy",
                path(vfs)
            )),
            _ => error.context(path(vfs)),
        })
    }

    /// Makes this the state of the index, durably, in one step.
    ///
    /// # Errors
    /// `Io`, `DiskFull`, `OutOfMemory`. The sentence says whether the index is unchanged, or, when the
    /// very last step failed, that only the next loss of power will tell.
    pub fn commit(&self, vfs: &dyn Vfs) -> Result<()> {
        let bytes = self.encode()?;
        let staged = stage(vfs, &bytes).and_then(|()| vfs.rename(FileName::ManifestTmp, FileName::Manifest));
        if let Err(error) = staged {
            // Best effort: whoever writes next removes it as well.
            let _ = vfs.remove(FileName::ManifestTmp);
            let directory = vfs.display();
            return Err(Error::io(
                format_args!("{directory}: cannot write the new manifest, the index is unchanged"),
                &error,
            ));
        }
        vfs.sync_dir().map_err(|error| {
            let directory = vfs.display();
            let sentence = format_args!(
                "{directory}: the new manifest is in place, but cannot be made durable; after a loss of \
                 power the index may be the old or the new one"
            );
            Error::io(sentence, &error)
        })
    }

    /// The manifest's bytes.
    ///
    /// # Errors
    /// `Internal` if the parts contradict each other, `OutOfMemory`.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check().map_err(|error| internal("a manifest contradicts itself").context(error))?;
        let segments_bytes = self.segments.len().saturating_mul(segment::BYTES);
        let body = segments_bytes.saturating_add(head::BYTES);
        let mut bytes = try_vec(body.saturating_add(CHECKSUM_BYTES), 0u8)?;
        let r = &mut bytes[..];
        put(r, head::MAGIC, MANIFEST_MAGIC)?;
        put(r, head::MAJOR, FORMAT_MAJOR)?;
        put(r, head::MINOR, FORMAT_MINOR)?;
        put(r, head::SEGMENT_COUNT, u32::try_from(self.segments.len()).unwrap_or(u32::MAX))?;
        put(r, head::UUID, self.uuid)?;
        put(r, head::GENERATION, self.generation)?;
        put(r, head::DIM, self.dim)?;
        put(r, head::METRIC, self.metric as u32)?;
        put(r, head::ELEMENT_TYPE, self.element_type as u32)?;
        put(r, head::NEXT_NUMBER, self.next_number)?;
        put(r, head::LIVE_ROWS, self.live_rows)?;
        let records = r.get_mut(head::BYTES..body).unwrap_or_default();
        for (record, entry) in records.chunks_exact_mut(segment::BYTES).zip(&self.segments) {
            put(record, segment::NUMBER, entry.number)?;
            put(record, segment::ROWS, entry.rows)?;
            put(record, segment::FILE_BYTES, entry.file_bytes)?;
            put(record, segment::HEADER_CHECKSUM, entry.header_checksum)?;
        }
        let sum = checksum(r.get(..body).unwrap_or_default());
        put(r, Field::<u64>::at(body), sum)?;
        Ok(bytes)
    }

    /// The manifest of some bytes.
    ///
    /// # Errors
    /// `Format` (not a manifest, or a newer one), `Corrupt`, `OutOfMemory`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let view = View::new(bytes);
        if bytes.get(..MANIFEST_MAGIC.len()) != Some(&MANIFEST_MAGIC[..]) {
            return Err(Error::new(Status::Format, "the file is not the manifest of an index"));
        }
        let body = bytes.len().saturating_sub(CHECKSUM_BYTES);
        let sound = checksum(bytes.get(..body).unwrap_or_default()) == view.get(Field::<u64>::at(body))?;
        check_version(view.get(head::MAJOR)?, view.get(head::FLAGS_REQUIRED)?, sound)?;
        if !sound {
            return Err(Error::corrupt("the checksum does not match"));
        }
        let count = view.get(head::SEGMENT_COUNT)?;
        let records = bytes.get(head::BYTES..body).unwrap_or_default();
        let count_bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(segment::BYTES));
        if body < head::BYTES || count_bytes != Some(records.len()) {
            return Err(Error::corrupt(format_args!("{count} segments do not make {} bytes", bytes.len())));
        }
        let mut segments = try_with_capacity(records.len() / segment::BYTES)?;
        for record in records.chunks_exact(segment::BYTES) {
            let view = View::new(record);
            segments.push(SegmentEntry {
                number: view.get(segment::NUMBER)?,
                rows: view.get(segment::ROWS)?,
                file_bytes: view.get(segment::FILE_BYTES)?,
                header_checksum: view.get(segment::HEADER_CHECKSUM)?,
            });
        }
        let manifest = Manifest {
            uuid: view.get(head::UUID)?,
            generation: view.get(head::GENERATION)?,
            dim: view.get(head::DIM)?,
            metric: check_metric(view.get(head::METRIC)?)?,
            element_type: check_element_type(view.get(head::ELEMENT_TYPE)?)?,
            next_number: view.get(head::NEXT_NUMBER)?,
            live_rows: view.get(head::LIVE_ROWS)?,
            segments,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// The facts that must agree.
    fn check(&self) -> Result<()> {
        check_dim(self.dim)?;
        if self.segments.len() > SEGMENTS_MAX {
            return Err(Error::corrupt(format_args!("{} segments are too many", self.segments.len())));
        }
        let (mut least, mut rows) = (0, 0u64);
        for entry in &self.segments {
            check_rows(entry.rows)?;
            // Ascending, so that none is there twice; below `next_number`, so that none is there again.
            if entry.number < least || entry.number >= self.next_number {
                return Err(Error::corrupt(format_args!("segment {} is out of order", entry.number)));
            }
            if entry.file_bytes < segment_header::BYTES as u64 {
                return Err(Error::corrupt(format_args!("segment {} is too short", entry.number)));
            }
            least = entry.number.saturating_add(1);
            rows = rows.saturating_add(entry.rows);
        }
        if rows != self.live_rows {
            let sentence = format!("segments with {rows} rows do not make {} live rows", self.live_rows);
            return Err(Error::corrupt(sentence));
        }
        Ok(())
    }

    /// Whether a segment of this number belongs to the index.
    pub fn names(&self, number: u64) -> bool {
        self.segments.binary_search_by_key(&number, |entry| entry.number).is_ok()
    }
}

/// Removes temporary files, and the segments that are not `kept`: what a crash left behind, or what a new
/// manifest replaced. Only for the holder of the writer's lock. What is not `kept` may be named neither by the
/// manifest nor by one that a loss of power could bring back: the caller has just committed, or keeps both.
/// Returns what was removed; what cannot be is left for the next time.
///
/// # Errors
/// `Io`. Nothing is lost then.
pub fn remove_strays(vfs: &dyn Vfs, kept: &dyn Fn(u64) -> bool) -> Result<Vec<FileName>> {
    let failed = |error: io::Error| Error::io(format_args!("{}: cannot clean up", vfs.display()), &error);
    let mut strays = vfs.list().map_err(failed)?.ours;
    strays.retain(|name| match name {
        FileName::ManifestTmp | FileName::Spill(_) => true,
        FileName::Segment(number) => !kept(*number),
        _ => false,
    });
    strays.retain(|name| vfs.remove(*name).is_ok());
    Ok(strays)
}

fn path(vfs: &dyn Vfs) -> FilePath<'_> {
    vfs.display_file(FileName::Manifest)
}

/// Writes the next manifest, so that a rename is all that is left to do.
fn stage(vfs: &dyn Vfs, bytes: &[u8]) -> io::Result<()> {
    match vfs.remove(FileName::ManifestTmp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = vfs.create_new(FileName::ManifestTmp)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()?;
    vfs.sync_dir()
}
