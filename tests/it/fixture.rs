//! What tests of directories and files share, `tests/limits.rs` among them: made-up rows that have neighbours, builds
//! from them into directories that go away, the names of what is there. Sets of rows with the truth about them, for
//! tests of answers, are in `support`.

use std::path::{Path, PathBuf};

use vdb::database::{self, Database, Job, OpenOptions};
use vdb::input::ArrayRows;
use vdb::types::params::BuildParams;
use vdb::types::Result;

/// SplitMix64: the same numbers everywhere, for ever.
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.word() % end as u64) as usize
    }

    /// About -1 to 1, denser in the middle.
    pub fn float(&mut self) -> f32 {
        let part = |word: u64| (word >> 40) as f32 / (1u64 << 24) as f32;
        part(self.word()) + part(self.word()) - 1.0
    }
}

/// `count` rows about `count / 50` centres.
pub fn rows(count: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    let centres: Vec<f32> = (0..count.div_ceil(50).max(1) * dim).map(|_| random.float()).collect();
    let mut rows = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let centre = random.below(centres.len() / dim) * dim;
        rows.extend(centres[centre..centre + dim].iter().map(|x| x + 0.3 * random.float()));
    }
    rows
}

/// A directory for one test, gone after it.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Parameters for one thread, so that small builds make none.
pub fn params() -> BuildParams {
    BuildParams { threads: 1, ..BuildParams::default() }
}

/// Builds from floats.
pub fn build(path: &Path, rows: &[f32], dim: usize, params: &BuildParams) -> Result<database::BuildReport> {
    build_job(path, rows, dim, params, &Job::default())
}

/// Builds from floats, as a job.
pub fn build_job(
    path: &Path,
    rows: &[f32],
    dim: usize,
    params: &BuildParams,
    job: &Job<'_>,
) -> Result<database::BuildReport> {
    let source = ArrayRows::of_floats(rows, dim)?;
    database::build(path, &source, None, params, job)
}

/// Opens on one thread.
pub fn open(path: &Path) -> Result<Database> {
    Database::open(path, &OpenOptions { threads: 1, ..OpenOptions::default() })
}

/// Names of the files in a directory, sorted.
pub fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The first segment's file.
pub fn segment(path: &Path) -> PathBuf {
    let name = names(path).into_iter().find(|name| name.starts_with("seg-")).unwrap();
    path.join(name)
}
