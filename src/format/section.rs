//! Header and section table of a segment, as checked values.
//!
//! Decoding believes nothing: a [`SectionTable`] that was made has sections within the file, aligned,
//! apart from each other, with counts that agree with their lengths, and every byte of the file is in a
//! section, the header, the table, the checksums, or a gap that is listed. Calls `types`.

use super::checksum::{block_count, checksum};
use super::layout::{
    section_entry as entry, segment_header as header, SectionKind, ALIGN_BULK, ALIGN_SMALL, BLOCK_LOG2,
    FLAGS_REQUIRED_KNOWN, FORMAT_MAJOR, FORMAT_MINOR, GAP_BYTES_MAX, SECTIONS_MAX, SECTION_REQUIRED,
    SEGMENT_MAGIC,
};
use super::parse::{internal, put, View};
use crate::memory::{try_vec, try_with_capacity};
use crate::types::params::{DIM_MAX, SEGMENT_ROWS_MAX};
use crate::types::{ElementType, Error, Metric, Result, Status};

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Of the index.
    pub uuid: [u8; 16],
    /// In the file's name.
    pub number: u64,
    /// Rows.
    pub rows: u64,
    /// Dimensions of a vector.
    pub dim: u32,
    /// How distance is measured.
    pub metric: Metric,
    /// How vectors are stored.
    pub element_type: ElementType,
    /// Seed of the build.
    pub seed: u64,
}

/// A section to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionSpec {
    /// What it holds.
    pub kind: SectionKind,
    /// Version of its layout.
    pub version: u16,
    /// Readers that do not know it must refuse the segment.
    pub required: bool,
    /// Length.
    pub bytes: u64,
    /// Records; 0 if it is not an array.
    pub count: u64,
    /// Bytes of a record; 0 if it is not an array.
    pub stride: u32,
    /// Multiple that it begins at, a power of two from 64 to 4096.
    pub align: u64,
}

impl SectionSpec {
    /// An array of `count` records of `stride` bytes, of a kind that this version knows.
    ///
    /// # Errors
    /// `InvalidArgument` when the length is beyond 64 bits, `Internal` for an unknown kind.
    pub fn array(kind: SectionKind, count: u64, stride: u32) -> Result<Self> {
        let bytes = count.checked_mul(u64::from(stride)).ok_or_else(|| {
            Error::invalid(format_args!(
                "{kind}: {count} records of {stride} bytes are more than a file can hold"
            ))
        })?;
        Ok(SectionSpec { count, stride, ..Self::opaque(kind, bytes)? })
    }

    /// `bytes` bytes that are not an array of records, of a kind that this version knows.
    ///
    /// # Errors
    /// `Internal` for an unknown kind.
    pub fn opaque(kind: SectionKind, bytes: u64) -> Result<Self> {
        let layout = kind.layout().ok_or_else(|| internal("a section of an unknown kind is written"))?;
        Ok(SectionSpec {
            kind,
            version: layout.version,
            required: layout.required,
            bytes,
            count: 0,
            stride: 0,
            align: layout.align,
        })
    }
}

/// A section of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionInfo {
    /// What it holds.
    pub kind: SectionKind,
    /// Version of its layout.
    pub version: u16,
    /// Readers that do not know it must refuse the segment.
    pub required: bool,
    /// First byte in the file.
    pub offset: u64,
    /// Length.
    pub bytes: u64,
    /// Records; 0 if it is not an array.
    pub count: u64,
    /// Bytes of a record; 0 if it is not an array.
    pub stride: u32,
    /// First byte of its block checksums in the file.
    pub(super) sums_offset: u64,
    /// Checksum of the block checksums.
    pub(super) sums_checksum: u64,
}

impl SectionInfo {
    /// This version can make sense of the content.
    pub fn is_known(&self) -> bool {
        self.kind.layout().is_some_and(|layout| self.version <= layout.version)
    }

    /// Bytes of its block checksums.
    pub(super) fn sums_bytes(&self) -> u64 {
        // At most 2^48 blocks.
        block_count(self.bytes).saturating_mul(8)
    }
}

/// A segment's header together with what only its file knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub segment: SegmentHeader,
    pub file_bytes: u64,
    pub section_count: u32,
    pub table_offset: u64,
    pub table_checksum: u64,
}

impl FileHeader {
    /// The header's bytes, and the checksum among them.
    pub fn encode(&self) -> Result<(Vec<u8>, u64)> {
        let mut record = try_vec(header::BYTES, 0u8)?;
        let r = &mut record[..];
        let segment = &self.segment;
        put(r, header::MAGIC, SEGMENT_MAGIC)?;
        put(r, header::MAJOR, FORMAT_MAJOR)?;
        put(r, header::MINOR, FORMAT_MINOR)?;
        put(r, header::SECTION_COUNT, self.section_count)?;
        put(r, header::UUID, segment.uuid)?;
        put(r, header::NUMBER, segment.number)?;
        put(r, header::ROWS, segment.rows)?;
        put(r, header::DIM, segment.dim)?;
        put(r, header::METRIC, segment.metric as u32)?;
        put(r, header::ELEMENT_TYPE, segment.element_type as u32)?;
        put(r, header::SEED, segment.seed)?;
        put(r, header::FILE_BYTES, self.file_bytes)?;
        put(r, header::TABLE_OFFSET, self.table_offset)?;
        put(r, header::TABLE_CHECKSUM, self.table_checksum)?;
        let sum = checksum(r.get(..header::CHECKSUM.offset).unwrap_or_default());
        put(r, header::CHECKSUM, sum)?;
        Ok((record, sum))
    }

    /// The header in `record`, and its checksum.
    pub fn decode(record: &[u8]) -> Result<(Self, u64)> {
        let view = View::new(record);
        if view.get(header::MAGIC)? != SEGMENT_MAGIC {
            return Err(Error::new(Status::Format, "the file is not a segment of an index"));
        }
        let sum = view.get(header::CHECKSUM)?;
        let sound = checksum(record.get(..header::CHECKSUM.offset).unwrap_or_default()) == sum;
        check_version(view.get(header::MAJOR)?, view.get(header::FLAGS_REQUIRED)?, sound)?;
        if !sound {
            return Err(Error::corrupt("the header's checksum does not match"));
        }
        let file_header = FileHeader {
            segment: SegmentHeader {
                uuid: view.get(header::UUID)?,
                number: view.get(header::NUMBER)?,
                rows: check_rows(view.get(header::ROWS)?)?,
                dim: check_dim(view.get(header::DIM)?)?,
                metric: check_metric(view.get(header::METRIC)?)?,
                element_type: check_element_type(view.get(header::ELEMENT_TYPE)?)?,
                seed: view.get(header::SEED)?,
            },
            file_bytes: view.get(header::FILE_BYTES)?,
            section_count: view.get(header::SECTION_COUNT)?,
            table_offset: view.get(header::TABLE_OFFSET)?,
            table_checksum: view.get(header::TABLE_CHECKSUM)?,
        };
        Ok((file_header, sum))
    }

    /// Length of the section table, once the count was compared with what is legal.
    pub fn table_bytes(&self) -> Result<u64> {
        let count = usize::try_from(self.section_count).ok().filter(|count| *count <= SECTIONS_MAX);
        let bytes = count.and_then(|count| count.checked_mul(entry::BYTES));
        let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
        bytes.ok_or_else(|| {
            Error::corrupt(format_args!("{} sections are more than can be", self.section_count))
        })
    }
}

/// Says why a file of another version cannot be read; `sound`: its checksum is what ours would be.
pub(super) fn check_version(major: u16, flags_required: u64, sound: bool) -> Result<()> {
    if major != FORMAT_MAJOR {
        // A flipped bit in our own version looks the same, unless the checksum says otherwise.
        let doubt = if sound { "" } else { ", or is damaged" };
        return Err(Error::new(
            Status::Format,
            format_args!(
                "the file has format version {major}{doubt}; this libvdb reads version {FORMAT_MAJOR}"
            ),
        ));
    }
    if sound && flags_required & !FLAGS_REQUIRED_KNOWN != 0 {
        return Err(Error::new(
            Status::Format,
            format_args!(
                "the file uses features {flags_required:#x} of a newer libvdb; open it with that version"
            ),
        ));
    }
    Ok(())
}

pub(super) fn check_rows(rows: u64) -> Result<u64> {
    match rows {
        1..=SEGMENT_ROWS_MAX => Ok(rows),
        _ => Err(Error::corrupt(format_args!("a segment cannot have {rows} rows"))),
    }
}

pub(super) fn check_dim(dim: u32) -> Result<u32> {
    match usize::try_from(dim) {
        Ok(1..=DIM_MAX) => Ok(dim),
        _ => Err(Error::corrupt(format_args!("vectors cannot have {dim} dimensions"))),
    }
}

pub(super) fn check_metric(value: u32) -> Result<Metric> {
    Metric::from_u32(value).ok_or_else(|| Error::corrupt(format_args!("there is no metric {value}")))
}

pub(super) fn check_element_type(value: u32) -> Result<ElementType> {
    ElementType::from_u32(value)
        .ok_or_else(|| Error::corrupt(format_args!("there is no element type {value}")))
}

/// The sections of a file, and the gaps between its parts.
#[derive(Clone, Debug, Default)]
pub(super) struct SectionTable {
    pub sections: Vec<SectionInfo>,
    /// First byte and length.
    pub gaps: Vec<(u64, u64)>,
}

impl SectionTable {
    /// The table's bytes.
    pub fn encode(sections: &[SectionInfo]) -> Result<Vec<u8>> {
        let mut table = try_vec(sections.len().saturating_mul(entry::BYTES), 0u8)?;
        for (record, section) in table.chunks_exact_mut(entry::BYTES).zip(sections) {
            put(record, entry::KIND, section.kind.0)?;
            put(record, entry::VERSION, section.version)?;
            put(record, entry::FLAGS, if section.required { SECTION_REQUIRED } else { 0 })?;
            put(record, entry::OFFSET, section.offset)?;
            put(record, entry::LENGTH, section.bytes)?;
            put(record, entry::COUNT, section.count)?;
            put(record, entry::STRIDE, section.stride)?;
            put(record, entry::BLOCK_LOG2, BLOCK_LOG2)?;
            put(record, entry::SUMS_OFFSET, section.sums_offset)?;
            put(record, entry::SUMS_CHECKSUM, section.sums_checksum)?;
        }
        Ok(table)
    }

    /// The sections of `table`, held against the file that it came from.
    pub fn decode(table: &[u8], header: &FileHeader) -> Result<Self> {
        if checksum(table) != header.table_checksum {
            return Err(Error::corrupt("the section table's checksum does not match"));
        }
        let mut sections: Vec<SectionInfo> = try_with_capacity(SECTIONS_MAX)?;
        for record in table.chunks_exact(entry::BYTES) {
            let section = decode_entry(record)?;
            if sections.iter().any(|earlier| earlier.kind == section.kind) {
                return Err(Error::corrupt(format_args!("{}: is there twice", section.kind)));
            }
            sections.push(section);
        }
        let table_bytes = u64::try_from(table.len()).unwrap_or(u64::MAX);
        let gaps = find_gaps(&sections, (header.table_offset, table_bytes), header.file_bytes)?;
        Ok(SectionTable { sections, gaps })
    }
}

fn decode_entry(record: &[u8]) -> Result<SectionInfo> {
    let view = View::new(record);
    let section = SectionInfo {
        kind: SectionKind(view.get(entry::KIND)?),
        version: view.get(entry::VERSION)?,
        required: view.get(entry::FLAGS)? & SECTION_REQUIRED != 0,
        offset: view.get(entry::OFFSET)?,
        bytes: view.get(entry::LENGTH)?,
        count: view.get(entry::COUNT)?,
        stride: view.get(entry::STRIDE)?,
        sums_offset: view.get(entry::SUMS_OFFSET)?,
        sums_checksum: view.get(entry::SUMS_CHECKSUM)?,
    };
    let kind = section.kind;
    if section.required && !section.is_known() {
        return Err(Error::new(
            Status::Format,
            format_args!("{kind}, version {}: was written by a newer libvdb; open it with that version", {
                section.version
            }),
        ));
    }
    let block_log2 = view.get(entry::BLOCK_LOG2)?;
    if block_log2 != BLOCK_LOG2 {
        return Err(Error::corrupt(format_args!(
            "{kind}: checksum blocks cannot be of 2^{block_log2} bytes"
        )));
    }
    // One fact twice: it must agree, or a later reader trusts the wrong one.
    let bytes = match section.stride {
        0 if section.count == 0 => Some(section.bytes),
        0 => None,
        stride => section.count.checked_mul(u64::from(stride)),
    };
    if bytes != Some(section.bytes) {
        return Err(Error::corrupt(format_args!(
            "{kind}: {} records of {} bytes do not make {} bytes",
            section.count, section.stride, section.bytes
        )));
    }
    let align = kind.layout().map_or(ALIGN_SMALL, |layout| layout.align);
    if !section.offset.is_multiple_of(align) || !section.sums_offset.is_multiple_of(8) {
        return Err(Error::corrupt(format_args!("{kind}: begins at byte {}, not aligned", section.offset)));
    }
    Ok(section)
}

/// What lies between header, sections, checksums and table; an error if two of them share a byte, or if
/// a gap is so long that something is missing.
fn find_gaps(sections: &[SectionInfo], table: (u64, u64), file_bytes: u64) -> Result<Vec<(u64, u64)>> {
    let overlap = || Error::corrupt("two parts of the segment overlap, or one ends beyond the file");
    let mut parts = try_with_capacity(SECTIONS_MAX.saturating_mul(2).saturating_add(2))?;
    parts.push((0, ALIGN_BULK));
    parts.push(table);
    for section in sections {
        parts.push((section.offset, section.bytes));
        parts.push((section.sums_offset, section.sums_bytes()));
    }
    parts.sort_unstable();
    let mut gaps = try_with_capacity(parts.len())?;
    let mut end = 0u64;
    for (offset, bytes) in parts {
        let gap = offset.checked_sub(end).ok_or_else(overlap)?;
        if gap >= GAP_BYTES_MAX {
            return Err(Error::corrupt(format_args!("bytes {end} to {offset} belong to nothing")));
        }
        if gap > 0 {
            gaps.push((end, gap));
        }
        end = offset.checked_add(bytes).ok_or_else(overlap)?;
    }
    if end != file_bytes {
        return Err(Error::corrupt(format_args!(
            "the last part ends at byte {end}, the file at {file_bytes}"
        )));
    }
    Ok(gaps)
}
