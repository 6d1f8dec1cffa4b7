//! What was measured, as tables for people and as one JSON object for programs.

use std::path::Path;

use serde::Serialize;
use vdb::database::{CacheReport, Info, MemoryReport};
use vdb::stats::SearchStats;

use super::effort::Effort;
use super::measure::{Mode, Pass};
use super::oracle::Found;
use crate::info::{listed, memory_parts, Memory};
use crate::output::{bytes, count, seconds, Table};
use crate::process::Resident;

/// Under what the measurement was made.
pub struct Setting<'a> {
    /// Index directory.
    pub index: &'a Path,
    /// What the index is.
    pub info: Info,
    /// What it holds in memory, after the measurement.
    pub memory: MemoryReport,
    /// What the process holds then.
    pub resident: Resident,
    /// Number of queries.
    pub queries: usize,
    /// Neighbours a query.
    pub k: usize,
    /// Rounds.
    pub rounds: u32,
    /// Where truth came from; `None`: from the exact mode.
    pub truth: Option<&'a Path>,
    /// Whether answers could come from the answer cache.
    pub answer_cache: bool,
    /// Exponent of Zipf's law, if queries were drawn by it.
    pub zipf: Option<f64>,
    /// The vector cache, after the measurement.
    pub vector_cache: CacheReport,
}

/// What one effort cost in one mode: medians over the rounds for QPS and percentiles, means over all else.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    #[serde(skip)]
    effort: Effort,
    recall_asked: Option<f32>,
    probes_asked: Option<u32>,
    /// What was found.
    #[serde(flatten)]
    pub found: Found,
    /// Queries a second.
    pub qps: f64,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    p999_us: f64,
    mean_us: f64,
    /// Threads that worked.
    pub threads: u32,
    /// Queries of a call.
    pub batch: usize,
    #[serde(flatten)]
    work: Work,
    phases_us: Phases,
}

/// Means a query.
#[derive(Clone, Copy, Debug, Serialize)]
struct Work {
    probes: f64,
    nodes_ranked: f64,
    leaves_scanned: f64,
    codes_scanned: f64,
    codes_walked: f64,
    rows_reranked: f64,
    rows_read: f64,
    bytes_read: f64,
    answer_cache_hits: f64,
}

/// Mean microseconds a query, summed over threads.
#[derive(Clone, Copy, Debug, Serialize)]
struct Phases {
    quantise: f64,
    descend: f64,
    scan: f64,
    walk: f64,
    read: f64,
    rerank: f64,
    merge: f64,
}

impl Phases {
    /// In the order of a search: name, what happens, microseconds.
    fn steps(&self) -> [(&'static str, &'static str, f64); 7] {
        [
            ("quantise", "rotate and encode the query", self.quantise),
            ("descend", "rank nodes down to the leaves", self.descend),
            ("scan", "estimate distances from codes", self.scan),
            ("walk", "follow links between rows", self.walk),
            ("read", "wait for full vectors", self.read),
            ("rerank", "exact distances, best first", self.rerank),
            ("merge", "join segments and threads", self.merge),
        ]
    }
}

impl Measured {
    /// The figures of an effort's passes in one mode over `queries` queries each.
    pub fn new(effort: Effort, mode: Mode, found: Found, queries: usize, passes: &[Pass]) -> Self {
        let of = |figure: fn(&Pass) -> f64| median(passes.iter().map(figure).collect());
        let mut stats = SearchStats::default();
        passes.iter().for_each(|pass| stats.add(&pass.stats));
        let searches = (passes.len() * queries) as f64;
        let (recall_asked, probes_asked) = match effort {
            Effort::Recall(recall) => (Some(recall), None),
            Effort::Probes(probes) => (None, Some(probes)),
        };
        Measured {
            effort,
            recall_asked,
            probes_asked,
            found,
            qps: of(|pass| pass.qps),
            p50_us: of(|pass| pass.call_us.p50),
            p95_us: of(|pass| pass.call_us.p95),
            p99_us: of(|pass| pass.call_us.p99),
            p999_us: of(|pass| pass.call_us.p999),
            mean_us: passes.iter().map(|pass| pass.mean_us).sum::<f64>() / passes.len() as f64,
            threads: mode.threads(),
            batch: mode.batch(),
            work: Work::new(&stats, searches),
            phases_us: Phases::new(&stats, searches),
        }
    }

    /// Whether queries were asked one by one on one thread.
    fn is_single(&self) -> bool {
        self.threads == 1 && self.batch == 1
    }
}

impl Work {
    fn new(stats: &SearchStats, searches: f64) -> Self {
        let mean = |sum: u64| sum as f64 / searches;
        Work {
            probes: mean(stats.probes.into()),
            nodes_ranked: mean(stats.nodes_ranked),
            leaves_scanned: mean(stats.leaves_scanned),
            codes_scanned: mean(stats.codes_scanned),
            codes_walked: mean(stats.codes_walked),
            rows_reranked: mean(stats.rows_reranked),
            rows_read: mean(stats.rows_read),
            bytes_read: mean(stats.bytes_read),
            answer_cache_hits: mean(stats.answer_cache_hit.into()),
        }
    }
}

impl Phases {
    fn new(stats: &SearchStats, searches: f64) -> Self {
        let mean = |sum_ns: u64| sum_ns as f64 / 1e3 / searches;
        Phases {
            quantise: mean(stats.quantise_ns),
            descend: mean(stats.descend_ns),
            scan: mean(stats.scan_ns),
            walk: mean(stats.walk_ns),
            read: mean(stats.read_ns),
            rerank: mean(stats.rerank_ns),
            merge: mean(stats.merge_ns),
        }
    }
}

/// The middle of some figures, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        Some(upper) if values.len().is_multiple_of(2) => (values[middle - 1] + upper) / 2.0,
        Some(value) => *value,
        None => 0.0,
    }
}

/// All tables.
pub fn text(setting: &Setting, results: &[Measured]) -> String {
    [head(setting), efforts(setting.k, results), phases(results), memory(setting)].join("\n")
}

fn head(setting: &Setting) -> String {
    let info = &setting.info;
    let truth = setting.truth.map_or("exact search".to_owned(), |path| path.display().to_string());
    format!(
        "{}: {} rows x {}, {}, {}, {}; opened in {}; kernels {}\n\
         {} queries {}, k {}, truth by {truth}, medians of {} rounds, answer cache {}\n",
        setting.index.display(),
        count(info.rows),
        info.dim,
        info.element.name(),
        info.metric.name(),
        info.shape(),
        seconds(info.open_ns),
        info.kernels,
        count(setting.queries as u64),
        setting
            .zipf
            .map_or("in random order".to_owned(), |exponent| format!("drawn by Zipf's law, {exponent}")),
        setting.k,
        setting.rounds,
        if setting.answer_cache { "on" } else { "off" },
    )
}

fn efforts(k: usize, results: &[Measured]) -> String {
    let recall = format!("recall@{k}");
    let mut table = Table::new(
        1,
        [
            "asked", &recall, "poor %", "worst", "threads", "batch", "QPS", "p50 us", "p95 us", "p99 us",
            "p999 us", "probes", "codes", "by link", "reranked", "KiB read",
        ],
    );
    for result in results {
        let whole = |value: f64| count(value.round() as u64);
        table.row([
            result.effort.name(),
            format!("{:.4}", result.found.recall),
            format!("{:.1}", 100.0 * result.found.recall_poor_share),
            format!("{:.2}", result.found.recall_worst),
            result.threads.to_string(),
            count(result.batch as u64),
            whole(result.qps),
            micros(result.p50_us),
            micros(result.p95_us),
            micros(result.p99_us),
            micros(result.p999_us),
            whole(result.work.probes),
            whole(result.work.codes_scanned),
            whole(result.work.codes_walked),
            whole(result.work.rows_reranked),
            format!("{:.1}", result.work.bytes_read / 1024.0),
        ]);
    }
    table.text()
}

/// Where the time of a single search goes, a column an effort.
fn phases(results: &[Measured]) -> String {
    // With one caller on one thread beside, the first of each effort is the single pass.
    let mut singles: Vec<&Measured> = results.iter().filter(|result| result.is_single()).collect();
    singles.dedup_by(|a, b| a.effort == b.effort);
    let names = singles.iter().map(|single| single.effort.name());
    let headings = ["phase".to_owned(), "mean us of a single search".to_owned()];
    let mut table = Table::new(2, headings.into_iter().chain(names));
    let mut add = |name: &str, what: &str, figure: &dyn Fn(&Measured) -> f64| {
        let figures = singles.iter().map(|single| format!("{:.1}", figure(single)));
        table.row([name.to_owned(), what.to_owned()].into_iter().chain(figures));
    };
    let Some(first) = singles.first() else { return String::new() };
    for (i, (name, what, _)) in first.phases_us.steps().into_iter().enumerate() {
        add(name, what, &|single| single.phases_us.steps()[i].2);
    }
    let timed = |single: &Measured| single.phases_us.steps().iter().map(|step| step.2).sum::<f64>();
    add("other", "checks, plan, copying the answer", &|single| (single.mean_us - timed(single)).max(0.0));
    add("total", "as the caller sees it", &|single| single.mean_us);
    table.text()
}

fn memory(setting: &Setting) -> String {
    let resident = &setting.resident;
    let cache = &setting.vector_cache;
    let asked = cache.hits + cache.misses;
    let hits = match cache.capacity_bytes {
        0 => "off".to_owned(),
        capacity => format!(
            "{} of {}, {:.1} % of {} look-ups found",
            bytes(cache.used_bytes),
            bytes(capacity),
            100.0 * cache.hits as f64 / asked.max(1) as f64,
            count(asked)
        ),
    };
    format!(
        "memory: process {} resident, {} of its own and {} of mapped files; {} at its peak\n\
         index:  {} held: {}; {} of vectors mapped\n\
         vector cache: {hits}",
        bytes(resident.rss_bytes),
        bytes(resident.rss_anon_bytes),
        bytes(resident.rss_file_bytes),
        bytes(resident.rss_peak_bytes),
        bytes(setting.memory.total_bytes),
        listed(&memory_parts(&setting.memory)),
        bytes(setting.memory.mapped_bytes),
    )
}

/// Three digits that matter, or all before the point.
fn micros(value: f64) -> String {
    match value {
        small if small < 100.0 => format!("{small:.1}"),
        large => count(large.round() as u64),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
pub struct Report<'a> {
    index: String,
    rows: u64,
    dim: usize,
    metric: &'static str,
    element: &'static str,
    flat: bool,
    links: bool,
    mapped: bool,
    kernels: &'static str,
    open_ms: f64,
    disk_bytes: u64,
    queries: usize,
    k: usize,
    rounds: u32,
    truth: String,
    answer_cache: bool,
    zipf: Option<f64>,
    vector_cache: VectorCache,
    process: Resident,
    memory: Memory,
    results: &'a [Measured],
}

/// Size and counts of the vector cache, over warm-up and measurement.
#[derive(Serialize)]
struct VectorCache {
    capacity_bytes: u64,
    used_bytes: u64,
    hits: u64,
    misses: u64,
}

/// The object that `--json` prints.
pub fn json<'a>(setting: &Setting, results: &'a [Measured]) -> Report<'a> {
    let info = &setting.info;
    Report {
        index: setting.index.display().to_string(),
        rows: info.rows,
        dim: info.dim,
        metric: info.metric.name(),
        element: info.element.name(),
        flat: info.flat,
        links: info.links,
        mapped: info.mapped,
        kernels: info.kernels,
        open_ms: info.open_ns as f64 / 1e6,
        disk_bytes: info.disk_bytes,
        queries: setting.queries,
        k: setting.k,
        rounds: setting.rounds,
        truth: setting.truth.map_or("exact search".to_owned(), |path| path.display().to_string()),
        answer_cache: setting.answer_cache,
        zipf: setting.zipf,
        vector_cache: VectorCache {
            capacity_bytes: setting.vector_cache.capacity_bytes,
            used_bytes: setting.vector_cache.used_bytes,
            hits: setting.vector_cache.hits,
            misses: setting.vector_cache.misses,
        },
        process: setting.resident,
        memory: (&setting.memory).into(),
        results,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![]), 0.0);
    }
}
