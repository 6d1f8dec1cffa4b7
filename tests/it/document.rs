//! `docs/format.md` says how the records inside the sections lie: held against the structs that are written.
//!
//! The records around them (manifest, header, section table) are held against their constants by tests of
//! `src/format`, which knows no content.

use std::mem::{offset_of, size_of};

use vdb::index::recall_table::Effort;
use vdb::index::segment::QuantiserHead;
use vdb::index::tree::{Node, NodeFactors};
use vdb::quantize::encode::Factors;

const DOCUMENT: &str = include_str!("../../docs/format.md");

/// Field, offset and bytes of each row of the table that follows the words `**name** (kind)`.
fn table(name: &str, kind: u32) -> Vec<(&'static str, usize, usize)> {
    let start =
        DOCUMENT.find(&format!("**{name}** ({kind})")).unwrap_or_else(|| panic!("{name} is not told"));
    let rows = DOCUMENT[start..].lines().skip_while(|line| !line.starts_with('|'));
    rows.take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            (cells[2], cells[0].parse().unwrap(), cells[1].parse().unwrap())
        })
        .collect()
}

/// Fails unless the table has exactly these fields at these offsets, without a hole, up to `bytes`.
fn agree(name: &str, kind: u32, bytes: usize, fields: &[(&str, usize)]) {
    let table = table(name, kind);
    let told: Vec<(&str, usize)> = table.iter().map(|(field, offset, _)| (*field, *offset)).collect();
    assert_eq!(told, fields, "{name}");
    let mut end = 0;
    for (field, offset, length) in table {
        assert_eq!(offset, end, "{name}: a hole or an overlap before {field}");
        end = offset + length;
    }
    assert_eq!(end, bytes, "{name}");
}

macro_rules! fields {
    ($record:ty: $($name:literal = $($field:ident).+),* $(,)?) => {
        &[$(($name, offset_of!($record, $($field).+))),*]
    };
}

#[test]
fn records_of_sections_lie_as_told() {
    let nodes = fields!(Node: "first_child" = first_child, "child_count" = child_count, "first_row" = first_row,
        "row_count" = row_count, "first_leaf" = first_leaf, "leaf_count" = leaf_count, "centre" = centre,
        "parent" = parent);
    agree("Tree nodes", 1, size_of::<Node>(), nodes);
    let factors = fields!(NodeFactors: "code.offset" = code.offset, "code.scale" = code.scale,
        "rank_offset" = rank_offset, "rank_scale" = rank_scale, "spread" = spread);
    agree("Node factors", 5, size_of::<NodeFactors>(), factors);
    let factors = fields!(Factors: "offset" = offset, "scale" = scale);
    agree("Factors", 7, size_of::<Factors>(), factors);
    let head = fields!(QuantiserHead: "rotation_seed" = rotation_seed, "dim" = dim, "padded" = padded,
        "bits" = bits, "error_width" = error_width, "reserved" = reserved);
    agree("Quantiser", 11, size_of::<QuantiserHead>(), head);
    let effort = fields!(Effort: "recall" = recall, "probes" = probes, "epsilon" = epsilon,
        "spread_weight" = spread_weight);
    agree("Recall table", 12, size_of::<Effort>(), effort);
}

#[test]
fn sizes_told_in_words_are_those_of_the_records() {
    for (words, bytes) in [
        ("**Tree nodes** (1), ", size_of::<Node>()),
        ("**Node factors** (5), ", size_of::<NodeFactors>()),
        ("**Factors** (7), ", size_of::<Factors>()),
        ("**Recall table** (12), ", size_of::<Effort>()),
        ("**Quantiser** (11): a head of ", size_of::<QuantiserHead>()),
    ] {
        assert!(DOCUMENT.contains(&format!("{words}{bytes} bytes")), "{words}{bytes} bytes");
    }
}
