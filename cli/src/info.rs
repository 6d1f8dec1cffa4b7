//! `vdb info`: what an index is, as the library tells it.

use std::path::Path;

use serde::Serialize;
use vdb::database::{Database, Info, MemoryReport, OpenOptions, SegmentReport};

use crate::args::IndexArgs;
use crate::failure::Failure;
use crate::output::{bytes, count, print_json, print_text, seconds};

/// Entries of a recall table that a line has room for.
const EFFORTS_A_LINE: usize = 5;

/// Opens the index as a search would, and prints what it is.
pub fn run(args: &IndexArgs) -> Result<(), Failure> {
    let database = Database::open(&args.index, &OpenOptions { threads: 1, ..OpenOptions::default() })?;
    let info = database.info();
    let segments = (0..info.segments).map(|i| database.segment(i)).collect::<Result<Vec<_>, _>>()?;
    let memory = database.memory();
    if args.json {
        return print_json(&description(&args.index, &info, &memory, &segments));
    }
    print_text(&text(&args.index, &info, &memory, &segments))
}

/// Parts of the memory report in the order of printing, with their names.
pub fn memory_parts(memory: &MemoryReport) -> [(&'static str, u64); 9] {
    [
        ("tree", memory.tree_bytes),
        ("codes", memory.code_bytes),
        ("ids", memory.id_bytes),
        ("links", memory.link_bytes),
        ("second tier", memory.second_tier_bytes),
        ("vector cache", memory.vector_cache_bytes),
        ("answer cache", memory.answer_cache_bytes),
        ("scratch", memory.scratch_bytes),
        ("other", memory.other_bytes),
    ]
}

/// Parts that are there, as "tree 1.0 MiB, codes 2.0 MiB".
pub fn listed(parts: &[(&str, u64)]) -> String {
    let present: Vec<String> = parts
        .iter()
        .filter(|part| part.1 > 0)
        .map(|(name, size)| format!("{name} {}", bytes(*size)))
        .collect();
    if present.is_empty() {
        "nothing".to_owned()
    } else {
        present.join(", ")
    }
}

fn text(index: &Path, info: &Info, memory: &MemoryReport, segments: &[SegmentReport]) -> String {
    let mut text = format!(
        "{}: {} rows x {}, {}, {}, {}\n",
        index.display(),
        count(info.rows),
        info.dim,
        info.element.name(),
        info.metric.name(),
        info.shape(),
    );
    text += &format!("codes    {} bits a dimension, {} bytes a row\n", info.code_bits, info.code_bytes);
    text += &match info.links {
        true => format!("links    {}, between rows that lie near each other\n", bytes(memory.link_bytes)),
        false => "links    none\n".to_owned(),
    };
    text += &format!("vectors  {}\n", if info.mapped { "mapped" } else { "read by system calls" });
    text += &format!("memory   {} of at most {}", bytes(memory.total_bytes), bytes(memory.limit_bytes));
    text += &format!(": {}\n", listed(&memory_parts(memory)));
    text += &format!("disk     {}, generation {}, ", bytes(info.disk_bytes), info.generation);
    text += &format!("format {}\n", info.format_version);
    text += &format!("opened   in {}, kernels {}\n", seconds(info.open_ns), info.kernels);
    for (i, segment) in segments.iter().enumerate() {
        text += &segment_text(i, segment);
    }
    text
}

fn segment_text(index: usize, segment: &SegmentReport) -> String {
    let mut text = format!("segment {index}, file number {}: {} rows\n", segment.number, count(segment.rows));
    let levels: Vec<String> = segment.level_nodes.iter().map(|nodes| count(*nodes)).collect();
    text += &format!("  tree    {} nodes in levels of {}\n", count(segment.nodes), levels.join(", "));
    text += &format!(
        "  leaves  {} of {} to {} rows, median {}\n",
        count(segment.leaves),
        count(segment.leaf_rows_min),
        count(segment.leaf_rows_max),
        count(segment.leaf_rows_median),
    );
    let parts = [
        ("tree", segment.tree_bytes),
        ("codes", segment.code_bytes),
        ("ids", segment.id_bytes),
        ("links", segment.link_bytes),
        ("vectors", segment.vector_bytes),
    ];
    text += &format!("  disk    {}: {}\n", bytes(segment.file_bytes), listed(&parts));
    let efforts: Vec<String> = segment.efforts.iter().map(effort_text).collect();
    if !efforts.is_empty() {
        let walks = if segment.link_bytes > 0 { " + rows that a walk along links holds" } else { "" };
        text += &format!("  recall@10 on held-out rows, at so many probes{walks}:\n");
    }
    for line in efforts.chunks(EFFORTS_A_LINE) {
        text += &format!("    {}\n", line.join(", "));
    }
    text
}

fn effort_text(effort: &vdb::database::Effort) -> String {
    let walk = if effort.list > 0 { format!(" + {}", effort.list) } else { String::new() };
    format!("{:.4} at {}{walk}", effort.recall, effort.probes)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Description {
    index: String,
    rows: u64,
    dim: usize,
    metric: &'static str,
    element: &'static str,
    flat: bool,
    links: bool,
    mapped: bool,
    code_bits: u32,
    code_bytes: u32,
    generation: u64,
    format_version: u32,
    disk_bytes: u64,
    open_ms: f64,
    kernels: &'static str,
    memory: Memory,
    segments: Vec<Segment>,
}

/// Bytes in memory by part, for JSON.
#[derive(Serialize)]
pub struct Memory {
    limit_bytes: u64,
    total_bytes: u64,
    peak_bytes: u64,
    tree_bytes: u64,
    code_bytes: u64,
    id_bytes: u64,
    link_bytes: u64,
    second_tier_bytes: u64,
    vector_cache_bytes: u64,
    answer_cache_bytes: u64,
    scratch_bytes: u64,
    other_bytes: u64,
    mapped_bytes: u64,
}

impl From<&MemoryReport> for Memory {
    fn from(report: &MemoryReport) -> Self {
        Memory {
            limit_bytes: report.limit_bytes,
            total_bytes: report.total_bytes,
            peak_bytes: report.peak_bytes,
            tree_bytes: report.tree_bytes,
            code_bytes: report.code_bytes,
            id_bytes: report.id_bytes,
            link_bytes: report.link_bytes,
            second_tier_bytes: report.second_tier_bytes,
            vector_cache_bytes: report.vector_cache_bytes,
            answer_cache_bytes: report.answer_cache_bytes,
            scratch_bytes: report.scratch_bytes,
            other_bytes: report.other_bytes,
            mapped_bytes: report.mapped_bytes,
        }
    }
}

#[derive(Serialize)]
struct Segment {
    number: u64,
    rows: u64,
    nodes: u64,
    level_nodes: Vec<u64>,
    leaves: u64,
    leaf_rows_min: u64,
    leaf_rows_median: u64,
    leaf_rows_max: u64,
    file_bytes: u64,
    tree_bytes: u64,
    code_bytes: u64,
    id_bytes: u64,
    link_bytes: u64,
    vector_bytes: u64,
    recall_table: Vec<Effort>,
}

#[derive(Serialize)]
struct Effort {
    recall: f32,
    probes: u32,
    walk: u32,
}

impl From<&SegmentReport> for Segment {
    fn from(report: &SegmentReport) -> Self {
        let effort = |effort: &vdb::database::Effort| Effort {
            recall: effort.recall,
            probes: effort.probes,
            walk: effort.list,
        };
        Segment {
            number: report.number,
            rows: report.rows,
            nodes: report.nodes,
            level_nodes: report.level_nodes.clone(),
            leaves: report.leaves,
            leaf_rows_min: report.leaf_rows_min,
            leaf_rows_median: report.leaf_rows_median,
            leaf_rows_max: report.leaf_rows_max,
            file_bytes: report.file_bytes,
            tree_bytes: report.tree_bytes,
            code_bytes: report.code_bytes,
            id_bytes: report.id_bytes,
            link_bytes: report.link_bytes,
            vector_bytes: report.vector_bytes,
            recall_table: report.efforts.iter().map(effort).collect(),
        }
    }
}

fn description(index: &Path, info: &Info, memory: &MemoryReport, segments: &[SegmentReport]) -> Description {
    Description {
        index: index.display().to_string(),
        rows: info.rows,
        dim: info.dim,
        metric: info.metric.name(),
        element: info.element.name(),
        flat: info.flat,
        links: info.links,
        mapped: info.mapped,
        code_bits: info.code_bits,
        code_bytes: info.code_bytes,
        generation: info.generation,
        format_version: info.format_version,
        disk_bytes: info.disk_bytes,
        open_ms: info.open_ns as f64 / 1e6,
        kernels: info.kernels,
        memory: memory.into(),
        segments: segments.iter().map(Segment::from).collect(),
    }
}
