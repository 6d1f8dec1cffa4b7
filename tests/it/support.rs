//! What tests of answers share: sets of rows, indexes over them, answers, and the naive way to find them. What
//! concerns directories and files is in `fixture`.
//!
//! The naive way knows nothing of the engine: one loop in f64 over the values that are stored. Everything is
//! deterministic: rows come from `workload`, numbers from its streams.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use tempfile::TempDir;
use vdb::database::{self, ArrayRows, Database, Job, OpenOptions, SearchStats};
use vdb::types::params::{BuildParams, Filter, SearchParams, NO_ID, RERANK_ALL};
use vdb::types::{ElementType, Metric};
use workload::gen::{Difficulty, GenParams, Generator};
use workload::rng::Stream;
use workload::rows::{Matrix, Rows};
use workload::vecs::{VecFile, Writer};

pub const METRICS: [Metric; 3] = [Metric::L2, Metric::InnerProduct, Metric::Cosine];
pub const ELEMENTS: [ElementType; 3] = [ElementType::F32, ElementType::F16, ElementType::U8];

/// What every f32 distance may be off, in units of the sum of its terms' sizes: some tens of roundings.
const ROUNDING: f64 = 4e-6;

/// A file that the repository carries.
pub fn carried(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

// ---- rows ----

/// Rows, and what an index over them must know.
#[derive(Clone)]
pub struct Set {
    pub metric: Metric,
    pub element: ElementType,
    pub dim: usize,
    /// Row after row, as they are stored.
    pub rows: Vec<f32>,
    /// `None`: 0 to n - 1.
    pub ids: Option<Vec<u64>>,
    /// Small whole numbers: squared distances and products are exact in f32, in any order of summing.
    pub whole: bool,
}

impl Set {
    /// Small whole numbers, every eighth row a copy of an earlier one: many equal distances.
    pub fn whole(metric: Metric, element: ElementType, count: usize, dim: usize, seed: u64) -> Self {
        let mut rows = whole_vectors(element, count, dim, seed);
        let mut stream = Stream::new(seed ^ 0xC0);
        for row in (8..count).step_by(8) {
            let from = stream.below(row as u64) as usize * dim;
            rows.copy_within(from..from + dim, row * dim);
        }
        Set { metric, element, dim, rows, ids: None, whole: true }
    }

    /// Rows as real ones are, in f32.
    pub fn drawn(metric: Metric, law: GenParams, count: usize) -> Self {
        let mut rows = vec![0.0; count * law.dim];
        Generator::new(law).rows_parallel(0, &mut rows, 2);
        Set { metric, element: ElementType::F32, dim: law.dim, rows, ids: None, whole: false }
    }

    /// As [`Set::drawn`], sentence-like.
    pub fn typical(metric: Metric, count: usize, dim: usize) -> Self {
        Self::drawn(metric, GenParams::new(dim, Difficulty::Typical), count)
    }

    /// The rows of a file.
    pub fn of_file(metric: Metric, path: &Path) -> Self {
        let (element, rows) = stored(path);
        let dim = rows.dim();
        Set { metric, element, dim, rows: rows.values().to_vec(), ids: None, whole: false }
    }

    /// The same rows under ids all over the 64 bits, in no order.
    pub fn with_scattered_ids(mut self) -> Self {
        let mut stream = Stream::new(self.count() as u64 + 77);
        let mut seen = HashSet::new();
        let mut fresh = || loop {
            let id = stream.bits() >> stream.below(40);
            if id != NO_ID && seen.insert(id) {
                return id;
            }
        };
        self.ids = Some((0..self.count()).map(|_| fresh()).collect());
        self
    }

    pub fn count(&self) -> usize {
        self.rows.len() / self.dim
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.dim..][..self.dim]
    }

    pub fn id(&self, row: usize) -> u64 {
        self.ids.as_ref().map_or(row as u64, |ids| ids[row])
    }

    pub fn all_ids(&self) -> Vec<u64> {
        (0..self.count()).map(|row| self.id(row)).collect()
    }

    /// Queries of the kind of the rows, packed.
    pub fn queries(&self, count: usize) -> Vec<f32> {
        if self.whole {
            return whole_vectors(self.element, count, self.dim, 0x51);
        }
        let mut queries = vec![0.0; count * self.dim];
        Generator::new(GenParams::new(self.dim, Difficulty::Typical)).queries(0, &mut queries);
        queries
    }
}

/// The element type of a file, and its values.
fn stored(path: &Path) -> (ElementType, Matrix) {
    let file = VecFile::open(path).unwrap();
    let element = match file.element() {
        workload::vecs::Element::F32 => ElementType::F32,
        workload::vecs::Element::F16 => ElementType::F16,
        workload::vecs::Element::U8 => ElementType::U8,
    };
    (element, Matrix::of(&file).unwrap())
}

/// Vectors of small whole numbers, none all zero.
fn whole_vectors(element: ElementType, count: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed);
    let lean = if element == ElementType::U8 { 0.0 } else { 8.0 };
    let mut values: Vec<f32> = (0..count * dim).map(|_| stream.below(17) as f32 - lean).collect();
    for row in values.chunks_exact_mut(dim).filter(|row| row.iter().all(|x| *x == 0.0)) {
        row[0] = 1.0;
    }
    values
}

// ---- indexes ----

/// A built and opened index with the rows that are in it. Its directory goes with it.
pub struct Index {
    pub set: Set,
    pub db: Database,
    dir: TempDir,
}

impl Index {
    /// Builds and opens; `set.metric` overrides that of `params`.
    pub fn new(set: Set, params: &BuildParams) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let set = build(&dir.path().join("index"), set, params, &Job::default());
        let db = Database::open(&dir.path().join("index"), &OpenOptions::default()).unwrap();
        Index { set, db, dir }
    }

    /// With leaves of few rows, so that a small set has a tree.
    pub fn tree(set: Set, leaf_rows: u32) -> Self {
        Self::new(set, &BuildParams { leaf_rows, ..BuildParams::default() })
    }

    /// The index once more.
    pub fn open(&self, options: &OpenOptions) -> Database {
        Database::open(&self.path(), options).unwrap()
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("index")
    }
}

/// Builds an index of the set in `path`; gives the set back with its rows as they were stored.
pub fn build(path: &Path, mut set: Set, params: &BuildParams, job: &Job<'_>) -> Set {
    let params = BuildParams { metric: set.metric, ..params.clone() };
    if set.element == ElementType::F32 {
        let source = ArrayRows::of_floats(&set.rows, set.dim).unwrap();
        database::build(path, &source, set.ids.as_deref(), &params, job).unwrap();
        return set;
    }
    // The other types go by way of a file, whose writer rounds.
    let dir = tempfile::tempdir().unwrap();
    let name = if set.element == ElementType::U8 { "rows.u8bin" } else { "rows.f16.npy" };
    let file = dir.path().join(name);
    let mut writer = Writer::create(&file, set.dim).unwrap();
    writer.write(&set.rows).unwrap();
    writer.finish().unwrap();
    set.rows = stored(&file).1.values().to_vec();
    let source = database::open_file(&file).unwrap();
    database::build(path, &*source, set.ids.as_deref(), &params, job).unwrap();
    set
}

// ---- answers ----

/// What a search gave. Two are equal when all bits are.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub ids: Vec<u64>,
    pub distances: Vec<f32>,
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        let bits = |answer: &Self| answer.distances.iter().map(|d| d.to_bits()).collect::<Vec<_>>();
        self.ids == other.ids && bits(self) == bits(other)
    }
}

impl Answer {
    /// Takes the slots before `count`; those behind must say that nothing is there.
    pub fn of_slots(ids: &[u64], distances: &[f32], count: usize) -> Self {
        assert!(ids[count..].iter().all(|id| *id == NO_ID), "{count} found, {ids:?}");
        assert!(distances[count..].iter().all(|d| *d == f32::INFINITY), "{count} found, {distances:?}");
        Answer { ids: ids[..count].to_vec(), distances: distances[..count].to_vec() }
    }

    /// Ascending by distance, equal distances by id, so that none is there twice.
    pub fn assert_in_order(&self, what: &str) {
        let hits: Vec<(f32, u64)> = self.distances.iter().copied().zip(self.ids.iter().copied()).collect();
        for pair in hits.windows(2) {
            let order = pair[0].0.total_cmp(&pair[1].0).then(pair[0].1.cmp(&pair[1].1));
            assert!(order.is_lt(), "{what}: {:?} before {:?}", pair[0], pair[1]);
        }
        assert_eq!(self.ids.iter().collect::<HashSet<_>>().len(), self.ids.len(), "{what}: an id twice");
    }
}

/// One search, with what it did.
pub fn search_counted(
    db: &Database,
    query: &[f32],
    k: usize,
    params: &SearchParams<'_>,
) -> (Answer, SearchStats) {
    let (mut ids, mut distances) = (vec![7; k], vec![f32::NAN; k]);
    let outcome = db.search(query, k, params, &mut ids, Some(&mut distances)).unwrap();
    (Answer::of_slots(&ids, &distances, outcome.count), outcome.stats)
}

/// One search.
pub fn search(db: &Database, query: &[f32], k: usize, params: &SearchParams<'_>) -> Answer {
    search_counted(db, query, k, params).0
}

/// A search for each of packed queries.
pub fn searches(db: &Database, queries: &[f32], k: usize, params: &SearchParams<'_>) -> Vec<Answer> {
    queries.chunks_exact(db.dim()).map(|query| search(db, query, k, params)).collect()
}

/// One batch, with what it did.
pub fn batch_counted(
    db: &Database,
    queries: &[f32],
    k: usize,
    params: &SearchParams<'_>,
) -> (Vec<Answer>, SearchStats) {
    let count = queries.len() / db.dim();
    let (mut ids, mut distances) = (vec![7; count * k], vec![f32::NAN; count * k]);
    let mut counts = vec![usize::MAX; count];
    let (d, c) = (Some(&mut distances[..]), Some(&mut counts[..]));
    let stats = db.batch_search(queries, db.dim(), k, params, &mut ids, d, c).unwrap();
    let slots = ids.chunks_exact(k).zip(distances.chunks_exact(k)).zip(&counts);
    (slots.map(|((ids, distances), count)| Answer::of_slots(ids, distances, *count)).collect(), stats)
}

/// One batch.
pub fn batch(db: &Database, queries: &[f32], k: usize, params: &SearchParams<'_>) -> Vec<Answer> {
    batch_counted(db, queries, k, params).0
}

/// As a caller asks who sets nothing; the caches are left out of it, so that each search is one.
pub fn plain() -> SearchParams<'static> {
    SearchParams { no_cache: true, ..SearchParams::default() }
}

/// All leaves, every row of them.
pub fn everything() -> SearchParams<'static> {
    SearchParams { probes: u32::MAX, rerank: RERANK_ALL, ..plain() }
}

/// No codes, no tree.
pub fn exact() -> SearchParams<'static> {
    SearchParams { exact: true, ..plain() }
}

// ---- the naive way ----

/// All rows of a set that `admits`, by their distance from one query in f64, closest first.
pub struct Naive {
    pub hits: Vec<(f64, u64)>,
    by_id: HashMap<u64, f64>,
    /// How far a correct f32 distance may lie from ours, beside what is relative to the distance itself.
    slack: f64,
    whole: bool,
}

impl Naive {
    pub fn new(set: &Set, query: &[f32], admits: impl Fn(u64) -> bool) -> Self {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
        };
        let length = dot(query, query).sqrt();
        let mut longest = 0.0f64;
        let mut hits: Vec<(f64, u64)> = Vec::new();
        for row in (0..set.count()).filter(|row| admits(set.id(*row))) {
            let vector = set.row(row);
            let distance = match set.metric {
                Metric::L2 => {
                    vector.iter().zip(query).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
                }
                Metric::InnerProduct => -dot(vector, query),
                Metric::Cosine => 1.0 - dot(vector, query) / (dot(vector, vector).sqrt() * length),
            };
            longest = longest.max(dot(vector, vector).sqrt());
            hits.push((distance, set.id(row)));
        }
        hits.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let slack = match set.metric {
            Metric::L2 => 0.0,
            Metric::InnerProduct => ROUNDING * longest * length,
            Metric::Cosine => ROUNDING,
        };
        let by_id = hits.iter().map(|(distance, id)| (*id, *distance)).collect();
        let whole = set.whole && set.metric != Metric::Cosine;
        Naive { hits, by_id, slack, whole }
    }

    /// A distance of the engine may be off the true one by so much. Of whole numbers it is exact.
    pub fn tolerance(&self, distance: f64) -> f64 {
        if self.whole {
            0.0
        } else {
            self.slack + ROUNDING * distance.abs()
        }
    }

    /// The distance of an id, if it may be returned at all.
    pub fn distance(&self, id: u64) -> Option<f64> {
        self.by_id.get(&id).copied()
    }

    /// Each answer is admitted, once, in order, with its true distance.
    pub fn assert_true(&self, answer: &Answer, what: &str) {
        answer.assert_in_order(what);
        for (id, distance) in answer.ids.iter().zip(&answer.distances) {
            let truth = self.distance(*id).unwrap_or_else(|| panic!("{what}: {id} must not be returned"));
            let off = (f64::from(*distance) - truth).abs();
            assert!(off <= self.tolerance(truth), "{what}: {id} at {distance}, which is at {truth}");
        }
    }

    /// The answer is the `k` closest, id for id. Only rows that f32 cannot tell apart may change places.
    pub fn assert_same(&self, answer: &Answer, k: usize, what: &str) {
        self.assert_true(answer, what);
        assert_eq!(answer.ids.len(), k.min(self.hits.len()), "{what}: rows found");
        for (rank, (id, (truth, expected))) in answer.ids.iter().zip(&self.hits).enumerate() {
            let off = (self.by_id[id] - truth).abs();
            let same = id == expected || (!self.whole && off <= 2.0 * self.tolerance(*truth));
            assert!(same, "{what}: rank {rank} is {id} at {}, not {expected} at {truth}", self.by_id[id]);
        }
    }

    /// How many of the closest `k` the answer has.
    pub fn hits_at(&self, k: usize, answer: &Answer) -> usize {
        let k = k.min(self.hits.len());
        let Some(last) = k.checked_sub(1).map(|last| self.hits[last].0) else { return 0 };
        let limit = last + self.tolerance(last);
        let near = |id: &&u64| self.distance(**id).is_some_and(|distance| distance <= limit);
        answer.ids.iter().take(k).filter(near).count()
    }
}

// ---- filters ----

/// A filter that owns what it names.
#[derive(Clone, Debug)]
pub enum Named {
    Ids(Vec<u64>, bool),
    Bitmap(Vec<u64>, u64, bool),
}

impl Named {
    pub fn filter(&self) -> Filter<'_> {
        match self {
            Named::Ids(ids, exclude) => Filter::Ids { ids, exclude: *exclude },
            Named::Bitmap(words, first_id, exclude) => {
                Filter::Bitmap { words, first_id: *first_id, exclude: *exclude }
            }
        }
    }

    /// All forms that admit just the `admitted` of `all`. Bitmaps only where the ids lie close enough.
    pub fn forms(all: &[u64], admitted: &HashSet<u64>) -> Vec<Named> {
        let sorted = |keep: bool| {
            let mut ids: Vec<u64> = all.iter().copied().filter(|id| admitted.contains(id) == keep).collect();
            ids.sort_unstable();
            ids
        };
        let (inside, outside) = (sorted(true), sorted(false));
        let mut forms = Vec::new();
        for (ids, exclude) in [(inside, false), (outside, true)] {
            let first_id = ids.first().copied().unwrap_or(0);
            if ids.last().is_none_or(|last| last - first_id < 1 << 20) {
                let words = ids.last().map_or(0, |last| (last - first_id) as usize / 64 + 1);
                let mut bits = vec![0u64; words];
                ids.iter().for_each(|id| bits[(id - first_id) as usize / 64] |= 1 << ((id - first_id) % 64));
                forms.push(Named::Bitmap(bits, first_id, exclude));
            }
            forms.push(Named::Ids(ids, exclude));
        }
        forms
    }
}

/// `count` of the ids, at random.
pub fn some_of(all: &[u64], count: usize, seed: u64) -> HashSet<u64> {
    let mut stream = Stream::new(seed);
    let mut left = all.to_vec();
    (0..count).map(|_| left.swap_remove(stream.below(left.len() as u64) as usize)).collect()
}
