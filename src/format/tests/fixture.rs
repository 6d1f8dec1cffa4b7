//! A small index with several sections, and ways to read all of it.

use crate::format::checksum::checksum;
use crate::format::layout::{segment_header, SectionKind};
use crate::format::manifest::{Manifest, SegmentEntry};
use crate::format::section::{SectionSpec, SegmentHeader};
use crate::format::segment::SegmentFile;
use crate::format::writer::SegmentWriter;
use crate::types::rng::SplitMix64;
use crate::types::{ElementType, Metric, Result};
use crate::vfs::{FileName, MemVfs, OsVfs, Vfs};
use std::sync::Arc;

/// Numbers of a fixed sequence.
pub struct Random(SplitMix64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(SplitMix64::new(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

pub const UUID: [u8; 16] = *b"one small index.";

pub fn header(number: u64, rows: u64) -> SegmentHeader {
    SegmentHeader {
        uuid: UUID,
        number,
        rows,
        dim: 10,
        metric: Metric::Cosine,
        element_type: ElementType::F16,
        seed: 42,
    }
}

/// Sections of different kinds: arrays and not, bulk and small, of several blocks, of one, empty.
pub fn contents(rows: u64, seed: u64) -> Vec<(SectionSpec, Vec<u8>)> {
    let mut random = Random::new(seed);
    let mut make = |spec: SectionSpec| (spec, random.bytes(spec.bytes as usize));
    vec![
        make(SectionSpec::array(SectionKind::VECTORS, rows, 20).unwrap()),
        make(SectionSpec::array(SectionKind::TREE_NODES, 3, 32).unwrap()),
        make(SectionSpec::opaque(SectionKind::QUANTISER, 77).unwrap()),
        make(SectionSpec::array(SectionKind::IDS, rows, 8).unwrap()),
        make(SectionSpec::opaque(SectionKind::CENTRES, 0).unwrap()),
        make(SectionSpec::opaque(SectionKind::RECALL_TABLE, 1).unwrap()),
    ]
}

/// Writes a segment, section by section.
pub fn write_segment(vfs: &Arc<dyn Vfs>, number: u64, rows: u64) -> Result<SegmentEntry> {
    let mut writer = SegmentWriter::create(vfs, header(number, rows))?;
    for (spec, content) in contents(rows, number) {
        let slot = writer.reserve(spec)?;
        writer.append(slot, &content)?;
    }
    writer.finish()
}

/// A manifest of these segments.
pub fn manifest(generation: u64, segments: Vec<SegmentEntry>) -> Manifest {
    let header = header(0, 1);
    Manifest {
        uuid: header.uuid,
        generation,
        dim: header.dim,
        metric: header.metric,
        element_type: header.element_type,
        next_number: segments.last().map_or(1, |entry| entry.number + 1),
        live_rows: segments.iter().map(|entry| entry.rows).sum(),
        segments,
    }
}

/// Writes and commits an index of one segment.
pub fn write_index(vfs: &Arc<dyn Vfs>, rows: u64) -> Manifest {
    let manifest = manifest(1, vec![write_segment(vfs, 1, rows).unwrap()]);
    manifest.commit(&**vfs).unwrap();
    manifest
}

/// Opens everything and verifies everything.
pub fn open_and_verify(vfs: &dyn Vfs) -> Result<Vec<SegmentFile>> {
    let manifest = Manifest::load(vfs)?;
    let mut segments = Vec::new();
    for entry in &manifest.segments {
        let segment = SegmentFile::open(vfs, &manifest, entry)?;
        segment.verify_all(&mut |step| step.damage.map_or(Ok(()), Err))?;
        segments.push(segment);
    }
    Ok(segments)
}

pub fn read_file(vfs: &dyn Vfs, name: FileName) -> Vec<u8> {
    let file = vfs.open_read(name).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// A directory in memory with these files.
pub fn vfs_of(files: &[(FileName, &[u8])]) -> MemVfs {
    let vfs = MemVfs::new();
    for (name, bytes) in files {
        vfs.create_new(*name).unwrap().write_all_at(bytes, 0).unwrap();
    }
    vfs
}

/// Makes every checksum of an index of one segment match its bytes again, as an attacker would.
pub fn repair(manifest: &mut [u8], segment: &mut [u8]) {
    let field = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()) as usize)
    };
    let table = field(segment, segment_header::TABLE_OFFSET.offset).unwrap();
    let count = u32::from_le_bytes(segment[12..16].try_into().unwrap()) as usize;
    let table_end = count.checked_mul(64).and_then(|bytes| bytes.checked_add(table));
    if let Some(range) = table_end.and_then(|end| segment.get(table..end)) {
        let sum = checksum(range);
        segment[104..112].copy_from_slice(&sum.to_le_bytes());
    }
    let sum = checksum(&segment[..4088]);
    segment[4088..4096].copy_from_slice(&sum.to_le_bytes());
    if manifest.len() >= 200 {
        manifest[152..160].copy_from_slice(&sum.to_le_bytes());
    }
    let body = manifest.len() - 8;
    let sum = checksum(&manifest[..body]);
    manifest[body..].copy_from_slice(&sum.to_le_bytes());
}

pub fn each_vfs(check: impl Fn(Arc<dyn Vfs>)) {
    let real = tempfile::tempdir().unwrap();
    check(OsVfs::open_dir(real.path()).unwrap());
    check(Arc::new(MemVfs::new()));
}
