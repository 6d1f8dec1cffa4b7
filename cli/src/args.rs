//! What the command line accepts: commands, options, their ranges and their help.
//!
//! Everything that can be refused without looking at a file is refused here, with status 2.

use std::path::PathBuf;

use clap::builder::{RangedI64ValueParser, RangedU64ValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use vdb::types::params::{RECALL_DEFAULT, RERANK_ALL};

/// No pool of the library has more.
const THREADS_MAX: i64 = vdb::pool::THREADS_MAX as i64;

/// Nearest-neighbour search in index directories.
///
/// Vector files are .npy (f32, f16, u8), .fvecs, .bvecs, .fbin and .u8bin. Exit status: 0; 1 for an error,
/// which is told in one line on stderr; 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(
    name = "vdb",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Arguments {
    /// Shows no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Builds an index directory from a file of vectors
    Build(BuildArgs),
    /// Finds the nearest rows of each query of a file
    ///
    /// Prints a line a query: "id:distance id:distance ...", nearest first, equal distances by id. Distances
    /// are exact, and smaller is closer: squared L2, 1 - cosine, or the negated inner product. A line has
    /// fewer than k entries only if the index has fewer rows.
    Search(SearchArgs),
    /// Shows what an index is: rows, tree, memory, measured recall
    Info(IndexArgs),
    /// Measures recall, time of a search and its phases, and throughput
    ///
    /// For each effort: recall against the exact answer, with the share of queries that found less than 0.8 of
    /// it ("poor") and the worst, then rounds of all queries in random order, one by one on one thread and in
    /// batches on --threads. Figures are medians over the rounds. A pass to warm up
    /// comes first and is not counted. The percentiles of batches are those of whole batches, which is what
    /// each of their queries waits for.
    Bench(BenchArgs),
    /// Reads every byte of an index and lists what is damaged
    ///
    /// Prints a line a damage; then the exit status is 1.
    Verify(IndexArgs),
    /// Makes a file of realistic vectors, or measures how hard one is to search
    ///
    /// Rows are clustered at every scale, with a decaying spectrum and near-duplicates. A row depends on its
    /// number, dim, difficulty and seed alone, so that the first rows of a large file are those of a small
    /// one.
    Gen(GenArgs),
    /// Finds the exact nearest rows of each query by comparing all, without an index
    Truth(TruthArgs),
}

/// How distance is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Squared Euclidean distance
    L2,
    /// Negated inner product
    Ip,
    /// 1 - cosine
    Cosine,
}

impl From<Metric> for vdb::types::Metric {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::L2 => vdb::types::Metric::L2,
            Metric::Ip => vdb::types::Metric::InnerProduct,
            Metric::Cosine => vdb::types::Metric::Cosine,
        }
    }
}

/// Whether rows that lie near each other are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkMode {
    /// If the memory limit has room for making them
    Auto,
    /// Or the build fails before it starts
    On,
    /// A smaller index, built faster
    Off,
}

impl From<LinkMode> for vdb::types::params::LinkMode {
    fn from(mode: LinkMode) -> Self {
        match mode {
            LinkMode::Auto => vdb::types::params::LinkMode::Auto,
            LinkMode::On => vdb::types::params::LinkMode::On,
            LinkMode::Off => vdb::types::params::LinkMode::Off,
        }
    }
}

/// An index that is only looked at.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// Index directory
    pub index: PathBuf,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `vdb build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// File of vectors
    pub vectors: PathBuf,
    /// Index directory to make; must not hold an index, unless --replace
    pub index: PathBuf,
    /// How distance is measured; smaller is closer under each
    #[arg(long)]
    pub metric: Metric,
    /// Ids of the rows, in their order: .npy of u64 or i64, or .u64bin [default: 0, 1, ...]
    #[arg(long, value_name = "FILE")]
    pub ids: Option<PathBuf>,
    /// No tree: each search scans all codes; what small sets get by themselves
    #[arg(long)]
    pub flat: bool,
    /// Links between rows: 136 bytes a row in memory, fewer codes scanned for the same recall; auto: if memory has room
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub links: LinkMode,
    /// Rows of a leaf to aim for [default: 48]
    #[arg(long, value_name = "N", value_parser = positive_u32())]
    pub leaf_rows: Option<u32>,
    /// Most children of a node [default: from rows and dim]
    #[arg(long, value_name = "N", value_parser = fanout())]
    pub fanout: Option<u32>,
    /// Code bits a dimension: 1, 2 or 4 [default: from dim]
    #[arg(long, value_name = "BITS", value_parser = code_bits)]
    pub bits: Option<u32>,
    /// Most rows of one segment [default: as many as fit]
    #[arg(long, value_name = "N", value_parser = positive_u64())]
    pub segment_rows: Option<u64>,
    /// Same vectors, options and seed make the same bytes, on any number of threads
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Replaces the index that is there, in one step, when the new one is whole
    #[arg(long)]
    pub replace: bool,
    /// Most memory to use, as 512M or 2G [default: from what is free]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// Threads; 0: what machine and cgroup allow
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = thread_count())]
    pub threads: u32,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `vdb search`
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Index directory
    pub index: PathBuf,
    /// File of query vectors
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// Neighbours a query
    #[arg(long, short, value_name = "N", default_value_t = 10, value_parser = positive_u64())]
    pub k: u64,
    /// Recall@10 to aim for, above 0 and at most 1
    #[arg(long, value_name = "R", default_value_t = RECALL_DEFAULT, value_parser = recall)]
    pub recall: f32,
    /// Leaves to visit in each segment, in place of --recall
    #[arg(long, value_name = "N", conflicts_with = "recall", value_parser = positive_u32())]
    pub probes: Option<u32>,
    /// Most exact distances a query, or "all" rows of the visited leaves [default: as the bounds need]
    #[arg(long, value_name = "N|all", value_parser = rerank)]
    pub rerank: Option<u32>,
    /// Compares every row, without codes or tree
    #[arg(long, conflicts_with_all = ["recall", "probes", "rerank"])]
    pub exact: bool,
    /// Reads the first N queries only
    #[arg(long, value_name = "N", value_parser = positive_u64())]
    pub limit_queries: Option<u64>,
    /// Most memory to use, as 512M or 2G [default: from what is free]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// Threads; 0: what machine and cgroup allow
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = thread_count())]
    pub threads: u32,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `vdb bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Index directory
    pub index: PathBuf,
    /// File of query vectors
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// Exact neighbours of the queries, .ibin [default: found by comparing every row]
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// Neighbours a query
    #[arg(long, short, value_name = "N", default_value_t = 10, value_parser = up_to_u64(4096))]
    pub k: u64,
    /// Efforts to measure, by the recall asked for [default: 0.9,0.95,0.99, unless --probes]
    #[arg(long, value_name = "R,R,...", value_delimiter = ',', value_parser = recall)]
    pub recall: Vec<f32>,
    /// Efforts to measure, by leaves visited in each segment
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', value_parser = positive_u32())]
    pub probes: Vec<u32>,
    /// Threads of the batches; 0: what machine and cgroup allow
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = thread_count())]
    pub threads: u32,
    /// Queries of a batch [default: all]; 1: single searches, from as many callers as --threads
    #[arg(long, value_name = "N", value_parser = positive_u64())]
    pub batch: Option<u64>,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = up_to_u32(1000))]
    pub rounds: u32,
    /// Reads the first N queries only
    #[arg(long, value_name = "N", value_parser = positive_u64())]
    pub limit_queries: Option<u64>,
    /// Lets the answer cache answer; off otherwise
    #[arg(long)]
    pub cache: bool,
    /// Reads vectors by system calls instead of mapping them
    #[arg(long)]
    pub no_mmap: bool,
    /// Bytes of the cache of vectors, 0 for none [default: none if mapped, otherwise from --memory]
    #[arg(long, value_name = "SIZE", value_parser = size_or_none)]
    pub vector_cache: Option<u64>,
    /// Draws the queries of a round by Zipf's law, the nth with weight 1/n^S, instead of each once
    #[arg(long, value_name = "S", value_parser = zipf_exponent)]
    pub zipf: Option<f64>,
    /// Most memory to use, as 512M or 2G [default: from what is free]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// Draws recall against queries a second
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How hard generated vectors are to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Difficulty {
    /// As sentence embeddings: local intrinsic dimension 15 to 25
    Typical,
    /// As real passages of text: 20 to 30, the lower the more rows
    Hard,
}

/// How values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Element {
    /// 32-bit floats
    F32,
    /// 16-bit floats
    F16,
    /// Bytes, by one scale for all values
    U8,
}

/// `vdb gen`
#[derive(Debug, Args)]
pub struct GenArgs {
    /// File to make; its ending says the format: .npy .fvecs .bvecs .fbin .u8bin
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    pub out: Option<PathBuf>,
    /// Rows
    #[arg(long, value_name = "N", required_unless_present = "check", value_parser = positive_u64())]
    pub rows: Option<u64>,
    /// Dimensions
    #[arg(long, value_name = "N", required_unless_present = "check", value_parser = up_to_u32(65_536))]
    pub dim: Option<u32>,
    /// How hard to search
    #[arg(long, default_value = "typical")]
    pub difficulty: Difficulty,
    /// Another seed makes another set
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Makes queries too, of the same kind but never copies of rows
    #[arg(long, value_name = "FILE")]
    pub queries: Option<PathBuf>,
    /// How many queries
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "queries")]
    #[arg(value_parser = positive_u64())]
    pub query_count: u64,
    /// Queries of another kind than the rows, as bare words asked of sentences
    #[arg(long, requires = "queries")]
    pub shifted: bool,
    /// Spread of the rows' lengths, as the deviation of their logarithm; 0.5: lengths that differ tenfold
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = spread)]
    pub norm_spread: f32,
    /// How values are stored [default: as the ending says, f32 for .npy]
    #[arg(long = "type", value_name = "TYPE")]
    pub element: Option<Element>,
    /// Threads; 0: what machine and cgroup allow
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = thread_count())]
    pub threads: u32,
    /// Makes nothing: measures how hard the vectors of FILE are to search with --queries
    #[arg(long, value_name = "FILE", requires = "queries")]
    #[arg(conflicts_with_all = ["rows", "dim", "shifted", "element"])]
    pub check: Option<PathBuf>,
    /// Measures rows scaled to length 1, which is what cosine compares
    #[arg(long, requires = "check")]
    pub unit: bool,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `vdb truth`
#[derive(Debug, Args)]
pub struct TruthArgs {
    /// File of vectors
    pub vectors: PathBuf,
    /// File to make: .ibin, u32 queries, u32 k, u32 row numbers, f32 distances
    pub out: PathBuf,
    /// File of query vectors
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// How distance is measured
    #[arg(long)]
    pub metric: Metric,
    /// Neighbours a query
    #[arg(long, short, value_name = "N", default_value_t = 100, value_parser = up_to_u64(65_536))]
    pub k: u64,
    /// Threads; 0: what machine and cgroup allow
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = thread_count())]
    pub threads: u32,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

fn positive_u32() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

fn positive_u64() -> RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..)
}

fn up_to_u32(most: i64) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=most)
}

fn up_to_u64(most: u64) -> RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=most)
}

fn fanout() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(2..)
}

fn thread_count() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..=THREADS_MAX)
}

/// `512M`, `2G`, `1.5g`, `4096`: bytes, or powers of 1024 of them.
/// As [`size`], and 0.
fn size_or_none(text: &str) -> Result<u64, String> {
    match text.trim() {
        "0" => Ok(0),
        text => size(text),
    }
}

fn zipf_exponent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(exponent) if (0.0..=4.0).contains(&exponent) => Ok(exponent),
        _ => Err("must be a number from 0 to 4".to_owned()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches('b').trim_end_matches('i');
    let (digits, shift) = match number.char_indices().next_back() {
        Some((at, 'k')) => (&number[..at], 10),
        Some((at, 'm')) => (&number[..at], 20),
        Some((at, 'g')) => (&number[..at], 30),
        Some((at, 't')) => (&number[..at], 40),
        _ => (number, 0),
    };
    let plain = digits.starts_with(|c: char| c.is_ascii_digit()) && !digits.contains('e');
    let value = digits.parse::<f64>().ok().filter(|_| plain).map(|value| value * (1u64 << shift) as f64);
    match value {
        Some(bytes) if (1.0..9e18).contains(&bytes) => Ok(bytes as u64),
        _ => Err("a size is a number of bytes above 0, or one such as 512M or 2G".to_owned()),
    }
}

fn recall(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(recall) if recall > 0.0 && recall <= 1.0 => Ok(recall),
        _ => Err("a recall is above 0 and at most 1".to_owned()),
    }
}

fn rerank(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        _ if text == "all" => Ok(RERANK_ALL),
        Ok(rows) if rows > 0 => Ok(rows),
        _ => Err("this is a number above 0, or \"all\"".to_owned()),
    }
}

fn code_bits(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bits @ (1 | 2 | 4)) => Ok(bits),
        _ => Err("a dimension has 1, 2 or 4 bits".to_owned()),
    }
}

fn spread(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(spread) if (0.0..=5.0).contains(&spread) => Ok(spread),
        _ => Err("a spread is between 0 and 5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_are_bytes_or_powers_of_1024() {
        for (text, bytes) in [
            ("1", 1),
            ("4096", 4096),
            ("512M", 512 << 20),
            ("2g", 2 << 30),
            ("1.5GiB", 3 << 29),
            ("1kb", 1024),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "-1G", "G", "2X", "1e9", "nan", "inf", "99999999T", "é"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn recall_and_rerank_keep_their_ranges() {
        assert_eq!((recall("1"), recall("0.9")), (Ok(1.0), Ok(0.9)));
        assert!(["0", "1.01", "nan", "-0.5", "x"].iter().all(|text| recall(text).is_err()));
        assert_eq!((rerank("all"), rerank("7")), (Ok(u32::MAX), Ok(7)));
        assert!(["0", "-1", "none"].iter().all(|text| rerank(text).is_err()));
    }
}
