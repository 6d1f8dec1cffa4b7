//! What is written is what is read.

use super::fixture::*;
use crate::format::layout::{manifest_head, SectionKind, BLOCK_BYTES};
use crate::format::manifest::{remove_strays, Manifest, SEGMENTS_MAX};
use crate::format::section::SectionSpec;
use crate::format::segment::SegmentFile;
use crate::format::writer::SegmentWriter;
use crate::format::SegmentEntry;
use crate::types::Status;
use crate::vfs::faulty::{Call, FaultVfs};
use crate::vfs::{FileName, MemVfs, Vfs};
use proptest::prelude::*;
use std::sync::Arc;

#[test]
fn a_segment_is_read_as_it_was_written() {
    each_vfs(|vfs| {
        // Vectors of more than two blocks.
        let rows = 8_000;
        let manifest = write_index(&vfs, rows);
        assert_eq!(Manifest::load(&*vfs).unwrap(), manifest);
        let segments = open_and_verify(&*vfs).unwrap();
        let segment = &segments[0];
        assert_eq!(*segment.header(), header(1, rows));
        for (spec, content) in contents(rows, 1) {
            let info = segment.section(spec.kind).unwrap();
            assert_eq!((info.bytes, info.count, info.stride), (spec.bytes, spec.count, spec.stride));
            assert_eq!(info.offset % spec.align, 0);
            assert_eq!(segment.read(spec.kind).unwrap()[..], content);
            if let Some(map) = segment.map(spec.kind).unwrap() {
                assert_eq!(map[..], content);
            }
        }
        assert_eq!(segment.section(SectionKind::CODES), None);
        assert_eq!(segment.read(SectionKind::CODES).unwrap_err().status(), Status::Corrupt);
    });
}

#[test]
fn the_same_input_makes_the_same_bytes_in_any_pieces() {
    let whole: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    write_segment(&whole, 1, 250_000).unwrap();
    let expected = read_file(&*whole, FileName::Segment(1));
    for seed in 0..4 {
        let mut random = Random::new(seed);
        let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
        let mut writer = SegmentWriter::create(&vfs, header(1, 250_000)).unwrap();
        let contents = contents(250_000, 1);
        let slots: Vec<_> = contents.iter().map(|(spec, _)| writer.reserve(*spec).unwrap()).collect();
        let mut done = vec![0; contents.len()];
        while let Some(first) = (0..contents.len()).find(|at| done[*at] < contents[*at].1.len()) {
            // Any section that is not complete, by pieces from one byte to more than a buffer.
            let turn = random.below(contents.len());
            let at = if done[turn] < contents[turn].1.len() { turn } else { first };
            let most = [1, 100, BLOCK_BYTES, 40 * BLOCK_BYTES][random.below(4)];
            let piece = 1 + random.below(most);
            let rest = &contents[at].1[done[at]..];
            let piece = piece.min(rest.len());
            writer.append(slots[at], &rest[..piece]).unwrap();
            done[at] += piece;
        }
        writer.finish().unwrap();
        assert!(read_file(&*vfs, FileName::Segment(1)) == expected, "seed {seed}");
    }
}

#[test]
fn writes_end_where_a_huge_page_of_the_file_does() {
    const HUGE_PAGE: usize = 2 << 20;
    for piece in [100_000, 600_000, 3 * HUGE_PAGE + 5] {
        let disk = FaultVfs::new(Arc::new(MemVfs::new()));
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        let mut writer = SegmentWriter::create(&vfs, header(1, 5)).unwrap();
        let bytes = vec![3; 3 * HUGE_PAGE + 100_000];
        let spec = SectionSpec::opaque(SectionKind::VECTORS, bytes.len() as u64).unwrap();
        let slot = writer.reserve(spec).unwrap();
        bytes.chunks(piece).for_each(|piece| writer.append(slot, piece).unwrap());
        let writes = disk.calls().iter().filter(|call| **call == Call::Write).count();
        // What is long enough goes to the file in one, up to the last such end; else one at each end, and the rest.
        let expected = if piece > HUGE_PAGE { 2 } else { 4 };
        assert_eq!(writes, expected, "pieces of {piece}");
        writer.finish().unwrap();
    }
}

#[test]
fn a_writer_that_is_misused_says_so_and_leaves_nothing() {
    each_vfs(|vfs| {
        let internal = |error: crate::types::Error| assert_eq!(error.status(), Status::Internal, "{error}");
        let mut writer = SegmentWriter::create(&vfs, header(1, 5)).unwrap();
        let spec = SectionSpec::opaque(SectionKind::IDS, 10).unwrap();
        let slot = writer.reserve(spec).unwrap();
        internal(writer.reserve(spec).unwrap_err());
        internal(writer.reserve(SectionSpec { kind: SectionKind(99), align: 8192, ..spec }).unwrap_err());
        internal(writer.append(slot, &[0; 11]).unwrap_err());
        writer.append(slot, &[0; 9]).unwrap();
        internal(writer.append(slot, &[0; 2]).unwrap_err());
        assert!(SegmentWriter::create(&vfs, header(1, 5)).is_err_and(|e| e.status() == Status::Exists));
        internal(writer.finish().unwrap_err());
        assert_eq!(vfs.list().unwrap().ours, []);
        assert!(SectionSpec::array(SectionKind::IDS, u64::MAX, 8).is_err());
        internal(SectionSpec::opaque(SectionKind(99), 1).unwrap_err());
    });
}

#[test]
fn a_directory_without_a_manifest_is_not_an_index() {
    each_vfs(|vfs| {
        let error = Manifest::load(&*vfs).unwrap_err();
        assert_eq!(error.status(), Status::NotFound);
        assert!(error.message().contains("not an index directory"), "{error}");
    });
}

#[test]
fn unknown_sections_are_skipped_if_optional_and_refused_if_required() {
    let write = |required, kind, version| {
        let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
        let mut writer = SegmentWriter::create(&vfs, header(1, 5)).unwrap();
        let known = SectionSpec::opaque(SectionKind::IDS, 10).unwrap();
        let slot = writer.reserve(known).unwrap();
        writer.append(slot, &[1; 10]).unwrap();
        let slot = writer.reserve(SectionSpec { kind, required, version, ..known }).unwrap();
        writer.append(slot, &[2; 10]).unwrap();
        manifest(1, vec![writer.finish().unwrap()]).commit(&*vfs).unwrap();
        open_and_verify(&*vfs)
    };
    for (kind, version) in [(SectionKind(77), 1), (SectionKind::CODES, 2)] {
        let segments = write(false, kind, version).unwrap();
        assert_eq!(segments[0].section(kind), None);
        assert_eq!(segments[0].sections().count(), 2);
        assert_eq!(segments[0].read(SectionKind::IDS).unwrap()[..], [1; 10]);
        assert_eq!(write(true, kind, version).err().unwrap().status(), Status::Format);
    }
}

#[test]
fn a_newer_minor_version_is_read_and_a_newer_major_one_is_not() {
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    write_index(&vfs, 5);
    let bytes = read_file(&*vfs, FileName::Manifest);
    let segment = read_file(&*vfs, FileName::Segment(1));
    let open = |in_segment: bool, offset: usize, byte: u8| {
        let (mut manifest, mut segment) = (bytes.clone(), segment.clone());
        let changed = if in_segment { &mut segment } else { &mut manifest };
        changed[offset] = byte;
        repair(&mut manifest, &mut segment);
        open_and_verify(&vfs_of(&[(FileName::Manifest, &manifest), (FileName::Segment(1), &segment)]))
    };
    for in_segment in [false, true] {
        assert!(open(in_segment, manifest_head::MINOR.offset, 9).is_ok());
        assert!(open(in_segment, manifest_head::FLAGS_OPTIONAL.offset, 0xff).is_ok());
        for offset in [manifest_head::MAJOR.offset, manifest_head::FLAGS_REQUIRED.offset] {
            let error = open(in_segment, offset, 2).err().unwrap();
            assert_eq!(error.status(), Status::Format, "{error}");
        }
    }
}

#[test]
fn the_most_segments_fit_and_one_more_does_not() {
    let entry = |number| SegmentEntry { number, rows: 1, file_bytes: 4096, header_checksum: number };
    let most = manifest(1, (1..=SEGMENTS_MAX as u64).map(entry).collect());
    let bytes = most.encode().unwrap();
    assert!(bytes.len() <= 1 << 20);
    assert_eq!(Manifest::decode(&bytes).unwrap(), most);
    let more = manifest(1, (1..=SEGMENTS_MAX as u64 + 1).map(entry).collect());
    assert_eq!(more.encode().unwrap_err().status(), Status::Internal);
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    assert!(more.commit(&*vfs).is_err());
    assert_eq!(vfs.list().unwrap().ours, []);
}

#[test]
fn strays_are_removed_and_nothing_else() {
    each_vfs(|vfs| {
        let manifest = write_index(&vfs, 5);
        let keep = [FileName::Log(3), FileName::Tombstones { segment: 1, generation: 1 }];
        let strays = [FileName::ManifestTmp, FileName::Segment(0), FileName::Segment(2), FileName::Spill(9)];
        for name in keep.iter().chain(&strays) {
            vfs.create_new(*name).unwrap();
        }
        assert_eq!(remove_strays(&*vfs, &|number| manifest.names(number)).unwrap().len(), strays.len());
        let left = [FileName::Manifest, FileName::Segment(1), keep[1], keep[0]];
        assert_eq!(vfs.list().unwrap().ours, left);
        assert!(open_and_verify(&*vfs).is_ok());
    });
}

#[test]
fn a_segment_of_another_index_is_refused() {
    let (ours, theirs): (Arc<dyn Vfs>, Arc<dyn Vfs>) = (Arc::new(MemVfs::new()), Arc::new(MemVfs::new()));
    let manifest = write_index(&ours, 5);
    let other =
        SegmentWriter::create(&theirs, crate::format::SegmentHeader { uuid: [1; 16], ..header(1, 5) });
    let entry = other.unwrap().finish().unwrap();
    let error = SegmentFile::open(&*theirs, &manifest, &entry).err().unwrap();
    assert_eq!(error.status(), Status::Corrupt, "{error}");
    // Same length, other content: only the header's checksum in the manifest tells.
    let older = read_file(&*ours, FileName::Segment(1));
    ours.remove(FileName::Segment(1)).unwrap();
    let mut writer = SegmentWriter::create(&ours, header(1, 5)).unwrap();
    for (spec, content) in contents(5, 2) {
        let slot = writer.reserve(spec).unwrap();
        writer.append(slot, &content).unwrap();
    }
    assert_eq!(writer.finish().unwrap().file_bytes, older.len() as u64);
    assert_eq!(open_and_verify(&*ours).err().unwrap().status(), Status::Corrupt);
}

fn manifests() -> impl Strategy<Value = Manifest> {
    let segments = prop::collection::vec((1u64..1000, 1u64..1 << 31, 4096u64..1 << 50, any::<u64>()), 0..20);
    (any::<[u8; 16]>(), any::<u64>(), 1u32..65_537, segments).prop_map(|(uuid, generation, dim, segments)| {
        let mut number = 0;
        let entries = segments.into_iter().map(|(step, rows, file_bytes, header_checksum)| {
            number += step;
            SegmentEntry { number, rows, file_bytes, header_checksum }
        });
        Manifest { uuid, dim, ..manifest(generation, entries.collect()) }
    })
}

proptest! {
    #[test]
    fn any_manifest_is_read_as_it_was_written(manifest in manifests()) {
        prop_assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
    }
}
