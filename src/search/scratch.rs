//! Working memory of searches: buffers that grow once and are lent again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, TryLockError};

use crate::memory::AlignedBytes;
use crate::quantize::query::PreparedQuery;
use crate::search::candidates::Candidates;
use crate::stats::{thread_shard, SearchStats};
use crate::topk::heap::{Scored, TopK};

/// Rows that are estimated at once: their numbers fit the first-level cache beside the query.
pub const BLOCK_ROWS: usize = 256;

/// One scratch has this part of what all may keep, so that some threads have theirs, or so many bytes.
const ONE_SHARE: u64 = 8;
const ONE_BYTES_MIN: u64 = 2 << 20;

/// What one query needs from its start to its answer.
#[derive(Default)]
pub struct QueryScratch {
    /// The query in the forms of the segment at hand.
    pub prepared: PreparedQuery,
    /// Distance of the query to each centre of that segment.
    pub bases: Vec<f32>,
    /// The leaves to visit there, best first.
    pub leaves: Vec<Scored<u32>>,
    /// Rows that may be in the answer.
    pub candidates: Candidates,
    /// The answer.
    pub top: TopK<u64>,
}

impl QueryScratch {
    /// The most bytes of the lists that grow with `k` when it is answered out of `rows` rows.
    pub fn bytes_max(k: usize, rows: u64) -> u64 {
        Candidates::bytes_max(k, rows).saturating_add(TopK::<u64>::bytes_max(k))
    }

    fn memory_bytes(&self) -> usize {
        let lists = self.bases.capacity() * 4 + self.leaves.capacity() * 8;
        self.prepared.memory_bytes() + lists + self.candidates.memory_bytes() + self.top.memory_bytes()
    }
}

/// What one thread needs for whatever query is at hand.
pub struct Scratch {
    /// One entry a query of the tile.
    pub queries: Vec<QueryScratch>,
    /// Queries of the tile that want an answer still.
    pub open: Vec<u32>,
    /// Buffers of the stages.
    pub stage: StageScratch,
    /// What the searches on this scratch have done since it was lent.
    pub stats: SearchStats,
}

/// Buffers that a stage fills and empties.
pub struct StageScratch {
    /// What the kernel counted for a block of codes.
    pub counted: Vec<i32>,
    /// Estimates of a block.
    pub estimates: Vec<f32>,
    /// Deviations of a block.
    pub deviations: Vec<f32>,
    /// Nodes of the level at hand.
    pub frontier: Vec<Scored<u32>>,
    /// Nodes of the next level.
    pub next: Vec<Scored<u32>>,
    /// 8-bit products of a block of nodes.
    pub products: Vec<i32>,
    /// (leaf, query, in the outer half of its visit) of a tile.
    pub visits: Vec<(u32, u32, bool)>,
    /// Positions that a filter names.
    pub positions: Vec<u32>,
    /// One row, or a run of rows, that was read.
    pub row: AlignedBytes,
}

impl Scratch {
    /// Empty buffers. Allocates next to nothing.
    pub fn new() -> Self {
        Scratch {
            queries: Vec::new(),
            open: Vec::new(),
            stage: StageScratch {
                counted: vec![0; BLOCK_ROWS],
                estimates: vec![0.0; BLOCK_ROWS],
                deviations: vec![0.0; BLOCK_ROWS],
                frontier: Vec::new(),
                next: Vec::new(),
                products: Vec::new(),
                visits: Vec::new(),
                positions: Vec::new(),
                row: AlignedBytes::empty(),
            },
            stats: SearchStats::default(),
        }
    }

    /// Bytes of the buffers that grow with what is searched.
    pub fn memory_bytes(&self) -> u64 {
        let stage = &self.stage;
        let lists = (stage.frontier.capacity() + stage.next.capacity()) * 8
            + stage.visits.capacity() * 12
            + (stage.positions.capacity()
                + stage.products.capacity()
                + self.open.capacity()
                + 3 * BLOCK_ROWS)
                * 4;
        let queries: usize = self.queries.iter().map(QueryScratch::memory_bytes).sum();
        (lists + queries + stage.row.len()) as u64
    }

    /// Room for a tile of `count` queries.
    pub fn reserve_queries(&mut self, count: usize) {
        if self.queries.len() < count {
            self.queries.resize_with(count, QueryScratch::default);
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Where one scratch waits, on cache lines of its own.
#[repr(align(128))]
struct Slot(Mutex<Option<Box<Scratch>>>);

/// Scratches between searches. Taking and giving back never waits: a busy slot is passed over. A thread looks first
/// where no other does as a rule.
pub struct ScratchPool {
    slots: Vec<Slot>,
    kept_bytes_max: u64,
    one_bytes_max: u64,
    kept_bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

impl ScratchPool {
    /// A pool that keeps at most `slots` scratches, and at most `kept_bytes_max` bytes of them.
    pub fn new(slots: usize, kept_bytes_max: u64) -> Self {
        let slots = (0..slots).map(|_| Slot(Mutex::new(None))).collect();
        let one_bytes_max = (kept_bytes_max / ONE_SHARE).max(kept_bytes_max.min(ONE_BYTES_MIN));
        let (kept_bytes, peak_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        ScratchPool { slots, kept_bytes_max, one_bytes_max, kept_bytes, peak_bytes }
    }

    /// The most bytes that one scratch may have to be kept. What needs more is for its caller to account for.
    pub fn one_bytes_max(&self) -> u64 {
        self.one_bytes_max
    }

    fn slots_for_thread(&self) -> impl Iterator<Item = &Slot> {
        let first = thread_shard().min(self.slots.len());
        self.slots[first..].iter().chain(&self.slots[..first])
    }

    /// Bytes of the scratches that are not lent at the moment.
    pub fn memory_bytes(&self) -> u64 {
        let held = self.slots.iter().filter_map(|slot| slot.0.try_lock().ok());
        held.map(|slot| slot.as_ref().map_or(0, |scratch| scratch.memory_bytes())).sum()
    }

    /// The most bytes that scratches which were not lent took at a time.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Relaxed)
    }

    /// A scratch, used or new.
    pub fn take(&self) -> Box<Scratch> {
        for slot in self.slots_for_thread() {
            let held = match slot.0.try_lock() {
                Ok(mut held) => held.take(),
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(mut scratch) = held {
                self.kept_bytes.fetch_sub(scratch.memory_bytes(), Relaxed);
                scratch.stats = SearchStats::default();
                return scratch;
            }
        }
        Box::default()
    }

    /// Keeps a scratch for the next search, or frees it if all slots are taken or the bytes are, or it has grown too
    /// large.
    pub fn give(&self, scratch: Box<Scratch>) {
        let bytes = scratch.memory_bytes();
        if bytes > self.one_bytes_max {
            return;
        }
        let kept_bytes = self.kept_bytes.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if kept_bytes <= self.kept_bytes_max {
            // As a rule one load: a peak is seldom passed.
            if kept_bytes > self.peak_bytes.load(Relaxed) {
                self.peak_bytes.fetch_max(kept_bytes, Relaxed);
            }
            for slot in self.slots_for_thread() {
                if let Ok(mut held) = slot.0.try_lock() {
                    if held.is_none() {
                        *held = Some(scratch);
                        return;
                    }
                }
            }
        }
        self.kept_bytes.fetch_sub(bytes, Relaxed);
    }
}
