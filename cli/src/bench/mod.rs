//! `vdb bench`: recall, latency, throughput and phases of an index, effort by effort.
//!
//! ```text
//! open -> queries -> truth -> for each effort: all answers once (recall; warms up)
//!      -> for each round: for each effort: one by one, then in batches -> medians -> tables, JSON, plot
//! ```
//!
//! Efforts alternate within a round, so that what the machine does meanwhile falls on all alike. The answer
//! cache is off unless asked for.
//!
//! - [`effort`]: what is asked of a search; [`oracle`]: exact neighbours and recall;
//! - [`measure`]: passes over the queries; [`report`] and [`plot`]: what is shown.

mod effort;
mod measure;
mod oracle;
mod plot;
mod report;

use vdb::database::{CacheKind, Database, OpenOptions};

use crate::args::BenchArgs;
use crate::failure::Failure;
use crate::output::{print_json, print_text};
use crate::process;
use crate::progress::Progress;
use crate::vectors::{read_queries, threads_or_all};

use effort::Effort;
use measure::{Course, Mode, Pass};
use report::{Measured, Setting};

/// Measures, and prints what was measured.
pub fn run(args: &BenchArgs, quiet: bool) -> Result<(), Failure> {
    let threads = threads_or_all(args.threads);
    let database = Database::open(&args.index, &open_options(args, threads))?;
    if database.rows() == 0 {
        return Err(Failure::at(&args.index, "the index has no row, so there is nothing to measure"));
    }
    let queries = read_queries(&args.queries, database.dim(), args.limit_queries)?;
    let progress = Progress::without_ticks(quiet);
    // Beyond the rows there is nothing to find.
    let k = args.k.min(database.rows()) as usize;
    let truth = match &args.truth {
        Some(path) => oracle::read(path, queries.len(), k)?,
        None => oracle::find(&database, &queries, k, &progress)?,
    };
    let course = Course { database: &database, queries: &queries, k };
    let efforts = Effort::list(&args.recall, &args.probes);
    let mut founds = Vec::new();
    for (i, effort) in efforts.iter().enumerate() {
        progress.show("warm-up", i as u64, efforts.len() as u64);
        let answers = course.answers(*effort)?;
        founds.push(oracle::recall(&truth, k, &answers));
    }
    let modes = [Mode::Single, Mode::of(threads, args.batch, queries.len())];
    let order = |round| match args.zipf {
        Some(exponent) => measure::zipf_order(queries.len(), exponent, round),
        None => measure::order(queries.len(), round),
    };
    let passes = passes(&course, &efforts, &modes, args.rounds, &order, &progress)?;
    drop(progress);
    let mut results = Vec::new();
    for ((effort, found), passes) in efforts.iter().zip(founds).zip(passes) {
        for (mode, passes) in modes.iter().zip(passes) {
            results.push(Measured::new(*effort, *mode, found, queries.len(), &passes));
        }
    }
    let setting = Setting {
        index: &args.index,
        info: database.info(),
        memory: database.memory(),
        resident: process::resident(),
        queries: queries.len(),
        k,
        rounds: args.rounds,
        truth: args.truth.as_deref(),
        answer_cache: args.cache,
        zipf: args.zipf,
        vector_cache: database.cache(CacheKind::Vectors),
    };
    if let Some(path) = &args.plot {
        plot::draw(path, &setting, &results)?;
    }
    if args.json {
        print_json(&report::json(&setting, &results))
    } else {
        print_text(&report::text(&setting, &results))
    }
}

fn open_options(args: &BenchArgs, threads: u32) -> OpenOptions {
    OpenOptions {
        memory_limit_bytes: args.memory.unwrap_or(0),
        answer_cache_bytes: if args.cache { None } else { Some(0) },
        vector_cache_bytes: args.vector_cache,
        threads,
        no_mmap: args.no_mmap,
        ..OpenOptions::default()
    }
}

/// The passes of each effort, and of each effort those of each mode, one a round.
fn passes(
    course: &Course,
    efforts: &[Effort],
    modes: &[Mode; 2],
    rounds: u32,
    order: &dyn Fn(u32) -> Vec<usize>,
    progress: &Progress,
) -> Result<Vec<[Vec<Pass>; 2]>, Failure> {
    let mut passes: Vec<[Vec<Pass>; 2]> = efforts.iter().map(|_| Default::default()).collect();
    let total = u64::from(rounds) * (efforts.len() * modes.len()) as u64;
    let mut done = 0;
    for round in 0..rounds {
        let order = order(round);
        for (effort, passes) in efforts.iter().zip(&mut passes) {
            for (mode, passes) in modes.iter().zip(passes) {
                progress.show("measure", done, total);
                passes.push(course.pass(*effort, *mode, &order)?);
                done += 1;
            }
        }
    }
    Ok(passes)
}
