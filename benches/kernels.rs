//! Every kernel on every table of this CPU: time a row and bytes a second, from cache and from memory.
//!
//! Criterion's "time" is that of one row, its "thrpt" that of the rows' bytes. Compare the figures of
//! `memory` with `bandwidth/read`, which reads the same buffer and does nothing else; run on a quiet machine.
//!
//! `VDB_BENCH_ROWS` sets the size of that buffer in rows of 128 bytes (default 2,000,000: 256 MB);
//! `VDB_BENCH_ROWS=100000 cargo bench --bench kernels -- estimate` is a quick run of one family.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use vdb::kernels::estimate::Shape;
use vdb::kernels::Kernels;
use vdb::types::rng::SplitMix64;

/// The dimension that the figures are for.
const DIM: usize = 1024;

/// Bytes of a block from cache: it fits the first level beside a query.
const HOT_BYTES: usize = 16 << 10;

/// Rows of one type: a buffer larger than every cache, of which the hot cases take the first part.
struct Rows<T> {
    values: Vec<T>,
    row: usize,
}

impl<T: Copy> Rows<T> {
    fn new(row: usize, mut value: impl FnMut(u64) -> T) -> Rows<T> {
        let rows =
            std::env::var("VDB_BENCH_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(2_000_000);
        let count = (rows * 128 / (row * size_of::<T>())).max(64);
        let mut rng = SplitMix64::new(1);
        Rows { values: (0..count * row).map(|_| value(rng.next_u64())).collect(), row }
    }

    fn row_bytes(&self) -> usize {
        self.row * size_of::<T>()
    }

    fn count(&self) -> usize {
        self.values.len() / self.row
    }
}

fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
}

/// Times `run` on blocks of rows: the same small block again and again, then blocks through the whole buffer.
fn rows<T: Copy>(c: &mut Criterion, name: &str, isa: &str, rows: &Rows<T>, mut run: impl FnMut(&[T])) {
    let hot = (HOT_BYTES / rows.row_bytes()).clamp(1, rows.count());
    let cold = (4096 * 128 / rows.row_bytes()).clamp(1, rows.count());
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(rows.row_bytes() as u64));
    for (place, block, last) in [("cache", hot, hot), ("memory", cold, rows.count() / cold * cold)] {
        let mut next = 0;
        group.bench_function(format!("{isa}/{place}"), |b| {
            b.iter_custom(|iterations| {
                let blocks = iterations.div_ceil(block as u64);
                let start = Instant::now();
                for _ in 0..blocks {
                    run(black_box(&rows.values[next * rows.row..(next + block) * rows.row]));
                    next = (next + block) % last;
                }
                start.elapsed().mul_f64(iterations as f64 / (blocks * block as u64) as f64)
            });
        });
    }
    group.finish();
}

/// Times `run` on values that stay in cache.
fn hot(c: &mut Criterion, name: &str, isa: &str, bytes: usize, mut run: impl FnMut()) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(format!("{isa}/cache"), |b| b.iter(&mut run));
    group.finish();
}

fn bandwidth(c: &mut Criterion) {
    let words = Rows::new(16, |x| x);
    let mut sums = [0u64; 16];
    rows(c, "bandwidth", "read", &words, |block| {
        for row in block.as_chunks::<16>().0 {
            for i in 0..16 {
                sums[i] ^= row[i];
            }
        }
        black_box(&sums);
    });
}

fn estimate(c: &mut Criterion) {
    for (code_planes, query_planes) in [(1, 4), (1, 6), (2, 4), (4, 4)] {
        let shape = Shape { code_planes, query_planes, plane_bytes: DIM / 8 };
        let codes = Rows::new(shape.row_bytes(), |x| x as u8);
        let mut rng = SplitMix64::new(2);
        let planes: Vec<u8> = (0..shape.query_bytes()).map(|_| rng.next_u64() as u8).collect();
        let mut out = vec![0; codes.count()];
        for kernels in Kernels::available() {
            let name = format!("estimate {code_planes}x{query_planes}");
            let mut query = planes.clone();
            hot(c, &format!("{name} prepare"), kernels.name, shape.query_bytes(), || {
                query.truncate(planes.len());
                kernels.prepare_query(shape, &mut query);
                black_box(&query);
            });
            rows(c, &name, kernels.name, &codes, |block| {
                let out = &mut out[..block.len() / shape.row_bytes()];
                kernels.estimate(block, shape, &query, out);
                black_box(out);
            });
            rows(c, &format!("{name} unprepared"), kernels.name, &codes, |block| {
                let out = &mut out[..block.len() / shape.row_bytes()];
                kernels.estimate(block, shape, &planes, out);
                black_box(out);
            });
        }
    }
}

fn hamming(c: &mut Criterion) {
    let codes = Rows::new(DIM / 8, |x| x as u8);
    let query = codes.values[..DIM / 8].to_vec();
    for kernels in Kernels::available() {
        rows(c, "hamming", kernels.name, &codes, |block| {
            for row in block.chunks_exact(DIM / 8) {
                black_box(kernels.hamming(row, &query));
            }
        });
    }
}

fn dot_i8(c: &mut Criterion) {
    let values = Rows::new(DIM, |x| (x % 255) as u8 as i8);
    let values = Rows { values: values.values.iter().map(|&x| x.max(-127)).collect(), row: DIM };
    let query = values.values[..DIM].to_vec();
    let mut out = vec![0; values.count()];
    for kernels in Kernels::available() {
        rows(c, "dot_i8", kernels.name, &values, |block| {
            let out = &mut out[..block.len() / DIM];
            kernels.dot_i8(block, &query, out);
            black_box(out);
        });
    }
}

fn distance(c: &mut Criterion) {
    let unit = |x: u64| (x >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let f32 = Rows::new(DIM, unit);
    let f16 = Rows::new(DIM, |x| x as u16 & 0xbbff);
    let u8 = Rows::new(DIM, |x| x as u8);
    let query = f32.values[..DIM].to_vec();
    for kernels in Kernels::available() {
        macro_rules! each {
            ($name:ident, $rows:expr) => {
                rows(c, stringify!($name), kernels.name, $rows, |block| {
                    for row in block.chunks_exact(DIM) {
                        black_box(kernels.$name(row, &query));
                    }
                });
            };
        }
        each!(l2_f32, &f32);
        each!(dot_f32, &f32);
        each!(dot_norm_f32, &f32);
        each!(l2_f16, &f16);
        each!(dot_norm_f16, &f16);
        each!(l2_u8, &u8);
        each!(dot_norm_u8, &u8);
    }
}

fn convert_and_rotate(c: &mut Criterion) {
    let mut rng = SplitMix64::new(3);
    let half: Vec<u16> = (0..DIM).map(|_| rng.next_u64() as u16 & 0xbbff).collect();
    let bytes: Vec<u8> = half.iter().map(|&x| x as u8).collect();
    let mut float = vec![0.0; DIM];
    for kernels in Kernels::available() {
        let isa = kernels.name;
        hot(c, "f16_to_f32", isa, 2 * DIM, || kernels.f16_to_f32(&half, black_box(&mut float)));
        hot(c, "u8_to_f32", isa, DIM, || kernels.u8_to_f32(&bytes, black_box(&mut float)));
        hot(c, "flip_signs", isa, 4 * DIM, || kernels.flip_signs(black_box(&mut float), &bytes[..DIM / 8]));
        for length in [128, DIM, 65_536] {
            let mut zeros = vec![0f32; length];
            hot(c, &format!("hadamard {length}"), isa, 4 * length, || {
                kernels.hadamard(black_box(&mut zeros))
            });
        }
    }
}

criterion_group! {
    name = kernels;
    config = quick();
    targets = bandwidth, estimate, hamming, dot_i8, distance, convert_and_rotate
}
criterion_main!(kernels);
