//! Every kernel on every table of this CPU, side by side: nanoseconds a row from cache and from memory.
//!
//! ```text
//! cargo bench --bench kernels                      all of it, some minutes
//! cargo bench --bench kernels -- estimate hadamard the cases that have one of these words in their names
//! VDB_BENCH_ROWS=100000 VDB_BENCH_ROUNDS=5 ...     a smaller buffer (in rows of 128 bytes), fewer rounds
//! ```
//!
//! Tables take turns in each of many short rounds, so that a busy neighbour slows all of them. Printed are the least
//! and the median over the rounds, bytes a second by the median, and the median of a round's ratio to AVX2 (below 1 is
//! faster). Where a case reads memory, all tables go on through one buffer larger than every cache: none finds what
//! another one has read. Compare with `bandwidth`, which reads the same buffer and does nothing else.
#![allow(missing_docs)]

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use vdb::kernels::estimate::Shape;
use vdb::kernels::judge;
use vdb::kernels::Kernels;
use vdb::memory::{AlignedBytes, AlignedVec};
use vdb::quantize::encode::CodeShape;
use vdb::quantize::query::PreparedQuery;
use vdb::quantize::rotation::Rotation;
use vdb::types::rng::SplitMix64;
use vdb::types::Metric;

/// The dimension that the figures are for.
const DIM: usize = 1024;

/// Bytes of a block from cache: it fits the first level beside a query.
const HOT_BYTES: usize = 16 << 10;

/// Rows of a leaf.
const LEAF: usize = 48;

/// A turn is repeated until it has taken this long.
const TURN: Duration = Duration::from_micros(300);

/// About how long it runs between two looks at the clock.
const BATCH: Duration = Duration::from_micros(30);

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// One way through a case: does its work once and says how many rows that were.
type Run<'a> = Box<dyn FnMut() -> usize + 'a>;

/// What is asked for, and how often it is measured.
struct Bench {
    words: Vec<String>,
    rounds: usize,
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// Whether a case whose name begins with `group` may be wanted: if not, its rows need not be made.
    fn wants_of(&self, group: &str) -> bool {
        self.wants(group) || self.words.iter().any(|word| word.contains(group))
    }

    /// Measures the ways side by side and prints a line for each.
    fn case(&self, name: &str, row_bytes: usize, mut ways: Vec<(&str, Run)>) {
        if !self.wants(name) {
            return;
        }
        let mut times = vec![Vec::with_capacity(self.rounds); ways.len()];
        // So often a way runs between two looks at the clock; the first round finds it, and warms up.
        let mut batches = vec![1; ways.len()];
        for round in 0..=self.rounds {
            for (way, (_, run)) in ways.iter_mut().enumerate() {
                let (start, mut turns, mut rows) = (Instant::now(), 0, 0);
                while start.elapsed() < TURN {
                    rows += (0..batches[way]).map(|_| run()).sum::<usize>();
                    turns += batches[way];
                }
                let time = start.elapsed().as_nanos() as f64;
                if round > 0 {
                    times[way].push(time / rows as f64);
                } else {
                    batches[way] = (BATCH.as_nanos() as f64 * turns as f64 / time).ceil() as usize;
                }
            }
        }
        let yardstick = ways.iter().position(|(isa, _)| *isa == "avx2").map(|place| times[place].clone());
        for ((isa, _), times) in ways.iter().zip(&times) {
            let ratio = yardstick.as_ref().map_or(f64::NAN, |yardstick| {
                median(times.iter().zip(yardstick).map(|(time, yardstick)| time / yardstick).collect())
            });
            let (least, middle) = (times.iter().copied().fold(f64::MAX, f64::min), median(times.clone()));
            let speed = row_bytes as f64 / middle;
            println!("{name:34} {isa:12} {least:9.2} {middle:9.2} {speed:8.1} {ratio:7.2}");
        }
    }

    /// `run` on values that stay in cache.
    fn hot(&self, name: &str, row_bytes: usize, mut run: impl FnMut(&'static Kernels)) {
        let run = RefCell::new(&mut run);
        let way = |kernels: &'static Kernels| -> (&str, Run) {
            let run = &run;
            (
                kernels.name,
                Box::new(move || {
                    (run.borrow_mut())(kernels);
                    1
                }),
            )
        };
        self.case(name, row_bytes, Kernels::available().into_iter().map(way).collect());
    }

    /// `run` on blocks of rows: the same small block again and again, then blocks through the whole buffer.
    fn rows<T: bytemuck::Pod>(&self, name: &str, rows: &Rows<T>, run: impl Fn(&'static Kernels, &[T])) {
        let hot = (HOT_BYTES / rows.row_bytes()).clamp(1, rows.count());
        let cold = (4096 * 128 / rows.row_bytes()).clamp(1, rows.count());
        for (place, block, last) in [("cache", hot, hot), ("in order", cold, rows.count() / cold * cold)] {
            let next = Cell::new(0);
            let way = |kernels: &'static Kernels| -> (&str, Run) {
                let (next, run) = (&next, &run);
                let turn = move || {
                    let start = next.get();
                    run(kernels, black_box(&rows.values()[start * rows.row..(start + block) * rows.row]));
                    next.set((start + block) % last);
                    block
                };
                (kernels.name, Box::new(turn))
            };
            let ways = Kernels::available().into_iter().map(way).collect();
            self.case(&format!("{name}, {place}"), rows.row_bytes(), ways);
        }
    }

    /// `run` on leaves: blocks of [`LEAF`] rows at random places of the whole buffer.
    fn leaves<T: bytemuck::Pod>(&self, name: &str, rows: &Rows<T>, run: impl Fn(&'static Kernels, &[T])) {
        let leaves = (rows.count() / LEAF) as u64;
        let rng = RefCell::new(SplitMix64::new(10));
        let way = |kernels: &'static Kernels| -> (&str, Run) {
            let (rng, run) = (&rng, &run);
            let turn = move || {
                let start = rng.borrow_mut().below(leaves) as usize * LEAF;
                run(kernels, black_box(&rows.values()[start * rows.row..(start + LEAF) * rows.row]));
                LEAF
            };
            (kernels.name, Box::new(turn))
        };
        let ways = Kernels::available().into_iter().map(way).collect();
        self.case(&format!("{name}, leaves"), rows.row_bytes(), ways);
    }

    /// `run` on lists of rows at random places of the whole buffer.
    fn random<T: bytemuck::Pod>(
        &self,
        name: &str,
        rows: &Rows<T>,
        run: impl Fn(&'static Kernels, &[T], &[u32]),
    ) {
        const LIST: usize = 64;
        let mut rng = SplitMix64::new(5);
        let places: Vec<u32> =
            (0..LIST << 14).map(|_| (rng.next_u64() % rows.count() as u64) as u32).collect();
        let next = Cell::new(0);
        let way = |kernels: &'static Kernels| -> (&str, Run) {
            let (next, run, places) = (&next, &run, &places);
            let turn = move || {
                let start: usize = next.get();
                run(kernels, rows.values(), black_box(&places[start..start + LIST]));
                next.set((start + LIST) % places.len());
                LIST
            };
            (kernels.name, Box::new(turn))
        };
        let ways = Kernels::available().into_iter().map(way).collect();
        self.case(&format!("{name}, random"), rows.row_bytes(), ways);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rows of one type: a buffer larger than every cache, of which the hot cases take the first part. It begins on a
/// cache line and lies in huge pages, as the codes of an index do.
struct Rows<T> {
    bytes: AlignedBytes,
    row: usize,
    kind: PhantomData<T>,
}

impl<T: bytemuck::Pod> Rows<T> {
    fn new(row: usize, mut value: impl FnMut(u64) -> T) -> Rows<T> {
        let count = (number("VDB_BENCH_ROWS", 2_000_000) * 128 / (row * size_of::<T>())).max(64);
        let mut rng = SplitMix64::new(1);
        let mut bytes = AlignedBytes::zeroed(count * row * size_of::<T>()).unwrap();
        bytemuck::cast_slice_mut(&mut bytes).iter_mut().for_each(|place| *place = value(rng.next_u64()));
        Rows { bytes, row, kind: PhantomData }
    }

    fn values(&self) -> &[T] {
        bytemuck::cast_slice(&self.bytes)
    }

    fn row_bytes(&self) -> usize {
        self.row * size_of::<T>()
    }

    fn count(&self) -> usize {
        self.values().len() / self.row
    }
}

/// A query that begins on a cache line.
fn aligned<T: bytemuck::Pod>(values: impl ExactSizeIterator<Item = T>) -> AlignedVec<T> {
    let mut copy = AlignedVec::zeroed(values.len()).unwrap();
    copy.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    copy
}

fn bandwidth(bench: &Bench) {
    if !bench.wants_of("bandwidth") {
        return;
    }
    bench.rows("bandwidth", &Rows::new(16, |x| x), |_, block: &[u64]| {
        let mut sums = [0u64; 16];
        for row in block.as_chunks::<16>().0 {
            for i in 0..16 {
                sums[i] ^= row[i];
            }
        }
        black_box(&sums);
    });
}

fn estimate(bench: &Bench) {
    for (code_planes, query_planes, dim) in [(1, 4, DIM), (1, 1, DIM), (1, 6, DIM), (4, 4, DIM), (1, 4, 768)]
    {
        let width = if dim == DIM { String::new() } else { format!(", {dim}") };
        let name = format!("estimate {code_planes}x{query_planes}{width}");
        if !bench.wants_of(&name) {
            continue;
        }
        let shape = Shape { code_planes, query_planes, plane_bytes: dim / 8 };
        let codes = Rows::new(shape.row_bytes(), |x| x as u8);
        let mut rng = SplitMix64::new(2);
        let planes: Vec<u8> = (0..shape.query_bytes()).map(|_| rng.next_u64() as u8).collect();
        let prepared: Vec<(&str, Vec<u8>)> = Kernels::available()
            .into_iter()
            .map(|kernels| {
                let mut query = planes.clone();
                kernels.prepare_query(shape, &mut query);
                (kernels.name, query)
            })
            .collect();
        let query = |kernels: &Kernels| &prepared.iter().find(|(isa, _)| *isa == kernels.name).unwrap().1;
        let mut scratch = planes.clone();
        bench.hot(&format!("{name} prepare"), shape.query_bytes(), |kernels| {
            scratch.truncate(planes.len());
            kernels.prepare_query(shape, &mut scratch);
            black_box(&scratch);
        });
        let out = RefCell::new(vec![0; codes.count()]);
        bench.rows(&name, &codes, |kernels, block| {
            let out = &mut out.borrow_mut()[..block.len() / shape.row_bytes()];
            kernels.estimate(block, shape, query(kernels), out);
            black_box(out);
        });
        bench.rows(&format!("{name} unprepared"), &codes, |kernels, block| {
            let out = &mut out.borrow_mut()[..block.len() / shape.row_bytes()];
            kernels.estimate(block, shape, &planes, out);
            black_box(out);
        });
        bench.leaves(&name, &codes, |kernels, block| {
            let out = &mut out.borrow_mut()[..block.len() / shape.row_bytes()];
            kernels.estimate(block, shape, query(kernels), out);
            black_box(out);
        });
        bench.random(&name, &codes, |kernels, codes, rows| {
            let out = &mut out.borrow_mut()[..rows.len()];
            kernels.estimate_rows(codes, shape.row_bytes(), shape, query(kernels), rows, out);
            black_box(out);
        });
        let one_a_call = |kernels: &Kernels, row: &[u8]| {
            let mut out = [0];
            kernels.estimate(row, shape, query(kernels), &mut out);
            black_box(out);
        };
        bench.rows(&format!("{name} one a call"), &codes, |kernels, block| {
            block.chunks_exact(shape.row_bytes()).for_each(|row| one_a_call(kernels, row));
        });
        bench.random(&format!("{name} one a call"), &codes, |kernels, codes, rows| {
            for &row in rows {
                one_a_call(kernels, &codes[row as usize * shape.row_bytes()..][..shape.row_bytes()]);
            }
        });
    }
}

fn hamming(bench: &Bench) {
    if !bench.wants_of("hamming") {
        return;
    }
    let codes = Rows::new(DIM / 8, |x| x as u8);
    let query = aligned(codes.values()[..DIM / 8].iter().copied());
    bench.rows("hamming", &codes, |kernels, block| {
        for row in block.chunks_exact(DIM / 8) {
            black_box(kernels.hamming(row, &query));
        }
    });
}

fn levels(bench: &Bench) {
    let mut rng = SplitMix64::new(4);
    let query = aligned((0..DIM).map(|_| (rng.next_u64() as i8).max(-127)));
    // The widths of full size, and those that the dimensions of small vectors have.
    for (bits, dim) in [(2, DIM), (4, DIM), (2, 384), (4, 128)] {
        let name = format!("levels {bits}x{dim}");
        let query = &query[..dim];
        if !bench.wants_of(&name) {
            continue;
        }
        let codes = Rows::new(dim * bits / 8, |x| x as u8);
        let out = RefCell::new(vec![0; codes.count()]);
        bench.rows(&name, &codes, |kernels, block| {
            let out = &mut out.borrow_mut()[..block.len() / codes.row];
            kernels.dot_levels(block, bits, query, out);
            black_box(out);
        });
        bench.random(&name, &codes, |kernels, codes, rows| {
            let out = &mut out.borrow_mut()[..rows.len()];
            kernels.dot_levels_rows(codes, dim * bits / 8, bits, query, rows, out);
            black_box(out);
        });
    }
}

fn dot_i8(bench: &Bench) {
    if !bench.wants_of("dot_i8") {
        return;
    }
    let values = Rows::new(DIM, |x| (x as i8).max(-127));
    let query = aligned(values.values()[..DIM].iter().copied());
    let out = RefCell::new(vec![0; values.count()]);
    bench.rows("dot_i8", &values, |kernels, block| {
        let out = &mut out.borrow_mut()[..block.len() / DIM];
        kernels.dot_i8(block, &query, out);
        black_box(out);
    });
    const OTHERS: usize = 64;
    let others = aligned(values.values()[..OTHERS * DIM].iter().copied());
    let products = RefCell::new(vec![0; values.count() * OTHERS]);
    bench.rows("dot_i8, 64 others a row", &values, |kernels, block| {
        let out = &mut products.borrow_mut()[..block.len() / DIM * OTHERS];
        kernels.products_i8(block, &others, DIM, out);
        black_box(out);
    });
    bench.random("dot_i8", &values, |kernels, values, rows| {
        let out = &mut out.borrow_mut()[..rows.len()];
        kernels.dot_i8_rows(values, DIM, &query, rows, out);
        black_box(out);
    });
}

fn distance(bench: &Bench) {
    let unit = |x: u64| (x >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let mut rng = SplitMix64::new(9);
    let query = aligned((0..DIM).map(|_| unit(rng.next_u64())));
    macro_rules! each {
        ($rows:expr, $($name:ident)+) => {
            if [$(stringify!($name)),+].iter().any(|name| bench.wants_of(name)) {
                let rows = $rows;
                $(bench.rows(stringify!($name), &rows, |kernels, block| {
                    for row in block.chunks_exact(DIM) {
                        black_box(kernels.$name(row, &query));
                    }
                });)+
            }
        };
    }
    each!(Rows::new(DIM, unit), l2_f32 dot_f32 dot_norm_f32);
    each!(Rows::new(DIM, |x| x as u16 & 0xbbff), l2_f16 dot_f16 dot_norm_f16);
    each!(Rows::new(DIM, |x| x as u8), l2_u8 dot_u8 dot_norm_u8);
}

fn convert_and_rotate(bench: &Bench) {
    let mut rng = SplitMix64::new(3);
    let half: Vec<u16> = (0..DIM).map(|_| rng.next_u64() as u16 & 0xbbff).collect();
    let bytes: Vec<u8> = half.iter().map(|&x| x as u8).collect();
    let mut float = vec![0.0; DIM];
    bench.hot("f16_to_f32", 2 * DIM, |kernels| kernels.f16_to_f32(&half, black_box(&mut float)));
    bench.hot("u8_to_f32", DIM, |kernels| kernels.u8_to_f32(&bytes, black_box(&mut float)));
    bench.hot("flip_signs", 4 * DIM, |kernels| {
        kernels.flip_signs(black_box(&mut float), &bytes[..DIM / 8]);
    });
    for length in [64, 128, 256, 512, DIM, 2048, 4096, 65_536] {
        let mut zeros = AlignedBytes::zeroed(4 * length).unwrap();
        let zeros: &mut [f32] = bytemuck::cast_slice_mut(&mut zeros);
        bench.hot(&format!("hadamard {length}"), 4 * length, |kernels| {
            kernels.hadamard(black_box(zeros));
        });
    }
}

/// The steps between a rotated query and its planes.
fn quantise(bench: &Bench) {
    let mut rng = SplitMix64::new(8);
    let values: Vec<f32> = (0..DIM).map(|_| rng.next_f32() - 0.5).collect();
    let (mut out, mut integers, mut planes) = (values.clone(), vec![0i8; DIM], vec![0u8; DIM / 2]);
    bench.hot("largest", 4 * DIM, |kernels| {
        black_box(kernels.largest(black_box(&values)));
    });
    bench.hot("scale", 4 * DIM, |kernels| kernels.scale(black_box(&mut out), 1.0));
    bench.hot("difference", 8 * DIM, |kernels| {
        kernels.difference(&values, &values, black_box(&mut out));
    });
    bench.hot("quantise_bytes", 4 * DIM, |kernels| {
        kernels.quantise_bytes(&values, 254.0, black_box(&mut integers));
    });
    bench.hot("quantise_odd", 4 * DIM, |kernels| {
        kernels.quantise_odd(&values, 30.0, 15.0, black_box(&mut integers));
    });
    bench.hot("product", 5 * DIM, |kernels| {
        black_box(kernels.product(black_box(&integers), &values));
    });
    bench.hot("pack_planes", DIM, |kernels| {
        kernels.pack_planes(&integers, 4, black_box(&mut planes));
    });
}

/// From counts to estimates, a leaf at a time, few rows being chosen.
fn judge_rows(bench: &Bench) {
    const ROWS: usize = 48;
    let mut rng = SplitMix64::new(9);
    let mut floats = |length| -> Vec<f32> { (0..length).map(|_| rng.next_f32()).collect() };
    let (bases, factors) = (floats(ROWS), floats(2 * ROWS));
    let counted = vec![100; ROWS];
    let (mut estimates, mut slacks, mut chosen) = (vec![0.0; ROWS], vec![0.0; ROWS], vec![0; ROWS / 16]);
    let terms = judge::Terms { at_zero: 1.0, a_unit: 1e-3, deviation: 0.02, rounding: 1e-6, epsilon: 2.0 };
    let limits = judge::Limits { bound: -0.5, estimate: -0.6 };
    bench.hot("judge 48", 12 * ROWS, |kernels| {
        let rows =
            judge::Rows { bases: black_box(&bases), factors: factors.as_chunks().0, counted: &counted };
        let out = judge::Judged { estimates: &mut estimates, slacks: &mut slacks, chosen: &mut chosen };
        kernels.judge(&terms, limits, rows, out);
        black_box(&chosen);
    });
}

/// All that happens to a query before it meets a code.
fn prepare(bench: &Bench) {
    for dim in [100, 384, 784, DIM] {
        let rotation = Rotation::new(dim, 7).unwrap();
        let mut rng = SplitMix64::new(6);
        let mut floats = |length| -> Vec<f32> { (0..length).map(|_| rng.next_f32() - 0.4).collect() };
        let (query, mean) = (floats(dim), floats(rotation.padded()));
        let shape = CodeShape { padded: rotation.padded(), bits: CodeShape::default_bits(dim) };
        let mut rotated = vec![0.0; rotation.padded()];
        bench.hot(&format!("rotation {dim}"), 4 * dim, |kernels| {
            rotation.apply(kernels, black_box(&query), &mut rotated);
            black_box(&rotated);
        });
        let mut prepared = PreparedQuery::default();
        bench.hot(&format!("query {dim}"), 4 * dim, |kernels| {
            prepared.prepare(kernels, &rotation, &mean, shape, Metric::Cosine, black_box(&query));
            black_box(&prepared);
        });
    }
}

fn main() {
    // Cargo adds options of its own, `--bench` among them.
    let words = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let bench = Bench { words, rounds: number("VDB_BENCH_ROUNDS", 40) };
    println!(
        "{:34} {:12} {:>9} {:>9} {:>8} {:>7}",
        "case", "table", "least ns", "median ns", "GB/s", "ratio"
    );
    for cases in [
        bandwidth,
        estimate,
        hamming,
        levels,
        dot_i8,
        distance,
        convert_and_rotate,
        quantise,
        judge_rows,
        prepare,
    ] {
        cases(&bench);
    }
}
