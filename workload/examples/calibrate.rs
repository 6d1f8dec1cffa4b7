//! Prints how hard sets are: `calibrate typical|hard ROWSxDIM... [--queries N] [--shifted] [--cosine]
//! [--norm-spread X]`, or of files `calibrate --file BASE QUERIES [--cosine]`. A line a set; what the columns
//! mean stands in `workload::difficulty`. The tables of `docs/experiments.md` come from here.

use workload::difficulty::{measure, Report, Unit};
use workload::gen::{Difficulty, GenParams, Generator};
use workload::rows::{Generated, Matrix, Rows};
use workload::vecs::VecFile;

const USAGE: &str =
    "calibrate typical|hard ROWSxDIM... [--queries N] [--shifted] [--cosine] [--norm-spread X] [--seed S]\n\
                     calibrate --file BASE QUERIES [--queries N] [--cosine]";
/// Bytes of rows that are kept in memory; larger sets are made again for each pass.
const KEPT_BYTES: u64 = 1 << 30;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Default)]
struct Wish {
    plain: Vec<String>,
    queries: u64,
    file: bool,
    shifted: bool,
    cosine: bool,
    norm_spread: f32,
    seed: u64,
}

fn main() -> Outcome<()> {
    let mut wish = Wish { queries: 1000, seed: 1, ..Wish::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--queries" => wish.queries = arguments.next().ok_or(USAGE)?.parse()?,
            "--norm-spread" => wish.norm_spread = arguments.next().ok_or(USAGE)?.parse()?,
            "--seed" => wish.seed = arguments.next().ok_or(USAGE)?.parse()?,
            "--file" => wish.file = true,
            "--shifted" => wish.shifted = true,
            "--cosine" => wish.cosine = true,
            _ => wish.plain.push(argument),
        }
    }
    println!("{}", Report::headings());
    if wish.file {
        let [base, queries] = &wish.plain[..] else { return Err(USAGE.into()) };
        let queries = Matrix::first(&VecFile::open(queries.as_ref())?, wish.queries)?;
        return report(&VecFile::open(base.as_ref())?, &queries, &wish);
    }
    let [difficulty, sets @ ..] = &wish.plain[..] else { return Err(USAGE.into()) };
    let difficulty = match difficulty.as_str() {
        "typical" => Difficulty::Typical,
        "hard" => Difficulty::Hard,
        _ => return Err(USAGE.into()),
    };
    for set in sets {
        let (rows, dim) = set.split_once('x').ok_or(USAGE)?;
        let (rows, dim): (u64, usize) = (rows.parse()?, dim.parse()?);
        let generator =
            Generator::new(GenParams { dim, seed: wish.seed, difficulty, norm_spread: wish.norm_spread });
        let mut queries = vec![0.0; wish.queries as usize * dim];
        if wish.shifted {
            generator.shifted_queries(0, &mut queries);
        } else {
            generator.queries(0, &mut queries);
        }
        report(&Generated::new(&generator, rows), &Matrix::new(dim, queries), &wish)?;
    }
    Ok(())
}

fn report(base: &dyn Rows, queries: &Matrix, wish: &Wish) -> Outcome<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (unit, unit_queries) = (Unit(base), Matrix::of(&Unit(queries))?);
    let (base, queries): (&dyn Rows, _) = if wish.cosine { (&unit, &unit_queries) } else { (base, queries) };
    let kept;
    let base = if base.count() * base.dim() as u64 * 4 <= KEPT_BYTES {
        kept = Matrix::of(base)?;
        &kept
    } else {
        base
    };
    println!("{}", measure(base, queries, wish.seed, threads)?);
    Ok(())
}
