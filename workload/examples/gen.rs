//! Writes a generated set: `gen typical|hard ROWS DIM OUT [--seed S] [--queries|--shifted] [--norm-spread X]`.
//!
//! The ending of OUT decides the format. Queries are drawn from the law of the rows, shifted ones from another.

use std::path::PathBuf;

use workload::gen::{Difficulty, GenParams, Generator};
use workload::vecs::Writer;

/// Rows made between two writes: 32 MiB at 1,024 dimensions.
const BLOCK: u64 = 8192;
const USAGE: &str = "gen typical|hard ROWS DIM OUT [--seed S] [--queries|--shifted] [--norm-spread X]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut plain = Vec::new();
    let (mut seed, mut norm_spread, mut law) = (1, 0.0, "rows");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => seed = arguments.next().ok_or(USAGE)?.parse()?,
            "--norm-spread" => norm_spread = arguments.next().ok_or(USAGE)?.parse()?,
            "--queries" => law = "queries",
            "--shifted" => law = "shifted",
            _ => plain.push(argument),
        }
    }
    let [difficulty, rows, dim, out] = &plain[..] else { return Err(USAGE.into()) };
    let difficulty = match difficulty.as_str() {
        "typical" => Difficulty::Typical,
        "hard" => Difficulty::Hard,
        _ => return Err(USAGE.into()),
    };
    let (rows, dim): (u64, usize) = (rows.parse()?, dim.parse()?);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let generator = Generator::new(GenParams { dim, seed, difficulty, norm_spread });
    let mut writer = Writer::create(&PathBuf::from(out), dim)?.with_byte_scale(24.0, 128.0);
    let mut block = vec![0.0; BLOCK.min(rows) as usize * dim];
    let start = std::time::Instant::now();
    for first in (0..rows).step_by(BLOCK as usize) {
        let values = &mut block[..(rows - first).min(BLOCK) as usize * dim];
        match law {
            "rows" => generator.rows_parallel(first, values, threads),
            "queries" => generator.queries(first, values),
            _ => generator.shifted_queries(first, values),
        }
        writer.write(values)?;
    }
    writer.finish()?;
    eprintln!("{rows} x {dim} {law} -> {out} in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
