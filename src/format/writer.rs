//! Writes a segment: sections side by side, then their checksums, the table and the header.
//!
//! A section is reserved with its length, at any time before the end, and takes its place (and its disk
//! space) at once; so a full disk shows before the work. Several may then be filled in turns, each from
//! front to back: small pieces are gathered, large ones go straight to the file, and the checksum of each
//! block is taken on the way. Writes end where a huge page of the file does, so that the system may keep the
//! file in such pages, in which a search finds rows sooner. What was written may be read back through
//! [`SegmentWriter::file`].
//!
//! The header is written last, and the file is synced before [`SegmentWriter::finish`] returns; a manifest
//! may then name it. Dropping an unfinished writer removes its file. Calls `vfs` and `memory`.

use super::checksum::{checksum, BlockSums};
use super::layout::{segment_header, ALIGN_BULK, ALIGN_SMALL, SECTIONS_MAX};
use super::manifest::SegmentEntry;
use super::parse::{align_up, internal};
use super::section::{FileHeader, SectionInfo, SectionSpec, SectionTable, SegmentHeader};
use crate::memory::{try_text, try_with_capacity};
use crate::types::{Error, Result};
use crate::vfs::{FileName, Vfs, VfsFile};
use std::io;
use std::sync::Arc;

/// A section's small pieces are gathered up to a multiple of this in the file: the huge page of most machines. Linux
/// takes the pages of its cache as large as what is written at once, where the file system can (`docs/experiments.md`).
const PIECE_BYTES: usize = 2 << 20;

/// After so many bytes of a section the system is asked to begin writing them, so that the sync at the end
/// has little left to do.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// A reserved section of one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionSlot(usize);

/// A segment being written.
pub struct SegmentWriter {
    vfs: Arc<dyn Vfs>,
    file: Arc<dyn VfsFile>,
    path: String,
    header: SegmentHeader,
    slots: Vec<Slot>,
    /// First byte that belongs to no section.
    end: u64,
    finished: bool,
    /// A write failed, so what is in the file is not what was appended.
    broken: bool,
}

/// A reserved section and how far it is.
struct Slot {
    info: SectionInfo,
    /// Bytes in the file, from the section's start.
    written: u64,
    /// Bytes up to here were handed to the system to write.
    hinted: u64,
    /// What comes next.
    buffer: Vec<u8>,
    /// Of all that was appended.
    sums: BlockSums,
}

impl Slot {
    fn appended(&self) -> u64 {
        self.written.saturating_add(len_u64(&self.buffer))
    }

    /// Bytes from the first that is not in the file to the next multiple of [`PIECE_BYTES`].
    fn room(&self) -> usize {
        let at = self.info.offset.saturating_add(self.written);
        let beyond = at.checked_rem(PIECE_BYTES as u64).unwrap_or(0);
        PIECE_BYTES.saturating_sub(usize::try_from(beyond).unwrap_or(0))
    }

    fn is_complete(&self) -> bool {
        self.written == self.info.bytes
    }
}

impl SegmentWriter {
    /// Begins a segment in a file that is not there yet.
    ///
    /// # Errors
    /// `Exists`, `Io`, `DiskFull`, `OutOfMemory`.
    pub fn create(vfs: &Arc<dyn Vfs>, header: SegmentHeader) -> Result<Self> {
        let name = FileName::Segment(header.number);
        let path = try_text(format_args!("{}", vfs.display_file(name)))?;
        let slots = try_with_capacity(SECTIONS_MAX)?;
        let file = vfs.create_new(name).map_err(|e| Error::io(format_args!("{path}: cannot create"), &e))?;
        Ok(SegmentWriter {
            vfs: Arc::clone(vfs),
            file,
            path,
            header,
            slots,
            end: ALIGN_BULK,
            finished: false,
            broken: false,
        })
    }

    /// Gives a section its place and its disk space.
    ///
    /// # Errors
    /// `DiskFull`, `Io`, `OutOfMemory`; `Internal` for a second section of a kind, or too many.
    pub fn reserve(&mut self, spec: SectionSpec) -> Result<SectionSlot> {
        if self.slots.len() >= SECTIONS_MAX || self.slots.iter().any(|slot| slot.info.kind == spec.kind) {
            return Err(internal("one section too many"));
        }
        if !spec.align.is_power_of_two() || !(ALIGN_SMALL..=ALIGN_BULK).contains(&spec.align) {
            return Err(internal("a section with an alignment that readers refuse"));
        }
        let too_large =
            || Error::invalid(format_args!("{}: {} is larger than any file", self.path, spec.kind));
        let offset = align_up(self.end, spec.align).ok_or_else(too_large)?;
        let end = offset.checked_add(spec.bytes).ok_or_else(too_large)?;
        let slot = Slot {
            info: SectionInfo {
                kind: spec.kind,
                version: spec.version,
                required: spec.required,
                offset,
                bytes: spec.bytes,
                count: spec.count,
                stride: spec.stride,
                sums_offset: 0,
                sums_checksum: 0,
            },
            written: 0,
            hinted: 0,
            buffer: Vec::new(),
            sums: BlockSums::new(spec.bytes)?,
        };
        self.file.allocate(end).map_err(|error| self.failed(&error))?;
        self.end = end;
        self.slots.push(slot);
        Ok(SectionSlot(self.slots.len().saturating_sub(1)))
    }

    /// Writes the next bytes of a section.
    ///
    /// # Errors
    /// `DiskFull`, `Io`, `OutOfMemory`; `Internal` for more bytes than were reserved.
    pub fn append(&mut self, slot: SectionSlot, mut bytes: &[u8]) -> Result<()> {
        let state = self.slot(slot)?;
        let left = state.info.bytes.saturating_sub(state.appended());
        if len_u64(bytes) > left {
            return Err(internal("a section gets more bytes than it reserved"));
        }
        self.slot_mut(slot)?.sums.add(bytes);
        while !bytes.is_empty() {
            let state = self.slot_mut(slot)?;
            let room = state.room();
            if state.buffer.is_empty() && bytes.len() >= room {
                let beyond = bytes.len().saturating_sub(room);
                let whole = bytes.len().saturating_sub(beyond % PIECE_BYTES);
                let (now, later) = bytes.split_at_checked(whole).unwrap_or((bytes, &[]));
                self.write_next(slot, now)?;
                bytes = later;
                continue;
            }
            if state.buffer.capacity() == 0 {
                let rest = state.info.bytes.saturating_sub(state.written);
                state.buffer = try_with_capacity(
                    usize::try_from(rest).map_or(PIECE_BYTES, |rest| rest.min(PIECE_BYTES)),
                )?;
            }
            let left = room.saturating_sub(state.buffer.len());
            let (now, later) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
            state.buffer.extend_from_slice(now);
            bytes = later;
            let full = state.buffer.len() >= room;
            if full || state.appended() == state.info.bytes {
                self.flush(slot)?;
            }
        }
        Ok(())
    }

    /// First byte of a section in the file.
    ///
    /// # Errors
    /// `Internal` for another writer's slot.
    pub fn offset(&self, slot: SectionSlot) -> Result<u64> {
        Ok(self.slot(slot)?.info.offset)
    }

    /// The file, to read back what was written.
    pub fn file(&self) -> Arc<dyn VfsFile> {
        Arc::clone(&self.file)
    }

    /// Writes checksums, table and header, and makes the file durable; its name becomes so with the
    /// manifest that names it.
    ///
    /// # Errors
    /// `DiskFull`, `Io`, `OutOfMemory`; `Internal` if a section is not complete. The file is removed then.
    pub fn finish(mut self) -> Result<SegmentEntry> {
        if self.broken {
            return Err(self.failed(&io::Error::other("an earlier write failed")));
        }
        if let Some(slot) = self.slots.iter().find(|slot| !slot.is_complete()) {
            let (kind, appended, bytes) = (slot.info.kind, slot.appended(), slot.info.bytes);
            return Err(internal(format_args!("{kind} has {appended} of {bytes} bytes")));
        }
        let too_large = || Error::invalid("a segment is larger than any file");
        let mut at = align_up(self.end, 8).ok_or_else(too_large)?;
        let mut sections = try_with_capacity(self.slots.len())?;
        for slot in &mut self.slots {
            // Little-endian by field, so that the file is the same on every machine.
            let blocks = slot.sums.finish();
            let mut sums = try_with_capacity(blocks.len().saturating_mul(8))?;
            sums.extend(blocks.iter().flat_map(|sum| sum.to_le_bytes()));
            slot.info.sums_offset = at;
            slot.info.sums_checksum = checksum(&sums);
            self.file.write_all_at(&sums, at).map_err(|error| write_error(&self.path, &error))?;
            at = at.checked_add(len_u64(&sums)).ok_or_else(too_large)?;
            sections.push(slot.info);
        }
        let table = SectionTable::encode(&sections)?;
        self.file.write_all_at(&table, at).map_err(|error| self.failed(&error))?;
        let file_bytes = at.checked_add(len_u64(&table)).ok_or_else(too_large)?;
        let header = FileHeader {
            segment: self.header,
            file_bytes,
            section_count: u32::try_from(sections.len()).unwrap_or(u32::MAX),
            table_offset: at,
            table_checksum: checksum(&table),
        };
        let (record, header_checksum) = header.encode()?;
        debug_assert_eq!(record.len(), segment_header::BYTES);
        self.file.write_all_at(&record, 0).map_err(|error| self.failed(&error))?;
        self.file.sync_data().map_err(|error| self.failed(&error))?;
        self.finished = true;
        Ok(SegmentEntry { number: self.header.number, rows: self.header.rows, file_bytes, header_checksum })
    }

    /// Writes what a section has gathered.
    fn flush(&mut self, slot: SectionSlot) -> Result<()> {
        let gathered = std::mem::take(&mut self.slot_mut(slot)?.buffer);
        self.write_next(slot, &gathered)?;
        let state = self.slot_mut(slot)?;
        if !state.is_complete() {
            state.buffer = gathered;
            state.buffer.clear();
        }
        Ok(())
    }

    /// Writes the next bytes of a section.
    fn write_next(&mut self, slot: SectionSlot, bytes: &[u8]) -> Result<()> {
        let state = self.slot(slot)?;
        let at = state.info.offset.saturating_add(state.written);
        if self.broken {
            return Err(self.failed(&io::Error::other("an earlier write failed")));
        }
        if let Err(error) = self.file.write_all_at(bytes, at) {
            self.broken = true;
            return Err(self.failed(&error));
        }
        let state = self.slot_mut(slot)?;
        state.written = state.written.saturating_add(len_u64(bytes));
        let pending = state.written.saturating_sub(state.hinted);
        if pending >= WRITEBACK_BYTES {
            let from = state.info.offset.saturating_add(state.hinted);
            state.hinted = state.written;
            self.file.start_writeback(from, pending);
        }
        Ok(())
    }

    fn slot(&self, slot: SectionSlot) -> Result<&Slot> {
        self.slots.get(slot.0).ok_or_else(|| internal("a section of another segment"))
    }

    fn slot_mut(&mut self, slot: SectionSlot) -> Result<&mut Slot> {
        self.slots.get_mut(slot.0).ok_or_else(|| internal("a section of another segment"))
    }

    fn failed(&self, error: &io::Error) -> Error {
        write_error(&self.path, error)
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: whoever writes next removes it as well.
            let _ = self.vfs.remove(FileName::Segment(self.header.number));
        }
    }
}

fn write_error(path: &str, error: &io::Error) -> Error {
    Error::io(format_args!("{path}: cannot write, the segment is given up"), error)
}

/// Length in the file's own integer.
fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
