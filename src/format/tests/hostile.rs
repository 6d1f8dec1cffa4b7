//! Attacks: numbers of any value under checksums that match.

use super::allocation::peak_bytes;
use super::fixture::*;
use crate::format::layout::{manifest_head, manifest_segment, section_entry, segment_header};
use crate::types::Result;
use crate::vfs::{FileName, MemVfs, Vfs};
use std::sync::Arc;

/// A manifest and a segment, as bytes.
type Files = (Vec<u8>, Vec<u8>);

fn files() -> Files {
    let vfs: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    write_index(&vfs, 7);
    (read_file(&*vfs, FileName::Manifest), read_file(&*vfs, FileName::Segment(1)))
}

/// First bytes and lengths of all fields, in the manifest (`false`) and the segment (`true`).
fn fields(segment: &[u8]) -> Vec<(bool, usize, usize)> {
    let at = segment_header::TABLE_OFFSET.offset;
    let table = u64::from_le_bytes(segment[at..at + 8].try_into().unwrap()) as usize;
    let mut fields = Vec::new();
    let mut add = |in_segment, base, record: &[(&str, usize, usize)]| {
        let small = record.iter().filter(|(_, first, end)| end - first <= 8);
        fields.extend(small.map(|(_, first, end)| (in_segment, base + first, end - first)));
    };
    add(false, 0, manifest_head::FIELDS);
    add(false, manifest_head::BYTES, manifest_segment::FIELDS);
    add(true, 0, segment_header::FIELDS);
    for entry in (table..segment.len()).step_by(section_entry::BYTES) {
        add(true, entry, section_entry::FIELDS);
    }
    fields
}

/// Puts `value` into a field; the bits that do not fit are left out.
fn set(files: &mut Files, (in_segment, at, len): (bool, usize, usize), value: u64) {
    let bytes = if in_segment { &mut files.1 } else { &mut files.0 };
    bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

fn get(files: &Files, (in_segment, at, len): (bool, usize, usize)) -> u64 {
    let bytes = if in_segment { &files.1 } else { &files.0 };
    let mut value = [0; 8];
    value[..len].copy_from_slice(&bytes[at..at + len]);
    u64::from_le_bytes(value)
}

/// Opens, verifies and reads everything that opens. Panics are what the test is about; beyond that, memory
/// is bounded by the files' length.
fn open_and_read(files: &Files) -> Result<()> {
    let vfs = vfs_of(&[(FileName::Manifest, &files.0), (FileName::Segment(1), &files.1)]);
    let (result, peak) = peak_bytes(|| open_and_read_all(&vfs, files));
    assert!(peak <= 2 * (files.0.len() + files.1.len()) + (1 << 20), "{peak} bytes");
    result
}

fn open_and_read_all(vfs: &dyn Vfs, files: &Files) -> Result<()> {
    for segment in open_and_verify(vfs)? {
        let mut all = 0;
        for info in segment.sections() {
            all += info.bytes;
            assert!(info.offset + info.bytes <= files.1.len() as u64);
            assert!(info.count * u64::from(info.stride) <= info.bytes);
            if let Ok(content) = segment.read(info.kind) {
                assert_eq!(content.len() as u64, info.bytes);
            }
        }
        assert!(all <= files.1.len() as u64);
    }
    Ok(())
}

#[test]
fn any_value_in_any_field_is_refused_or_harmless() {
    let original = files();
    let fields = fields(&original.1);
    let len = original.1.len() as u64;
    let (mut refused, mut accepted) = (0, 0);
    for field in &fields {
        let old = get(&original, *field);
        let near = [old.wrapping_sub(1), old.wrapping_add(1), old.wrapping_sub(8), old.wrapping_add(64)];
        let whole =
            [0, 1, 2, 7, 8, 63, 64, 4095, 4096, len - 1, len, len + 1, len - 4096, old.wrapping_mul(2)];
        let far = [u64::MAX, u64::MAX - 7, u64::MAX - 63, 1 << 63, 1 << 32, (1 << 32) - 1, 1 << 31, 1 << 48];
        for value in near.into_iter().chain(whole).chain(far) {
            let mut changed = original.clone();
            set(&mut changed, *field, value);
            repair(&mut changed.0, &mut changed.1);
            match open_and_read(&changed) {
                Ok(()) => accepted += 1,
                Err(_) => refused += 1,
            }
        }
    }
    // The checks behind the checksums must be what refuses: most values contradict something.
    assert!(refused > 1_000 && accepted > 100, "{refused} refused, {accepted} accepted");
}

/// Facts that are stored twice, or that have a range, one contradiction at a time.
#[test]
fn every_contradiction_is_refused_by_name() {
    let original = files();
    let at = segment_header::TABLE_OFFSET.offset;
    let table = u64::from_le_bytes(original.1[at..at + 8].try_into().unwrap()) as usize;
    let entry = |index: usize, offset: usize, len: usize| (true, table + 64 * index + offset, len);
    let segment = manifest_head::BYTES;
    // Entries in the table, as `contents` makes them: 0 vectors, 1 tree nodes, 2 quantiser, 3 ids.
    let vectors = get(&original, entry(0, 8, 8));
    let cases = [
        ((false, 12, 4), 2, "2 segments do not make"),
        ((false, 12, 4), 0, "0 segments do not make"),
        ((false, 56, 4), 0, "cannot have 0 dimensions"),
        ((false, 56, 4), 65_537, "cannot have 65537 dimensions"),
        ((false, 56, 4), 11, "not the file that the manifest names"),
        ((false, 60, 4), 4, "no metric 4"),
        ((false, 60, 4), 1, "not the file that the manifest names"),
        ((false, 64, 4), 0, "no element type 0"),
        ((false, 32, 8), 0, "not the file that the manifest names"),
        ((false, 72, 8), 1, "segment 1 is out of order"),
        ((false, 80, 8), 8, "do not make 8 live rows"),
        ((false, segment + 8, 8), 0, "cannot have 0 rows"),
        ((false, segment + 8, 8), (1 << 32) - 1, "cannot have 4294967295 rows"),
        ((false, segment + 16, 8), 4095, "segment 1 is too short"),
        ((false, segment + 16, 8), 1 << 20, "bytes long and should be 1048576"),
        ((true, 12, 4), 65, "65 sections are more than can be"),
        ((true, 12, 4), 5, "the last part ends at byte"),
        ((true, 48, 8), 2, "not the file that the manifest names"),
        ((true, 56, 8), 8, "not the file that the manifest names"),
        ((true, 64, 4), 0, "cannot have 0 dimensions"),
        ((true, 68, 4), 0, "no metric 0"),
        ((true, 72, 4), 9, "no element type 9"),
        ((true, 88, 8), 4096, "not the file that the manifest names"),
        ((true, 96, 8), u64::MAX - 10, "section table lies beyond the end"),
        (entry(0, 0, 4), 1, "section \"tree nodes\": is there twice"),
        (entry(0, 0, 4), 99, "newer libvdb"),
        (entry(0, 4, 2), 2, "newer libvdb"),
        (entry(0, 8, 8), vectors + 64, "not aligned"),
        (entry(0, 8, 8), 0, "overlap"),
        (entry(0, 8, 8), vectors + (1 << 40), "belong to nothing"),
        (entry(0, 16, 8), 141, "7 records of 20 bytes do not make 141 bytes"),
        (entry(0, 24, 8), u64::MAX, "records of 20 bytes do not make 140 bytes"),
        (entry(0, 32, 4), 0, "7 records of 0 bytes do not make 140 bytes"),
        (entry(0, 36, 1), 15, "checksum blocks cannot be of 2^15 bytes"),
        (entry(0, 40, 8), 4096, "overlap"),
        (entry(0, 40, 8), 4097, "not aligned"),
        (entry(0, 48, 8), 1, "block checksums do not match"),
        (entry(2, 16, 8), u64::MAX, "overlap"),
        (entry(2, 16, 8), 5000, "overlap"),
    ];
    for (field, value, sentence) in cases {
        let mut changed = original.clone();
        set(&mut changed, field, value);
        repair(&mut changed.0, &mut changed.1);
        if field == (false, segment + 8, 8) {
            // The sum must not be what refuses it.
            set(&mut changed, (false, 80, 8), value);
            repair(&mut changed.0, &mut changed.1);
        }
        let error = open_and_read(&changed).unwrap_err();
        assert!(error.message().contains(sentence), "{field:?} = {value}: {error}");
    }
}

#[test]
fn several_hostile_fields_at_once_are_refused_or_harmless() {
    let original = files();
    let fields = fields(&original.1);
    let mut random = Random::new(1);
    let mut accepted = 0;
    for _ in 0..60_000 {
        let mut changed = original.clone();
        for _ in 0..1 + random.below(4) {
            let field = fields[random.below(fields.len())];
            let other = fields[random.below(fields.len())];
            let value = match random.below(5) {
                0 => random.next(),
                1 => random.next() % (2 * original.1.len() as u64),
                2 => random.next() % (original.1.len() as u64 / 64) * 64,
                // What is right elsewhere is most likely to pass.
                3 => get(&original, other),
                _ => get(&original, field).wrapping_add(random.next() % 129).wrapping_sub(64),
            };
            set(&mut changed, field, value);
        }
        repair(&mut changed.0, &mut changed.1);
        accepted += usize::from(open_and_read(&changed).is_ok());
    }
    assert!(accepted > 500, "only {accepted} got through; the others test the first checks only");
}

#[test]
fn any_bytes_as_a_manifest_are_an_error() {
    let mut random = Random::new(2);
    for _ in 0..20_000 {
        let len = random.below(300);
        let mut bytes = random.bytes(len);
        if random.below(2) == 0 && len >= 16 {
            bytes[..8].copy_from_slice(b"VDBMANI\0");
            bytes[8..12].copy_from_slice(&[1, 0, 0, 0]);
            bytes[16..].iter_mut().take(8).for_each(|byte| *byte = 0);
            let body = len.saturating_sub(8).max(8);
            let sum = crate::format::checksum::checksum(&bytes[..body]);
            bytes[body..].copy_from_slice(&sum.to_le_bytes()[..len - body]);
        }
        assert!(crate::format::Manifest::decode(&bytes).is_err());
    }
}
