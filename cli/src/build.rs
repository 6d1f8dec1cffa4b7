//! `vdb build`: a file of vectors in, a committed index directory out.
//!
//! The library does it all; this module tells it to stop on Ctrl-C, and says what came of it.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use vdb::database::{self, BuildReport, Database, Info, Job, OpenOptions};
use vdb::types::params::BuildParams;
use vdb::types::Status;

use crate::args::BuildArgs;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{bytes, count, print_json, print_text, seconds};
use crate::process;
use crate::progress::Progress;

/// What `--json` prints.
#[derive(Serialize)]
struct Summary {
    index: String,
    generation: u64,
    rows: u64,
    dim: usize,
    metric: &'static str,
    element: &'static str,
    flat: bool,
    links: bool,
    seconds: f64,
    phases: Vec<PhaseTime>,
    rss_peak_bytes: u64,
    accounted_peak_bytes: u64,
    disk_bytes: u64,
}

#[derive(Serialize)]
struct PhaseTime {
    name: &'static str,
    seconds: f64,
}

/// Builds, and prints a summary.
pub fn run(args: &BuildArgs, quiet: bool) -> Result<(), Failure> {
    let begun = Instant::now();
    let report = build(args, quiet)?;
    let elapsed_ns = begun.elapsed().as_nanos() as u64;
    let rss_peak_bytes = process::resident().rss_peak_bytes;
    // Reading back what was committed tells what the library chose, and that it opens.
    let options = OpenOptions {
        memory_limit_bytes: args.memory.unwrap_or(0),
        threads: 1,
        vector_cache_bytes: Some(0),
        answer_cache_bytes: Some(0),
        ..OpenOptions::default()
    };
    let info = Database::open(&args.index, &options)?.info();
    if args.json {
        return print_json(&summary(&args.index, &report, &info, elapsed_ns, rss_peak_bytes));
    }
    print_text(&text(&args.index, &report, &info, elapsed_ns, rss_peak_bytes))
}

fn build(args: &BuildArgs, quiet: bool) -> Result<BuildReport, Failure> {
    let params = BuildParams {
        metric: args.metric.into(),
        seed: args.seed,
        leaf_rows: args.leaf_rows.unwrap_or(0),
        fanout: args.fanout.unwrap_or(0),
        code_bits: args.bits.unwrap_or(0),
        links: args.links.into(),
        flat: args.flat,
        replace: args.replace,
        segment_rows: args.segment_rows.unwrap_or(0),
        memory_limit_bytes: args.memory.unwrap_or(0),
        threads: args.threads,
    };
    let progress = Progress::new(quiet);
    let show = |phase: &str, done: u64, total: u64| {
        progress.show(phase, done, total);
        true
    };
    let job = Job { progress: Some(&show), cancel: Some(interrupt::token()), ..Job::default() };
    database::build_from_file(&args.index, &args.vectors, args.ids.as_deref(), &params, &job).map_err(
        |error| match error.status() {
            Status::Cancelled => Failure::at(&args.index, "interrupted; what was there before is untouched"),
            _ => error.into(),
        },
    )
}

fn text(index: &Path, report: &BuildReport, info: &Info, elapsed_ns: u64, rss_peak_bytes: u64) -> String {
    let phases: Vec<String> =
        report.phases.iter().map(|(name, ns)| format!("{name} {}", seconds(*ns))).collect();
    format!(
        "{}: {} rows x {}, {}, {}, {}\nbuilt in {} ({})\nmemory {} at the peak of the process\n\
         disk   {}",
        index.display(),
        count(report.rows),
        info.dim,
        info.element.name(),
        info.metric.name(),
        info.shape(),
        seconds(elapsed_ns),
        phases.join(", "),
        bytes(rss_peak_bytes),
        bytes(report.disk_bytes),
    )
}

fn summary(index: &Path, report: &BuildReport, info: &Info, elapsed_ns: u64, rss_peak_bytes: u64) -> Summary {
    let phase = |&(name, ns): &(&'static str, u64)| PhaseTime { name, seconds: ns as f64 / 1e9 };
    Summary {
        index: index.display().to_string(),
        generation: report.generation,
        rows: report.rows,
        dim: info.dim,
        metric: info.metric.name(),
        element: info.element.name(),
        flat: info.flat,
        links: info.links,
        seconds: elapsed_ns as f64 / 1e9,
        phases: report.phases.iter().map(phase).collect(),
        rss_peak_bytes,
        accounted_peak_bytes: report.peak_bytes,
        disk_bytes: report.disk_bytes,
    }
}
