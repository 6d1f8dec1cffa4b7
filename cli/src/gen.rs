//! `vdb gen`: realistic vectors of any number, streamed to a file; or how hard those of a file are.
//!
//! A file is written under another name beside its place and takes that place when it is whole.

use std::path::{Path, PathBuf};

use serde::Serialize;
use vdb::vfs::{OsVfs, Vfs};
use workload::difficulty::{self, Report, Unit};
use workload::gen::{self, GenParams, Generator};
use workload::rows::{Matrix, Rows};
use workload::vecs::{self, Format, VecFile, Writer};

use crate::args::{Difficulty, Element, GenArgs};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{bytes, count, print_json, print_text};
use crate::progress::Progress;
use crate::vectors::{read_queries, threads_or_all};

/// Bytes of generated rows in memory at a time.
const BLOCK_BYTES: usize = 16 << 20;
/// Rows by which the scale of bytes is chosen: always the first ones, so that a longer file begins like a
/// shorter.
const SCALE_ROWS: usize = 1024;
/// Deviations of the values that bytes have room for, on either side of the mean.
const SCALE_DEVIATIONS: f32 = 4.0;

/// Makes the files, or measures one.
pub fn run(args: &GenArgs, quiet: bool) -> Result<(), Failure> {
    match (&args.check, &args.out, args.rows, args.dim) {
        (Some(file), ..) => check(file, args),
        (None, Some(out), Some(rows), Some(dim)) => make(args, out, rows, dim as usize, quiet),
        _ => Err(Failure::Usage("gen needs a file to make, --rows and --dim".to_owned())),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Made<'a> {
    file: &'a Path,
    rows: u64,
    dim: usize,
    queries: Option<&'a Path>,
    query_count: Option<u64>,
    byte_scale: Option<(f32, f32)>,
}

/// True if both names lead to one file, or would once it is made.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        path.canonicalize().or_else(|_| Ok(folder.canonicalize()?.join(path.file_name().unwrap_or_default())))
    };
    matches!((place(a), place(b)), (Ok(a), Ok::<_, std::io::Error>(b)) if a == b)
}

fn make(args: &GenArgs, out: &Path, rows: u64, dim: usize, quiet: bool) -> Result<(), Failure> {
    let threads = threads_or_all(args.threads) as usize;
    let target = Target::new(out, args.element, rows)?;
    let query_target = args.queries.as_deref().map(|path| Target::new(path, args.element, args.query_count));
    let query_target = query_target.transpose()?;
    if args.queries.as_deref().is_some_and(|queries| is_same_file(queries, out)) {
        return Err(Failure::Usage("--queries names the file of the rows; name another".to_owned()));
    }
    target.check_room(dim, rows)?;
    query_target.iter().try_for_each(|target| target.check_room(dim, args.query_count))?;
    let difficulty = match args.difficulty {
        Difficulty::Typical => gen::Difficulty::Typical,
        Difficulty::Hard => gen::Difficulty::Hard,
    };
    let generator =
        Generator::new(GenParams { dim, seed: args.seed, difficulty, norm_spread: args.norm_spread });
    let byte_scale = target.bytes.then(|| byte_scale(&generator));
    interrupt::token();
    let progress = Progress::new(quiet);
    let show = |done: u64| progress.show("rows", done, rows);
    target.fill(dim, rows, byte_scale, |first, out| generator.rows_parallel(first, out, threads), &show)?;
    if let Some(target) = query_target {
        let show = |done: u64| progress.show("queries", done, args.query_count);
        let scale = target.bytes.then(|| byte_scale.unwrap_or_else(|| self::byte_scale(&generator)));
        let draw = |first: u64, out: &mut [f32]| match args.shifted {
            true => generator.shifted_queries(first, out),
            false => generator.queries(first, out),
        };
        target.fill(dim, args.query_count, scale, draw, &show)?;
    }
    drop(progress);
    let queries = args.queries.as_deref();
    if args.json {
        let query_count = queries.map(|_| args.query_count);
        return print_json(&Made { file: out, rows, dim, queries, query_count, byte_scale });
    }
    let mut text = format!("{}: {} rows x {dim}", out.display(), count(rows));
    if let Some(path) = queries {
        text += &format!("\n{}: {} queries", path.display(), count(args.query_count));
    }
    if let Some((factor, offset)) = byte_scale {
        text += &format!("\nbytes are {factor} * value + {offset}");
    }
    print_text(&text)
}

/// A file to be made: its place, and the name under which it is written.
struct Target {
    place: PathBuf,
    part: PathBuf,
    element_bytes: u64,
    bytes: bool,
}

impl Target {
    /// Checks that the ending of the name is known and can hold so many rows of the element.
    fn new(place: &Path, element: Option<Element>, rows: u64) -> Result<Self, Failure> {
        let format = Format::of(place).map_err(|e| Failure::at(place, e).into_usage())?;
        let promised = match format {
            Format::Npy(element) | Format::Bin(element) | Format::Vecs(element) => element,
        };
        let wanted = match element {
            None => promised,
            Some(Element::F32) => vecs::Element::F32,
            Some(Element::F16) => vecs::Element::F16,
            Some(Element::U8) => vecs::Element::U8,
        };
        // A plain .npy holds any type, for its header tells which; the other endings each hold one.
        if wanted != promised && format != Format::Npy(vecs::Element::F32) {
            let sentence = "its ending promises another type than --type asks for; .npy holds any";
            return Err(Failure::at(place, sentence).into_usage());
        }
        if matches!(format, Format::Bin(_)) && u32::try_from(rows).is_err() {
            return Err(Failure::at(place, "this format counts at most 2^32 - 1 rows").into_usage());
        }
        // The ending of the temporary name is the writer's order for the type.
        let ending = match (format, wanted) {
            (Format::Npy(_), vecs::Element::F32) => ".npy",
            (Format::Npy(_), vecs::Element::F16) => ".f16.npy",
            (Format::Npy(_), vecs::Element::U8) => ".u8.npy",
            (Format::Bin(vecs::Element::U8), _) => ".u8bin",
            (Format::Bin(_), _) => ".fbin",
            (Format::Vecs(vecs::Element::U8), _) => ".bvecs",
            (Format::Vecs(_), _) => ".fvecs",
        };
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part{ending}", std::process::id()));
        Ok(Target {
            place: place.to_owned(),
            part: place.with_file_name(name),
            element_bytes: match wanted {
                vecs::Element::F32 => 4,
                vecs::Element::F16 => 2,
                vecs::Element::U8 => 1,
            },
            bytes: wanted == vecs::Element::U8,
        })
    }

    /// Fails if the disk has too little room for the rows, as far as it tells.
    fn check_room(&self, dim: usize, rows: u64) -> Result<(), Failure> {
        let needed = rows.saturating_mul(dim as u64).saturating_mul(self.element_bytes);
        let folder = self.place.parent().filter(|folder| !folder.as_os_str().is_empty());
        // A folder that cannot be looked at fails better when the file is made.
        let Ok(folder) = OsVfs::open_dir(folder.unwrap_or(Path::new("."))) else { return Ok(()) };
        match folder.free_bytes() {
            Ok(free) if free < needed => {
                let (needed, free) = (bytes(needed), bytes(free));
                let sentence = format!("the rows take {needed}, but the disk has {free} free; make fewer");
                Err(Failure::at(&self.place, sentence))
            }
            _ => Ok(()),
        }
    }

    /// Streams rows, and moves the file to its place. Leaves nothing behind if that fails.
    fn fill(
        &self,
        dim: usize,
        rows: u64,
        byte_scale: Option<(f32, f32)>,
        draw: impl Fn(u64, &mut [f32]),
        show: &dyn Fn(u64),
    ) -> Result<(), Failure> {
        let written = self
            .write(dim, rows, byte_scale, draw, show)
            .and_then(|()| std::fs::rename(&self.part, &self.place).map_err(|e| Failure::at(&self.place, e)));
        if written.is_err() {
            // Perhaps it was never made; the first error is the one to tell.
            let _ = std::fs::remove_file(&self.part);
        }
        written
    }

    fn write(
        &self,
        dim: usize,
        rows: u64,
        byte_scale: Option<(f32, f32)>,
        draw: impl Fn(u64, &mut [f32]),
        show: &dyn Fn(u64),
    ) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::at(&self.place, error);
        let mut writer = Writer::create(&self.part, dim).map_err(failed)?;
        if let Some((factor, offset)) = byte_scale {
            writer = writer.with_byte_scale(factor, offset);
        }
        let block_rows = (BLOCK_BYTES / (4 * dim)).max(1) as u64;
        let mut block = vec![0.0; block_rows.min(rows) as usize * dim];
        for first in (0..rows).step_by(block_rows as usize) {
            show(first);
            if interrupt::came() {
                return Err(Failure::at(&self.place, "interrupted; the file was not made"));
            }
            let block = &mut block[..(rows - first).min(block_rows) as usize * dim];
            draw(first, block);
            writer.write(block).map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        Ok(())
    }
}

/// Factor and offset that bring nearly all values of the set between 0 and 255.
fn byte_scale(generator: &Generator) -> (f32, f32) {
    let mut values = vec![0.0; SCALE_ROWS * generator.dim()];
    generator.rows(0, &mut values);
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let factor = 127.5 / (SCALE_DEVIATIONS * variance.sqrt().max(1e-12) as f32);
    (factor, 127.5 - factor * mean as f32)
}

fn check(path: &Path, args: &GenArgs) -> Result<(), Failure> {
    let file = VecFile::open(path).map_err(|e| Failure::at(path, e))?;
    let Some(query_path) = &args.queries else {
        return Err(Failure::Usage("gen --check needs --queries".to_owned()));
    };
    let mut queries = read_queries(query_path, file.dim(), None)?;
    let mut base: &dyn Rows = &file;
    let unit = Unit(&file);
    if args.unit {
        base = &unit;
        queries = Matrix::of(&Unit(&queries)).map_err(|e| Failure::at(query_path, e))?;
    }
    let threads = threads_or_all(args.threads) as usize;
    let report = difficulty::measure(base, &queries, args.seed, threads).map_err(|e| Failure::at(path, e))?;
    if args.json {
        return print_json(&Hardness::from(&report));
    }
    print_text(&format!("{}\n{report}", Report::headings()))
}

/// What `--check --json` prints.
#[derive(Serialize)]
struct Hardness {
    rows: u64,
    dim: usize,
    lid_p10_p50_p90: [f64; 3],
    twins: f64,
    contrast: f64,
    hundredth_to_tenth: f64,
    effective_dim: f64,
    hub_skew: f64,
    hub_max_over_mean: f64,
    leaves: usize,
    probes_for_90_95_99: [usize; 3],
    recall_at_16_64_256: [f64; 3],
}

impl From<&Report> for Hardness {
    fn from(report: &Report) -> Self {
        Hardness {
            rows: report.rows,
            dim: report.dim,
            lid_p10_p50_p90: report.lid,
            twins: report.twins,
            contrast: report.contrast,
            hundredth_to_tenth: report.hundredth_to_tenth,
            effective_dim: report.effective_dim,
            hub_skew: report.hubs.0,
            hub_max_over_mean: report.hubs.1,
            leaves: report.leaves.sizes.len(),
            probes_for_90_95_99: [0.90, 0.95, 0.99].map(|recall| report.leaves.probes_for(recall)),
            recall_at_16_64_256: [16, 64, 256].map(|probes| report.leaves.recall_at(probes)),
        }
    }
}
