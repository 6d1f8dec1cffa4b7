//! `docs/format.md` says how the records inside the sections lie: held against the structs that are written.
//! `THIRD_PARTY.md` names the crates that are linked: held against Cargo's files.
//!
//! The records around them (manifest, header, section table) are held against their constants by tests of
//! `src/format`, which knows no content.

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};

use vdb::index::recall_table::EffortRecord;
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
        "bits" = bits, "error_width" = error_width, "finer_error_width" = finer_error_width,
        "reserved" = reserved);
    agree("Quantiser", 11, size_of::<QuantiserHead>(), head);
    let effort = fields!(EffortRecord: "recall" = recall, "probes" = probes, "epsilon" = epsilon,
        "spread_weight" = spread_weight);
    agree("Recall table", 12, size_of::<EffortRecord>(), effort);
}

#[test]
fn sizes_told_in_words_are_those_of_the_records() {
    for (words, bytes) in [
        ("**Tree nodes** (1), ", size_of::<Node>()),
        ("**Node factors** (5), ", size_of::<NodeFactors>()),
        ("**Factors** (7), ", size_of::<Factors>()),
        ("**Recall table** (12), ", size_of::<EffortRecord>()),
        ("**Quantiser** (11): a head of ", size_of::<QuantiserHead>()),
    ] {
        assert!(DOCUMENT.contains(&format!("{words}{bytes} bytes")), "{words}{bytes} bytes");
    }
}

/// Crates that work while others are compiled, and are not linked.
const NOT_LINKED: [&str; 2] = ["autocfg", "bytemuck_derive"];

/// What the library links, with versions: the dependencies of `Cargo.toml`, and theirs by `Cargo.lock`.
fn linked() -> BTreeMap<String, String> {
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let mut locked: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for package in include_str!("../../Cargo.lock").split("[[package]]").skip(1) {
        let field = |key: &str| quoted(package.lines().find(|line| line.starts_with(key)).unwrap());
        let dependencies = package.lines().skip_while(|line| *line != "dependencies = [").skip(1);
        let dependencies = dependencies.take_while(|line| *line != "]").map(quoted).collect();
        // By name, and by name and version, as others name it where there are several.
        let (name, version) = (field("name = "), field("version = "));
        let package = (version.clone(), dependencies);
        locked.insert(format!("{name} {version}"), package.clone());
        locked.insert(name, package);
    }
    let manifest = include_str!("../../Cargo.toml").split("\n[dependencies]\n").nth(1).unwrap();
    let own = manifest.lines().take_while(|line| !line.is_empty());
    let mut open: Vec<String> = own.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let mut linked = BTreeMap::new();
    while let Some(dependency) = open.pop() {
        let name = dependency.split(' ').next().unwrap().to_owned();
        if !NOT_LINKED.contains(&&*name) {
            let (version, dependencies) = locked[&dependency].clone();
            if linked.insert(name, version).is_none() {
                open.extend(dependencies);
            }
        }
    }
    linked
}

#[test]
fn every_crate_that_is_linked_has_its_notice() {
    let linked = linked();
    assert!(linked.len() > 5, "{linked:?}");
    let rows = include_str!("../../THIRD_PARTY.md").lines().filter(|line| line.starts_with("| ")).skip(1);
    let told: BTreeMap<&str, &str> = rows
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert!(!cells[2].is_empty() && !cells[3].is_empty(), "{line}");
            (cells[0], cells[1])
        })
        .collect();
    assert!(linked.keys().eq(told.keys()), "linked: {:?}, told: {:?}", linked.keys(), told.keys());
    for (name, version) in &linked {
        let told = told[name.as_str()];
        assert!(version.starts_with(&format!("{told}.")), "{name}: {told} is told, {version} is locked");
    }
}
