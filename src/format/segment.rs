//! A segment's file as any reader sees it: sections that are where the table says, and checked reads.
//!
//! Opening reads header and table only, and holds both against the manifest and the file's length. Content
//! is verified when it is read whole, or block by block by `verify`. Large sections may instead be mapped
//! or read in part through [`SegmentFile::file`]; those bytes are as the disk gives them.
//! Calls `vfs` and `memory`.

use super::checksum::{block_count, checksum};
use super::layout::{segment_header, SectionKind, BLOCK_BYTES, GAP_BYTES_MAX};
use super::manifest::{Manifest, SegmentEntry};
use super::parse::to_usize;
use super::section::{FileHeader, SectionInfo, SectionTable, SegmentHeader};
use crate::memory::{try_text, try_vec, AlignedBytes};
use crate::types::{Error, Result, Status};
use crate::vfs::{Advice, FileName, Mapping, Vfs, VfsFile};
use std::io;
use std::sync::Arc;

/// Read and checked at a time: long enough for the disk, short enough to be checked while still in cache.
const PIECE_BYTES: usize = 16 * BLOCK_BYTES;

/// A segment, open to read.
pub struct SegmentFile {
    file: Arc<dyn VfsFile>,
    path: String,
    header: SegmentHeader,
    sections: Vec<SectionInfo>,
    /// First byte and length of what lies between the sections.
    gaps: Vec<(u64, u64)>,
}

/// A step of a verification.
#[derive(Debug)]
pub struct Step {
    /// Bytes that were looked at.
    pub bytes: u64,
    /// What is wrong with them: `Corrupt`, or `Io` if they could not be read.
    pub damage: Option<Error>,
}

impl SegmentFile {
    /// Opens the file of a manifest's entry.
    ///
    /// # Errors
    /// `NotFound` (no such file: the manifest may have been replaced meanwhile), `Corrupt`, `Format`
    /// (a newer version), `Io`, `OutOfMemory`.
    pub fn open(vfs: &dyn Vfs, manifest: &Manifest, entry: &SegmentEntry) -> Result<Self> {
        let name = FileName::Segment(entry.number);
        let path = try_text(format_args!("{}", vfs.display_file(name)))?;
        let file = vfs.open_read(name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(
                Status::NotFound,
                format_args!(
                    "{path}: is missing, though the manifest names it; restore the index from a copy"
                ),
            ),
            _ => Error::io(format_args!("{path}: cannot open"), &error),
        })?;
        let opened = read_header(&*file, manifest, entry).and_then(|header| {
            let table = read_table(&*file, &header)?;
            Ok((header, table))
        });
        match opened {
            Ok((header, table)) => {
                let SectionTable { sections, gaps } = table;
                Ok(SegmentFile { file, path, header: header.segment, sections, gaps })
            }
            Err(error) if error.status() == Status::Corrupt => Err(Error::corrupt(format_args!(
                "{path}: {error}. The segment cannot be opened; restore the index from a copy"
            ))),
            Err(error) => Err(error.context(path)),
        }
    }

    /// What the segment says about itself.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// How messages name the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The file, to read parts of sections. What comes from there is not verified.
    pub fn file(&self) -> &Arc<dyn VfsFile> {
        &self.file
    }

    /// A section that this version knows.
    pub fn section(&self, kind: SectionKind) -> Option<SectionInfo> {
        self.sections().find(|info| info.kind == kind && info.is_known())
    }

    /// All sections, also those that this version does not know.
    pub fn sections(&self) -> impl Iterator<Item = SectionInfo> + '_ {
        self.sections.iter().copied()
    }

    /// Reads a whole section and verifies it.
    ///
    /// # Errors
    /// `Corrupt` (damaged, or not there), `OutOfMemory`, `Io`.
    pub fn read(&self, kind: SectionKind) -> Result<AlignedBytes> {
        let info = &self.require(kind)?;
        let what = format!("{}: {kind}", self.path);
        let sums = self.sums(info)?;
        let mut content = AlignedBytes::zeroed(to_usize(&what, info.bytes)?)?;
        self.file.advise(Advice::Sequential, info.offset, info.bytes);
        let mut block = 0;
        for (piece, at) in content.chunks_mut(PIECE_BYTES).zip(offsets(info.offset, PIECE_BYTES)) {
            self.file.read_exact_at(piece, at).map_err(|error| self.read_error(info, &error))?;
            for bytes in piece.chunks(BLOCK_BYTES) {
                self.check_block(info, &sums, block, bytes)?;
                block = block.saturating_add(1);
            }
        }
        Ok(content)
    }

    /// Maps a section. `None` where the directory cannot map; it is read instead then.
    ///
    /// # Errors
    /// `Corrupt` (not there, or the file became shorter), `Io`, `OutOfMemory`.
    pub fn map(&self, kind: SectionKind) -> Result<Option<Mapping>> {
        let info = self.require(kind)?;
        self.file.map(info.offset, info.bytes).map_err(|error| {
            Error::io(format_args!("{}: cannot map {kind}", self.path), &error).with_offset(info.offset)
        })
    }

    /// Bytes that [`verify_all`](Self::verify_all) and [`read`](Self::read) take in passing: a piece, or a gap, and the
    /// block checksums of the largest section.
    pub fn verify_bytes(&self) -> u64 {
        let largest = self.sections.iter().map(|info| block_count(info.bytes)).max();
        let sums = largest.unwrap_or(0).saturating_mul(8);
        sums.saturating_add(GAP_BYTES_MAX.max(PIECE_BYTES as u64))
    }

    /// Verifies every section and every gap, block by block. Damage, and what cannot be read, is handed to
    /// `step`, which goes on by `Ok` and stops by an error of its own.
    ///
    /// # Errors
    /// What `step` returns, `OutOfMemory`.
    pub fn verify_all(&self, step: &mut dyn FnMut(Step) -> Result<()>) -> Result<()> {
        for info in &self.sections {
            self.verify_section(info, step)?;
        }
        let mut buffer = try_vec(to_usize("a gap", GAP_BYTES_MAX)?, 0u8)?;
        for (offset, bytes) in &self.gaps {
            let len = to_usize("a gap", *bytes)?;
            let gap = buffer.get_mut(..len).unwrap_or_default();
            let damage = match self.file.read_exact_at(gap, *offset) {
                Err(error) => Some(Error::io(format_args!("{}: cannot read", self.path), &error)),
                Ok(()) if gap.iter().all(|byte| *byte == 0) => None,
                Ok(()) => Some(Error::corrupt(format_args!("{}: stray bytes between sections", self.path))),
            };
            let damage = damage.map(|damage| damage.with_offset(*offset));
            step(Step { bytes: *bytes, damage })?;
        }
        Ok(())
    }

    fn verify_section(&self, info: &SectionInfo, step: &mut dyn FnMut(Step) -> Result<()>) -> Result<()> {
        let sums = match self.sums(info) {
            Ok(sums) => sums,
            Err(error) if error.status() == Status::OutOfMemory => return Err(error),
            // Without them no block can be judged; the section counts as one damage.
            Err(error) => return step(Step { bytes: info.bytes, damage: Some(error) }),
        };
        let len = usize::try_from(info.bytes).map_or(PIECE_BYTES, |bytes| bytes.min(PIECE_BYTES));
        let mut buffer = try_vec(len, 0u8)?;
        let mut left = info.bytes;
        let mut block = 0usize;
        for at in offsets(info.offset, PIECE_BYTES) {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let piece = buffer.get_mut(..len).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            let unread = self.file.read_exact_at(piece, at).err();
            for bytes in piece.chunks(BLOCK_BYTES) {
                let damage = match &unread {
                    Some(error) => Some(self.read_error(info, error).with_offset(at)),
                    None => self.check_block(info, &sums, block, bytes).err(),
                };
                let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                left = left.saturating_sub(bytes);
                block = block.saturating_add(1);
                step(Step { bytes, damage })?;
            }
        }
        Ok(())
    }

    fn require(&self, kind: SectionKind) -> Result<SectionInfo> {
        self.section(kind).ok_or_else(|| {
            Error::corrupt(format_args!("{}: {kind} is missing; restore the index from a copy", self.path))
        })
    }

    /// The block checksums of a section.
    fn sums(&self, info: &SectionInfo) -> Result<Vec<u64>> {
        let mut sums = try_vec(to_usize("the checksums of a section", block_count(info.bytes))?, 0u64)?;
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut sums);
        self.file.read_exact_at(bytes, info.sums_offset).map_err(|error| self.read_error(info, &error))?;
        if checksum(bytes) != info.sums_checksum {
            let sentence = format!(
                "{}: {}: its block checksums do not match their own; restore the index from a copy",
                self.path, info.kind
            );
            return Err(Error::corrupt(sentence).with_offset(info.sums_offset));
        }
        sums.iter_mut().for_each(|sum| *sum = u64::from_le(*sum));
        Ok(sums)
    }

    fn check_block(&self, info: &SectionInfo, sums: &[u64], block: usize, bytes: &[u8]) -> Result<()> {
        if sums.get(block) == Some(&checksum(bytes)) {
            return Ok(());
        }
        let sentence = format!(
            "{}: {}, block {block}: checksum does not match. Restore the index from a copy, or build it again",
            self.path, info.kind
        );
        let before = u64::try_from(block.saturating_mul(BLOCK_BYTES)).unwrap_or(u64::MAX);
        Err(Error::corrupt(sentence).with_offset(info.offset.saturating_add(before)))
    }

    fn read_error(&self, info: &SectionInfo, error: &io::Error) -> Error {
        Error::io(format_args!("{}: cannot read {}", self.path, info.kind), error).with_offset(info.offset)
    }
}

/// `start`, and on in steps of `bytes`.
fn offsets(start: u64, bytes: usize) -> impl Iterator<Item = u64> {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    std::iter::successors(Some(start), move |at| at.checked_add(bytes))
}

/// The header, held against the file's length and the manifest.
fn read_header(file: &dyn VfsFile, manifest: &Manifest, entry: &SegmentEntry) -> Result<FileHeader> {
    let len = file.len().map_err(|error| Error::io("cannot read", &error))?;
    if len != entry.file_bytes {
        return Err(Error::corrupt(format_args!("is {len} bytes long and should be {}", entry.file_bytes)));
    }
    let mut record = try_vec(segment_header::BYTES, 0u8)?;
    file.read_exact_at(&mut record, 0).map_err(|error| Error::io("cannot read", &error))?;
    let (header, sum) = FileHeader::decode(&record)?;
    let segment = &header.segment;
    let expected = SegmentHeader {
        uuid: manifest.uuid,
        number: entry.number,
        rows: entry.rows,
        dim: manifest.dim,
        metric: manifest.metric,
        element_type: manifest.element_type,
        seed: segment.seed,
    };
    if *segment != expected || header.file_bytes != len || sum != entry.header_checksum {
        return Err(Error::corrupt("is not the file that the manifest names: another, or an older one"));
    }
    Ok(header)
}

/// The section table that the header names.
fn read_table(file: &dyn VfsFile, header: &FileHeader) -> Result<SectionTable> {
    let bytes = header.table_bytes()?;
    let end = header.table_offset.checked_add(bytes);
    if end.is_none_or(|end| end > header.file_bytes) {
        return Err(Error::corrupt("the section table lies beyond the end of the file"));
    }
    let mut table = try_vec(to_usize("a section table", bytes)?, 0u8)?;
    file.read_exact_at(&mut table, header.table_offset).map_err(|error| Error::io("cannot read", &error))?;
    SectionTable::decode(&table, header)
}
