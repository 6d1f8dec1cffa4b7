//! Accidents: bits that flip, files that end early, parts that belong elsewhere.

use super::fixture::*;
use crate::format::layout::{SectionKind, BLOCK_BYTES};
use crate::format::manifest::Manifest;
use crate::format::segment::SegmentFile;
use crate::types::Status;
use crate::vfs::{FileName, MemVfs, OsVfs, Vfs, VfsFile};
use std::sync::Arc;

const NAMES: [FileName; 2] = [FileName::Manifest, FileName::Segment(1)];

/// An index in memory, its files open for change.
fn index(rows: u64) -> (Arc<dyn Vfs>, [Arc<dyn VfsFile>; 2]) {
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    write_index(&vfs, rows);
    let files = NAMES.map(|name| vfs.open_read(name).unwrap());
    (vfs, files)
}

#[test]
fn every_flipped_bit_is_found() {
    let (vfs, files) = index(7);
    let (mut flips, mut found, mut found_by_open) = (0, 0, 0);
    for file in &files {
        for offset in 0..file.len().unwrap() {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            for bit in 0..8 {
                file.write_all_at(&[byte[0] ^ (1 << bit)], offset).unwrap();
                flips += 1;
                found += usize::from(open_and_verify(&*vfs).is_err());
                let manifest = Manifest::load(&*vfs);
                let opened = manifest.and_then(|m| SegmentFile::open(&*vfs, &m, &m.segments[0]));
                found_by_open += usize::from(opened.is_err());
            }
            file.write_all_at(&byte, offset).unwrap();
        }
    }
    assert!(open_and_verify(&*vfs).is_ok());
    assert_eq!(found, flips);
    // The control: opening alone does not read the sections, so it must miss some.
    assert!(
        flips > 60_000 && found_by_open > flips / 10 && found_by_open < flips,
        "{found_by_open} of {flips}"
    );
}

#[test]
fn truncation_at_any_byte_is_refused_without_a_crash() {
    let (vfs, _) = index(7);
    let whole = NAMES.map(|name| read_file(&*vfs, name));
    for (cut, name) in NAMES.iter().enumerate() {
        for len in 0..whole[cut].len() {
            let mut files = [&whole[0][..], &whole[1][..]];
            files[cut] = &files[cut][..len];
            let vfs = vfs_of(&[(NAMES[0], files[0]), (NAMES[1], files[1])]);
            let error = open_and_verify(&vfs).err().unwrap();
            assert!(matches!(error.status(), Status::Corrupt | Status::Format), "{name} at {len}: {error}");
            assert!(error.message().contains(&name.to_string()), "{error}");
        }
    }
}

#[test]
fn a_longer_file_is_refused() {
    for at in 0..2 {
        let (vfs, files) = index(7);
        files[at].write_all_at(&[0], files[at].len().unwrap()).unwrap();
        assert_eq!(open_and_verify(&*vfs).err().unwrap().status(), Status::Corrupt);
    }
}

#[test]
fn a_file_that_ends_early_after_it_was_opened_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let vfs: Arc<dyn Vfs> = OsVfs::open_dir(dir.path()).unwrap();
    let manifest = write_index(&vfs, 10_000);
    let segment = SegmentFile::open(&*vfs, &manifest, &manifest.segments[0]).unwrap();
    let path = dir.path().join(FileName::Segment(1).to_string());
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let info = segment.section(SectionKind::VECTORS).unwrap();
    file.set_len(info.offset + info.bytes / 2).unwrap();
    for error in [
        segment.read(SectionKind::VECTORS).err().unwrap(),
        segment.verify_all(&mut |step| step.damage.map_or(Ok(()), Err)).unwrap_err(),
        segment.map(SectionKind::VECTORS).err().unwrap(),
    ] {
        assert_eq!(error.status(), Status::Corrupt, "{error}");
    }
}

#[test]
fn damage_is_named_by_section_block_and_offset_and_the_rest_is_still_read() {
    let (vfs, files) = index(20_000);
    let manifest = Manifest::load(&*vfs).unwrap();
    let segment = SegmentFile::open(&*vfs, &manifest, &manifest.segments[0]).unwrap();
    let info = segment.section(SectionKind::VECTORS).unwrap();
    let damaged = [1, 4].map(|block| info.offset + block * BLOCK_BYTES as u64);
    for offset in damaged {
        let mut byte = [0];
        files[1].read_exact_at(&mut byte, offset + 100).unwrap();
        files[1].write_all_at(&[!byte[0]], offset + 100).unwrap();
    }
    let error = segment.read(SectionKind::VECTORS).err().unwrap();
    assert_eq!((error.status(), error.offset()), (Status::Corrupt, Some(damaged[0])));
    assert!(error.message().contains("section \"vectors\", block 1:"), "{error}");
    assert!(segment.read(SectionKind::IDS).is_ok());

    let (mut bytes, mut offsets) = (0, Vec::new());
    segment
        .verify_all(&mut |step| {
            bytes += step.bytes;
            offsets.extend(step.damage.and_then(|damage| damage.offset()));
            Ok(())
        })
        .unwrap();
    assert_eq!(offsets, damaged);
    assert!(bytes >= segment.sections().map(|info| info.bytes).sum());
}

#[test]
fn a_verification_stops_when_it_is_told_to() {
    let (vfs, _) = index(20_000);
    let manifest = Manifest::load(&*vfs).unwrap();
    let segment = SegmentFile::open(&*vfs, &manifest, &manifest.segments[0]).unwrap();
    let mut steps = 0;
    let stopped = segment.verify_all(&mut |_| {
        steps += 1;
        if steps == 3 {
            Err(crate::types::Error::new(Status::Cancelled, "stop"))
        } else {
            Ok(())
        }
    });
    assert_eq!((stopped.unwrap_err().status(), steps), (Status::Cancelled, 3));
}

#[test]
fn a_zeroed_or_empty_file_is_refused() {
    let (vfs, _) = index(7);
    let whole = NAMES.map(|name| read_file(&*vfs, name));
    for at in 0..2 {
        for zeroed in [vec![0; whole[at].len()], Vec::new()] {
            let mut files = [&whole[0][..], &whole[1][..]];
            files[at] = &zeroed;
            assert!(open_and_verify(&vfs_of(&[(NAMES[0], files[0]), (NAMES[1], files[1])])).is_err());
        }
    }
    let big = vec![7; (1 << 20) + 1];
    let error = Manifest::load(&vfs_of(&[(FileName::Manifest, &big)])).unwrap_err();
    assert_eq!(error.status(), Status::Format);
}

#[test]
fn a_missing_segment_is_named() {
    let (vfs, _) = index(7);
    vfs.remove(FileName::Segment(1)).unwrap();
    let error = open_and_verify(&*vfs).err().unwrap();
    assert_eq!(error.status(), Status::NotFound);
    assert!(error.message().contains("seg-0000000000000001.vdb: is missing"), "{error}");
}
