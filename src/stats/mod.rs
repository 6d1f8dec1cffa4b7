//! Counters and phase clocks of a search, and their sums over the life of a handle.
//!
//! A search counts in a plain [`SearchStats`] of its own, which costs an addition; phases are timed by a
//! [`Clock`], which costs one reading of the system's clock a phase. When it is done, its numbers are
//! added to the handle's [`Totals`] once. Those are sharded by thread, so that searches of many threads
//! do not pass one cache line around, and summed on read: a sum taken while searches run may have some
//! of the numbers of a search and lack others.
//!
//! Calls the clock. Decides nothing: no search depends on what is counted.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// What one search did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchStats {
    /// Rotating and encoding the query.
    pub quantise_ns: u64,
    /// Ranking nodes from the root to the leaves.
    pub descend_ns: u64,
    /// Estimates over the codes of leaves.
    pub scan_ns: u64,
    /// Following links.
    pub walk_ns: u64,
    /// Waiting for full vectors that are read by system calls; the page faults of mapped ones are part of `rerank_ns`.
    pub read_ns: u64,
    /// Exact distances of candidates; of exact searches over several threads, summed over these.
    pub rerank_ns: u64,
    /// Joining the answers of segments.
    pub merge_ns: u64,
    /// Nodes of the tree whose distance was estimated or computed.
    pub nodes_ranked: u64,
    /// Leaves whose codes were read.
    pub leaves_scanned: u64,
    /// Codes whose distance was estimated, by scan and walk.
    pub codes_scanned: u64,
    /// Of these, codes that a walk along links met.
    pub codes_walked: u64,
    /// Candidates whose exact distance was computed.
    pub rows_reranked: u64,
    /// Full vectors that were read from outside the cache.
    pub rows_read: u64,
    /// Bytes of those reads.
    pub bytes_read: u64,
    /// Leaves that the plan allowed; of a sum, their sum.
    pub probes: u32,
    /// 1 if the answer came from the answer cache; of a sum, how many did.
    pub answer_cache_hit: u32,
    /// Generation of the index that answered; of a sum, the latest.
    pub generation: u64,
}

impl SearchStats {
    /// Adds what another search did, as for the searches of a batch.
    pub fn add(&mut self, other: &SearchStats) {
        self.quantise_ns += other.quantise_ns;
        self.descend_ns += other.descend_ns;
        self.scan_ns += other.scan_ns;
        self.walk_ns += other.walk_ns;
        self.read_ns += other.read_ns;
        self.rerank_ns += other.rerank_ns;
        self.merge_ns += other.merge_ns;
        self.nodes_ranked += other.nodes_ranked;
        self.leaves_scanned += other.leaves_scanned;
        self.codes_scanned += other.codes_scanned;
        self.codes_walked += other.codes_walked;
        self.rows_reranked += other.rows_reranked;
        self.rows_read += other.rows_read;
        self.bytes_read += other.bytes_read;
        self.probes = self.probes.saturating_add(other.probes);
        self.answer_cache_hit = self.answer_cache_hit.saturating_add(other.answer_cache_hit);
        self.generation = self.generation.max(other.generation);
    }
}

/// Times the phases of a search, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts the first phase.
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    /// Ends a phase: adds its nanoseconds to `phase_ns`, and starts the next one.
    pub fn lap(&mut self, phase_ns: &mut u64) {
        self.lap_beside(0, phase_ns);
    }

    /// Ends a phase of which `beside_ns` are counted already as another phase.
    pub fn lap_beside(&mut self, beside_ns: u64, phase_ns: &mut u64) {
        let now = Instant::now();
        let lap_ns = u64::try_from((now - self.0).as_nanos()).unwrap_or(u64::MAX);
        *phase_ns += lap_ns.saturating_sub(beside_ns);
        self.0 = now;
    }
}

/// A number that any thread may add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    #[inline]
    pub fn add(&self, count: u64) {
        // Relaxed: a count publishes nothing else.
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn sum(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What all searches of a handle did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotalStats {
    /// Single searches; batches are counted apart.
    pub searches: u64,
    /// Answers that came from the answer cache.
    pub answer_cache_hits: u64,
    /// Leaves that the plans allowed.
    pub probes: u64,
    /// Sums of the fields of the same name. `probes` and `answer_cache_hit` are 0 here: their sums above
    /// do not end at 32 bits.
    pub sums: SearchStats,
}

/// Into so many shards threads are divided; more of them begin to share.
pub const THREAD_SHARDS: usize = 16;

/// Numbers of a [`TotalStats`], without the generation.
const COUNTS: usize = 17;

/// Two cache lines, since CPUs fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    counts: [Counter; COUNTS],
    search_ns: Counter,
    generation: AtomicU64,
}

/// The sums of a handle, added to by all threads.
#[derive(Default)]
pub struct Totals {
    shards: [Shard; THREAD_SHARDS],
}

impl Totals {
    /// Adds `searches` searches that did `stats` together.
    pub fn add(&self, searches: u64, stats: &SearchStats) {
        let shard = &self.shards[thread_shard()];
        for (counter, count) in shard.counts.iter().zip(counts(searches, stats)) {
            if count > 0 {
                counter.add(count);
            }
        }
        if stats.generation > shard.generation.load(Ordering::Relaxed) {
            shard.generation.fetch_max(stats.generation, Ordering::Relaxed);
        }
    }

    /// Adds the time of a call, successful or not.
    pub fn add_time(&self, search_ns: u64) {
        self.shards[thread_shard()].search_ns.add(search_ns);
    }

    /// Time of all calls so far.
    pub fn search_ns(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.wrapping_add(shard.search_ns.sum()))
    }

    /// The sums so far.
    pub fn sum(&self) -> TotalStats {
        let mut sums = [0u64; COUNTS];
        let mut generation = 0;
        for shard in &self.shards {
            for (sum, counter) in sums.iter_mut().zip(&shard.counts) {
                *sum = sum.wrapping_add(counter.sum());
            }
            generation = generation.max(shard.generation.load(Ordering::Relaxed));
        }
        total(sums, generation)
    }
}

/// The numbers of a shard, in the order that [`total`] reads.
fn counts(searches: u64, stats: &SearchStats) -> [u64; COUNTS] {
    // Taken apart by name, so that a field that is added to the struct cannot be forgotten here.
    let SearchStats {
        quantise_ns,
        descend_ns,
        scan_ns,
        walk_ns,
        read_ns,
        rerank_ns,
        merge_ns,
        nodes_ranked,
        leaves_scanned,
        codes_scanned,
        codes_walked,
        rows_reranked,
        rows_read,
        bytes_read,
        probes,
        answer_cache_hit,
        generation: _,
    } = *stats;
    [
        searches,
        u64::from(answer_cache_hit),
        u64::from(probes),
        quantise_ns,
        descend_ns,
        scan_ns,
        walk_ns,
        read_ns,
        rerank_ns,
        merge_ns,
        nodes_ranked,
        leaves_scanned,
        codes_scanned,
        codes_walked,
        rows_reranked,
        rows_read,
        bytes_read,
    ]
}

/// The inverse of [`counts`].
fn total(counts: [u64; COUNTS], generation: u64) -> TotalStats {
    let [searches, answer_cache_hits, probes, rest @ ..] = counts;
    let [quantise_ns, descend_ns, scan_ns, walk_ns, read_ns, rerank_ns, merge_ns, rest @ ..] = rest;
    let [nodes_ranked, leaves_scanned, codes_scanned, codes_walked, rows_reranked, rows_read, bytes_read] =
        rest;
    let sums = SearchStats {
        quantise_ns,
        descend_ns,
        scan_ns,
        walk_ns,
        read_ns,
        rerank_ns,
        merge_ns,
        nodes_ranked,
        leaves_scanned,
        codes_scanned,
        codes_walked,
        rows_reranked,
        rows_read,
        bytes_read,
        probes: 0,
        answer_cache_hit: 0,
        generation,
    };
    TotalStats { searches, answer_cache_hits, probes, sums }
}

/// The shard of this thread, below [`THREAD_SHARDS`]: threads take them in turn, once in their life.
pub fn thread_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // Constant and without a destructor: nothing is registered with the host's thread.
    thread_local!(static SHARD: Cell<usize> = const { Cell::new(usize::MAX) });
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % THREAD_SHARDS);
        }
        shard.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field another number, so that none can be taken for another.
    fn sample(base: u64) -> SearchStats {
        SearchStats {
            quantise_ns: base + 1,
            descend_ns: base + 2,
            scan_ns: base + 3,
            walk_ns: base + 4,
            read_ns: base + 5,
            rerank_ns: base + 6,
            merge_ns: base + 7,
            nodes_ranked: base + 8,
            leaves_scanned: base + 9,
            codes_scanned: base + 10,
            codes_walked: base + 11,
            rows_reranked: base + 12,
            rows_read: base + 13,
            bytes_read: base + 14,
            probes: base as u32 + 15,
            answer_cache_hit: 1,
            generation: base + 16,
        }
    }

    #[test]
    fn totals_of_many_threads_are_what_one_would_add() {
        let totals = Totals::default();
        std::thread::scope(|scope| {
            for thread in 0..40 {
                let totals = &totals;
                scope.spawn(move || {
                    for search in 0..50 {
                        totals.add(1, &sample(thread * 100 + search));
                        totals.add_time(2);
                    }
                });
            }
        });
        let mut expected = SearchStats::default();
        for thread in 0..40 {
            for search in 0..50 {
                expected.add(&sample(thread * 100 + search));
            }
        }
        let total = totals.sum();
        assert_eq!((total.searches, total.answer_cache_hits, totals.search_ns()), (2000, 2000, 4000));
        assert_eq!(total.probes, u64::from(expected.probes));
        assert_eq!(total.sums, SearchStats { probes: 0, answer_cache_hit: 0, ..expected });
        assert_eq!(total.sums.generation, 39 * 100 + 49 + 16);
    }

    #[test]
    fn sums_do_not_end_at_32_bits() {
        let totals = Totals::default();
        let stats = SearchStats { probes: u32::MAX, answer_cache_hit: u32::MAX, ..SearchStats::default() };
        totals.add(2, &stats);
        totals.add(2, &stats);
        assert_eq!(totals.sum().probes, 2 * u64::from(u32::MAX));
        let mut sum = stats;
        sum.add(&stats);
        assert_eq!((sum.probes, sum.answer_cache_hit), (u32::MAX, u32::MAX));
    }

    #[test]
    fn laps_add_up_to_the_whole() {
        let whole = Instant::now();
        let mut clock = Clock::start();
        let (mut first_ns, mut second_ns) = (0, 7);
        for _ in 0..100 {
            clock.lap(&mut first_ns);
            clock.lap(&mut second_ns);
        }
        assert!(u128::from(first_ns + second_ns - 7) <= whole.elapsed().as_nanos());
    }

    #[test]
    fn a_counter_counts() {
        let counter = Counter::default();
        counter.add(3);
        counter.add(4);
        assert_eq!(counter.sum(), 7);
    }
}
