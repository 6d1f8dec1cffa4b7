//! `vdb truth`: exact neighbours from two files of vectors, without an index and without the engine's code.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use workload::exact::{self, nearest};
use workload::rows::Rows;
use workload::vecs::{write_truth, VecFile};

use crate::args::{Metric, TruthArgs};
use crate::failure::Failure;
use crate::output::{count, print_json, print_text};
use crate::progress::Progress;
use crate::vectors::{read_queries, threads_or_all};

/// Compares all rows with all queries, and writes the file.
pub fn run(args: &TruthArgs, quiet: bool) -> Result<(), Failure> {
    if args.out.extension().is_none_or(|ending| ending != "ibin") {
        return Err(Failure::at(&args.out, "the name of a truth file ends in .ibin").into_usage());
    }
    let base = VecFile::open(&args.vectors).map_err(|e| Failure::at(&args.vectors, e))?;
    let queries = read_queries(&args.queries, base.dim(), None)?;
    let metric = match args.metric {
        Metric::L2 => exact::Metric::L2,
        Metric::Ip => exact::Metric::InnerProduct,
        Metric::Cosine => exact::Metric::Cosine,
    };
    let threads = threads_or_all(args.threads) as usize;
    let progress = Progress::new(quiet);
    let watched = Watched { rows: &base, read: AtomicU64::new(0), progress: &progress };
    let truth = nearest(&watched, &queries, metric, args.k as usize, threads)
        .map_err(|e| Failure::at(&args.vectors, e))?;
    write_truth(&args.out, &truth).map_err(|e| Failure::at(&args.out, e))?;
    drop(progress);
    let (file, queries, rows, k) = (&*args.out, queries.len() as u64, base.count(), truth.k as u64);
    if args.json {
        return print_json(&Made { file, queries, rows, k });
    }
    let (queries, rows) = (count(queries), count(rows));
    print_text(&format!("{}: {k} nearest of {rows} rows for {queries} queries", file.display()))
}

/// What `--json` prints.
#[derive(Serialize)]
struct Made<'a> {
    file: &'a Path,
    queries: u64,
    rows: u64,
    k: u64,
}

/// Rows that are read once, from first to last, with a bar that follows.
struct Watched<'a> {
    rows: &'a VecFile,
    read: AtomicU64,
    progress: &'a Progress,
}

impl Rows for Watched<'_> {
    fn count(&self) -> u64 {
        self.rows.count()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn read(&self, first: u64, out: &mut [f32]) -> io::Result<()> {
        self.rows.read(first, out)?;
        let rows = (out.len() / self.dim()) as u64;
        let done = self.read.fetch_add(rows, Ordering::Relaxed) + rows;
        self.progress.show("compare", done, self.count());
        Ok(())
    }
}
