//! Working memory of searches: buffers that grow once and are lent again.
//!
//! What searches may take is counted before they begin, by the most that their lists can need, and what waits for the
//! next search is counted with it. Together they have a part of the handle's limit; beyond that, a search takes from
//! what the limit has left, or is refused.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, TryLockError};

use crate::index::segment::SegmentIndex;
use crate::kernels::judge::LANES;
use crate::kernels::Kernels;
use crate::memory::budget::{Budget, Share};
use crate::memory::{try_collect, try_reserve, try_vec, try_with_capacity, AlignedBytes};
use crate::quantize::encode::Factors;
use crate::quantize::query::PreparedQuery;
use crate::search::bases::Bases;
use crate::search::candidates::Candidates;
use crate::search::list::WalkList;
use crate::search::met::MetRows;
use crate::stats::{thread_shard, SearchStats};
use crate::topk::heap::{Scored, TopK};
use crate::types::Result;

/// Rows that are estimated at once: their numbers fit the first-level cache beside the query.
pub const BLOCK_ROWS: usize = 256;

/// One scratch has this part of what all may keep, so that some threads have theirs, or so many bytes.
const ONE_SHARE: u64 = 8;
const ONE_BYTES_MIN: u64 = 2 << 20;

/// What searches are called in the budget while they work with more than the part that is kept for them.
pub const MORE_SEARCHES: &str = "a search";

/// What one query needs from its start to its answer.
#[derive(Default)]
pub struct QueryScratch {
    /// The query in the forms of the segment at hand.
    pub prepared: PreparedQuery,
    /// Its distances to the centres of that segment.
    pub bases: Bases,
    /// The leaves to visit there, best first.
    pub leaves: Vec<Scored<u32>>,
    /// Rows that may be in the answer.
    pub candidates: Candidates,
    /// Rows that a walk goes on from.
    pub walk: WalkList,
    /// The answer.
    pub top: TopK<u64>,
    /// How wide its next visit is; 0: it has its answer.
    pub widen: u32,
}

/// A query in the forms of the segment at hand, and what it keeps of the rows that it meets.
pub struct Asked<'a> {
    /// The query in the forms of the segment at hand.
    pub prepared: &'a PreparedQuery,
    /// Its distances to the centres of that segment.
    pub bases: &'a mut Bases,
    /// Rows that may be in the answer.
    pub candidates: &'a mut Candidates,
    /// Rows that a walk goes on from.
    pub list: &'a mut WalkList,
}

impl QueryScratch {
    /// What scan and walk need, and the leaves to visit.
    pub fn asked(&mut self) -> (Asked<'_>, &[Scored<u32>]) {
        let QueryScratch { prepared, bases, leaves, candidates, walk, .. } = self;
        (Asked { prepared, bases, candidates, list: walk }, leaves)
    }

    /// Makes the forms of the query that a segment wants; its distances to the centres are to be found.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn prepare(&mut self, kernels: &Kernels, index: &SegmentIndex, query: &[f32]) -> Result<()> {
        let quantiser = &index.quantiser;
        let (rotation, shape, metric) = (&quantiser.rotation, quantiser.shape, quantiser.metric);
        self.prepared.reserve(shape, metric, query.len())?;
        self.prepared.prepare(kernels, rotation, quantiser.mean(), shape, metric, query);
        self.bases.reset(index.tree.centre_count())
    }

    /// The most bytes of the lists that grow with `k` when it is answered out of `rows` rows, with a walk over `list`.
    pub fn bytes_max(k: usize, rows: u64, list: usize) -> u64 {
        let lists = Candidates::bytes_max(k, rows).saturating_add(TopK::<u64>::bytes_max(k));
        lists.saturating_add(WalkList::bytes_max(list))
    }

    fn memory_bytes(&self) -> usize {
        let lists = self.bases.memory_bytes() + self.leaves.capacity() * 8;
        let kept = self.candidates.memory_bytes() + self.walk.memory_bytes() + self.top.memory_bytes();
        self.prepared.memory_bytes() + lists + kept
    }
}

/// What one thread needs for whatever query is at hand.
#[derive(Default)]
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
#[derive(Default)]
pub struct StageScratch {
    /// What the kernel counted for a block of codes.
    pub counted: Vec<i32>,
    /// Estimates of a block.
    pub estimates: Vec<f32>,
    /// Half widths of their bounds.
    pub slacks: Vec<f32>,
    /// Which of them may matter: a bit for each.
    pub chosen: Vec<u16>,
    /// Distances to the centres of a block of rows.
    pub bases: Vec<f32>,
    /// Factors of rows that lie anywhere.
    pub factors: Vec<Factors>,
    /// Nodes of the level at hand.
    pub frontier: Vec<Scored<u32>>,
    /// Nodes of the next level.
    pub next: Vec<Scored<u32>>,
    /// Distances to the children of the root by their 8-bit centroids.
    pub rough: Vec<f32>,
    /// 8-bit products of a block of nodes.
    pub products: Vec<i32>,
    /// (leaf, query, in the outer half of its visit) of a tile.
    pub visits: Vec<(u32, u32, bool)>,
    /// Positions that a filter names, or a walk found.
    pub positions: Vec<u32>,
    /// Rows that a walk met.
    pub met: MetRows,
    /// One row, or a run of rows, that was read.
    pub row: AlignedBytes,
}

impl Scratch {
    /// Buffers of one block, and else empty ones.
    fn new() -> Result<Self> {
        let stage = StageScratch {
            counted: try_vec(BLOCK_ROWS, 0)?,
            estimates: try_vec(BLOCK_ROWS, 0.0)?,
            slacks: try_vec(BLOCK_ROWS, 0.0)?,
            chosen: try_vec(BLOCK_ROWS / LANES, 0)?,
            bases: try_vec(BLOCK_ROWS, 0.0)?,
            factors: try_vec(BLOCK_ROWS, Factors::default())?,
            ..StageScratch::default()
        };
        Ok(Scratch { stage, ..Scratch::default() })
    }

    /// Bytes of the buffers that grow with what is searched.
    pub fn memory_bytes(&self) -> u64 {
        let stage = &self.stage;
        let lists = (stage.frontier.capacity() + stage.next.capacity()) * 8
            + stage.visits.capacity() * 12
            + (stage.positions.capacity()
                + stage.products.capacity()
                + stage.rough.capacity()
                + self.open.capacity()
                + 6 * BLOCK_ROWS
                + BLOCK_ROWS / LANES)
                * 4;
        let queries: usize = self.queries.iter().map(QueryScratch::memory_bytes).sum();
        (lists + queries + stage.met.memory_bytes() + stage.row.len()) as u64
    }

    /// Room for a tile of `count` queries.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn reserve_queries(&mut self, count: usize) -> Result<()> {
        let more = count.saturating_sub(self.queries.len());
        if more > 0 {
            try_reserve(&mut self.queries, more)?;
            self.queries.resize_with(count, QueryScratch::default);
        }
        Ok(())
    }
}

/// Where one scratch waits, on cache lines of its own.
#[repr(align(128))]
struct Slot(Mutex<Option<Scratch>>);

/// Scratches between searches. Taking and giving back never waits: a busy slot is passed over. A thread looks first
/// where no other does as a rule.
pub struct ScratchPool {
    slots: Vec<Slot>,
    /// What searches have of the budget.
    bytes_max: u64,
    /// The most bytes that one scratch may have to be kept.
    one_bytes_max: u64,
    /// Of `bytes_max`: what waits, as it is, and what is lent, as it may become.
    used_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    /// Where searches find more.
    budget: Budget,
}

/// A scratch that a search works with. It is given back when the search ends, well or not.
pub struct Lent<'a> {
    pool: &'a ScratchPool,
    scratch: Scratch,
    /// What it may become, of the pool's bytes and beyond them.
    own_bytes: u64,
    beyond: Option<Share>,
}

impl ScratchPool {
    /// A pool that keeps at most `slots` scratches; those that wait and those that are lent take at most `bytes_max`,
    /// and beyond that what `budget` has left.
    ///
    /// # Errors
    /// `OutOfMemory` without room for the slots.
    pub fn new(slots: usize, bytes_max: u64, budget: Budget) -> Result<Self> {
        let slots = try_collect((0..slots).map(|_| Slot(Mutex::new(None))))?;
        let one_bytes_max = (bytes_max / ONE_SHARE).max(bytes_max.min(ONE_BYTES_MIN));
        let (used_bytes, peak_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(ScratchPool { slots, bytes_max, one_bytes_max, used_bytes, peak_bytes, budget })
    }

    fn slots_for_thread(&self) -> impl Iterator<Item = &Slot> {
        let first = thread_shard().min(self.slots.len());
        self.slots[first..].iter().chain(&self.slots[..first])
    }

    /// Bytes of the scratches, of those that are lent what they may become; without what is beyond the pool's part.
    pub fn memory_bytes(&self) -> u64 {
        self.used_bytes.load(Relaxed)
    }

    /// The most of them at a time.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Relaxed)
    }

    /// Bytes that could be lent now.
    pub fn free_bytes(&self) -> u64 {
        let waiting = self.slots.iter().filter_map(|slot| slot.0.try_lock().ok());
        let waiting: u64 = waiting.map(|slot| slot.as_ref().map_or(0, Scratch::memory_bytes)).sum();
        let own = self.bytes_max.saturating_sub(self.memory_bytes()).saturating_add(waiting);
        own.saturating_add(self.budget.left_bytes())
    }

    /// A scratch, used or new, for a search whose lists take at most `bytes`.
    ///
    /// # Errors
    /// `OutOfMemory` if the searches that run have left too little of the limit.
    pub fn take(&self, bytes: u64) -> Result<Lent<'_>> {
        let waiting = self.slots_for_thread().find_map(Slot::take);
        let own_bytes = waiting.as_ref().map_or(0, Scratch::memory_bytes);
        let scratch = waiting.map_or_else(Scratch::new, Ok)?;
        let more = bytes.max(scratch.memory_bytes()) - own_bytes;
        // On a failure it goes back to where it waited.
        let mut lent = Lent { pool: self, scratch, own_bytes, beyond: None };
        lent.scratch.stats = SearchStats::default();
        if !self.add(more) {
            lent.beyond = self.add_beyond(more, &mut lent.own_bytes)?;
        } else {
            lent.own_bytes += more;
        }
        Ok(lent)
    }

    /// As [`take`](Self::take), at most `most` of them: as many as there is memory for.
    ///
    /// # Errors
    /// `OutOfMemory` without room for the list.
    pub fn take_up_to(&self, bytes: u64, most: usize) -> Result<Vec<Lent<'_>>> {
        let mut lent = try_with_capacity(most)?;
        lent.extend((0..most).map_while(|_| self.take(bytes).ok()));
        Ok(lent)
    }

    /// Counts `more` bytes if the pool's part has room for them.
    fn add(&self, more: u64) -> bool {
        let with = |used: u64| used.checked_add(more).filter(|sum| *sum <= self.bytes_max);
        let Ok(before) = self.used_bytes.fetch_update(Relaxed, Relaxed, with) else { return false };
        // As a rule one load: a peak is seldom passed.
        if before + more > self.peak_bytes.load(Relaxed) {
            self.peak_bytes.fetch_max(before + more, Relaxed);
        }
        true
    }

    /// Finds `more` bytes where what waits, and what the budget has left, must help; adds to `own_bytes` what came of
    /// the pool's part.
    #[cold]
    fn add_beyond(&self, more: u64, own_bytes: &mut u64) -> Result<Option<Share>> {
        for slot in &self.slots {
            if let Some(waiting) = slot.take() {
                let bytes = waiting.memory_bytes();
                drop(waiting);
                self.used_bytes.fetch_sub(bytes, Relaxed);
            }
            if self.add(more) {
                *own_bytes += more;
                return Ok(None);
            }
        }
        // The rest of the pool's part; another search may be quicker.
        let mut own = more.min(self.bytes_max.saturating_sub(self.memory_bytes()));
        if !self.add(own) {
            own = 0;
        }
        *own_bytes += own;
        let beyond = self.budget.reserve(MORE_SEARCHES, more - own);
        beyond.map(Some).map_err(|error| {
            error.context("ask for fewer searches at a time or for a smaller k, or give them more memory")
        })
    }

    /// Keeps a scratch for the next search, or frees it if all slots are taken or the bytes are, or it has grown too
    /// large. It was counted as `own_bytes`.
    fn give(&self, scratch: Scratch, own_bytes: u64) {
        let bytes = scratch.memory_bytes();
        let as_it_is = |used: u64| Some(used - own_bytes + bytes).filter(|sum| *sum <= self.bytes_max);
        let mut counted = own_bytes;
        // What a panic has left is not for the next search.
        if bytes <= self.one_bytes_max
            && !std::thread::panicking()
            && self.used_bytes.fetch_update(Relaxed, Relaxed, as_it_is).is_ok()
        {
            counted = bytes;
            let mut scratch = Some(scratch);
            if self.slots_for_thread().any(|slot| slot.put(&mut scratch)) {
                return;
            }
        } else {
            drop(scratch);
        }
        self.used_bytes.fetch_sub(counted, Relaxed);
    }
}

impl Slot {
    fn take(&self) -> Option<Scratch> {
        match self.0.try_lock() {
            Ok(mut held) => held.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes the scratch in, if nothing is here.
    fn put(&self, scratch: &mut Option<Scratch>) -> bool {
        match self.0.try_lock() {
            Ok(mut held) if held.is_none() => {
                *held = scratch.take();
                true
            }
            _ => false,
        }
    }
}

impl Deref for Lent<'_> {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        &self.scratch
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Scratch {
        &mut self.scratch
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.pool.give(mem::take(&mut self.scratch), self.own_bytes);
    }
}
