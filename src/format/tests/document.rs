//! `docs/format.md` says what the constants say.

use crate::format::layout::{manifest_head, manifest_segment, section_entry, segment_header, KINDS};

const DOCUMENT: &str = include_str!("../../../docs/format.md");

/// Cells of the table below the first heading that contains `heading`, without its two head lines.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let at = DOCUMENT.lines().position(|line| line.starts_with('#') && line.contains(heading)).unwrap();
    let rows = DOCUMENT.lines().skip(at + 1).skip_while(|line| !line.starts_with('|'));
    rows.take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn each_record_is_documented_field_by_field_and_without_a_hole() {
    for (name, bytes, fields) in [
        ("manifest_head", manifest_head::BYTES, manifest_head::FIELDS),
        ("manifest_segment", manifest_segment::BYTES, manifest_segment::FIELDS),
        ("segment_header", segment_header::BYTES, segment_header::FIELDS),
        ("section_entry", section_entry::BYTES, section_entry::FIELDS),
    ] {
        let heading = format!("`{name}`, {bytes} bytes");
        let documented: Vec<(&str, usize, usize)> = table(&heading)
            .iter()
            .map(|cells| {
                let (offset, len) = (cells[0].parse::<usize>().unwrap(), cells[1].parse::<usize>().unwrap());
                (cells[2], offset, offset + len)
            })
            .collect();
        assert_eq!(documented, fields, "{name}");
        let mut end = 0;
        for (field, first, after) in fields {
            assert_eq!(*first, end, "{name}: a hole or an overlap before {field}");
            end = *after;
        }
        assert_eq!(end, bytes, "{name}");
    }
}

#[test]
fn each_kind_of_section_is_documented() {
    let documented = table("Kinds of sections");
    let ours: Vec<Vec<String>> = KINDS
        .iter()
        .map(|layout| {
            let required = if layout.required { "yes" } else { "no" };
            let numbers = [layout.kind.0.to_string(), layout.version.to_string(), layout.align.to_string()];
            let [kind, version, align] = numbers;
            vec![kind, layout.name.to_owned(), version, required.to_owned(), align]
        })
        .collect();
    let (known, reserved) = documented.split_at(ours.len());
    for (cells, ours) in known.iter().zip(&ours) {
        assert_eq!(&cells[..5], ours);
    }
    for cells in reserved {
        let number: u32 = cells[0].parse().unwrap();
        assert!(cells[5].starts_with("reserved"), "kind {number} is documented but not in the layout");
        assert!(KINDS.iter().all(|layout| layout.kind.0 != number));
    }
}

#[test]
fn no_number_of_a_kind_is_given_twice() {
    for (at, layout) in KINDS.iter().enumerate() {
        assert!(KINDS[..at].iter().all(|other| other.kind != layout.kind && other.name != layout.name));
    }
}
