//! Searches as a program makes them, each with the recall that it has: flat, by tree, in batches, and from the
//! answer cache.
//!
//! 1M x 1024 sentence-like vectors are generated, indexed twice, searched, and removed again: 13 GB of disk, some
//! minutes. `VDB_BENCH_ROWS` and `VDB_BENCH_DIM` set other sizes; names follow the rows:
//!
//! ```text
//! cargo bench --bench speed_bench
//! VDB_BENCH_ROWS=100000 VDB_BENCH_DIM=256 cargo bench --bench speed_bench -- hierarchical
//! ```
//!
//! Time is that of one query; of a batch it is the batch's, and "thrpt" counts its queries. Queries differ from call to
//! call, and the answer cache is off but where the name says so. Truth is the exact search of the same index.
#![allow(missing_docs)]

use std::path::Path;
use std::time::Duration;

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use vdb::database::{build_from_file, Database, Job, OpenOptions};
use vdb::types::params::{BuildParams, SearchParams};
use vdb::types::Metric;
use workload::gen::{Difficulty, GenParams, Generator};
use workload::vecs::Writer;

const K: usize = 10;
/// Queries that take turns; truth is found for each.
const QUERIES: usize = 200;
/// Rows that are generated at once.
const BLOCK_ROWS: usize = 4_096;

fn size(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// 1M for 1,000,000, 250k for 250,000.
fn short(rows: usize) -> String {
    match rows {
        _ if rows.is_multiple_of(1_000_000) => format!("{}M", rows / 1_000_000),
        _ if rows.is_multiple_of(1_000) => format!("{}k", rows / 1_000),
        _ => rows.to_string(),
    }
}

/// Queries, and for each the distance of its tenth true neighbour.
struct Queries {
    dim: usize,
    values: Vec<f32>,
    limits: Vec<f32>,
}

impl Queries {
    fn get(&self, turn: usize) -> &[f32] {
        &self.values[turn % QUERIES * self.dim..][..self.dim]
    }

    fn find_truth(&mut self, database: &Database) {
        let params = SearchParams { exact: true, ..SearchParams::default() };
        let mut ids = vec![0; QUERIES * K];
        let mut distances = vec![0.0; QUERIES * K];
        database
            .batch_search(&self.values, self.dim, K, &params, &mut ids, Some(&mut distances), None)
            .expect("exact search");
        self.limits = distances.chunks_exact(K).map(|row| row[K - 1]).collect();
    }

    /// Share of the true neighbours that searches with `params` return; rows as close as the tenth are as good.
    fn recall(&self, database: &Database, params: &SearchParams<'_>) -> f64 {
        let (mut ids, mut distances) = ([0; K], [0.0; K]);
        let mut hits = 0;
        for (nth, limit) in self.limits.iter().enumerate() {
            database.search(self.get(nth), K, params, &mut ids, Some(&mut distances)).expect("search");
            hits += distances.iter().filter(|distance| *distance <= limit).count();
        }
        hits as f64 / (QUERIES * K) as f64
    }
}

fn generate(path: &Path, generator: &Generator, rows: usize) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut writer = Writer::create(path, generator.dim()).expect("create");
    let mut block = vec![0.0; BLOCK_ROWS * generator.dim()];
    for first in (0..rows).step_by(BLOCK_ROWS) {
        let block = &mut block[..BLOCK_ROWS.min(rows - first) * generator.dim()];
        generator.rows_parallel(first as u64, block, threads);
        writer.write(block).expect("write");
    }
    writer.finish().expect("finish");
}

fn index(path: &Path, vectors: &Path, flat: bool) -> Database {
    let params = BuildParams { metric: Metric::L2, flat, ..BuildParams::default() };
    build_from_file(path, vectors, None, &params, &Job::default()).expect("build");
    Database::open(path, &OpenOptions::default()).expect("open")
}

fn single(
    criterion: &mut Criterion,
    name: &str,
    database: &Database,
    queries: &Queries,
    params: &SearchParams<'_>,
) {
    println!("{name}: recall@10 {:.4}", queries.recall(database, params));
    let (mut ids, mut distances, mut turn) = ([0; K], [0.0; K], 0);
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            turn += 1;
            database.search(queries.get(turn), K, params, &mut ids, Some(&mut distances)).expect("search")
        });
    });
}

/// No query twice, with the answer cache and without: what it costs where it never helps.
fn never_again(criterion: &mut Criterion, name: &str, database: &Database, queries: &Queries) {
    let (mut ids, mut distances, mut turn) = ([0; K], [0.0; K], 0usize);
    let mut query = vec![0.0; queries.dim];
    for (cache, no_cache) in [("cache_on", false), ("cache_off", true)] {
        let params = SearchParams { no_cache, threads: 1, ..SearchParams::default() };
        criterion.bench_function(&format!("{name}/{cache}"), |bencher| {
            bencher.iter(|| {
                turn += 1;
                query.copy_from_slice(queries.get(turn));
                query[0] += turn as f32 * 1e-7;
                database.search(&query, K, &params, &mut ids, Some(&mut distances)).expect("search")
            });
        });
    }
}

fn batch(
    criterion: &mut Criterion,
    name: &str,
    database: &Database,
    queries: &Queries,
    params: &SearchParams<'_>,
) {
    println!("{name}: recall@10 {:.4}", queries.recall(database, params));
    let (mut ids, mut distances) = (vec![0; QUERIES * K], vec![0.0; QUERIES * K]);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(QUERIES as u64));
    group.bench_function(format!("{QUERIES}_queries"), |bencher| {
        bencher.iter(|| {
            database
                .batch_search(&queries.values, queries.dim, K, params, &mut ids, Some(&mut distances), None)
                .expect("batch")
        });
    });
    group.finish();
}

fn searches(criterion: &mut Criterion) {
    let (rows, dim) = (size("VDB_BENCH_ROWS", 1_000_000), size("VDB_BENCH_DIM", 1024));
    let generator = Generator::new(GenParams::new(dim, Difficulty::Typical));
    let mut values = vec![0.0; QUERIES * dim];
    generator.queries(0, &mut values);
    let mut queries = Queries { dim, values, limits: Vec::new() };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder in target");
    let vectors = folder.path().join("base.fbin");
    generate(&vectors, &generator, rows);
    let name = short(rows);
    println!("{rows} x {dim} f32, l2, k {K}, {QUERIES} queries, kernels {}", vdb::database::kernels_name());

    let flat = index(&folder.path().join("flat.vdb"), &vectors, true);
    queries.find_truth(&flat);
    let plain = SearchParams { no_cache: true, threads: 1, ..SearchParams::default() };
    single(criterion, &format!("{name}_flat_quantized"), &flat, &queries, &plain);
    let all = SearchParams { no_cache: true, ..SearchParams::default() };
    single(criterion, &format!("{name}_flat_quantized_all_threads"), &flat, &queries, &all);
    drop(flat);

    let tree = index(&folder.path().join("tree.vdb"), &vectors, false);
    for recall in [0.9, 0.95, 0.99] {
        let params = SearchParams { recall, ..plain };
        single(criterion, &format!("{name}_hierarchical/recall_{recall}"), &tree, &queries, &params);
    }
    batch(criterion, &format!("{name}_batch"), &tree, &queries, &all);
    let cached = SearchParams { threads: 1, ..SearchParams::default() };
    single(criterion, &format!("{name}_cached_query"), &tree, &queries, &cached);
    never_again(criterion, &format!("{name}_new_query"), &tree, &queries);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = searches
}
criterion_main!(benches);
