//! Whole answers, remembered: an LRU bounded in bytes, sharded.
//!
//! The key is everything that decides an answer: the query's bits, k, the parameters, what the filter admits, and the
//! generation. Query and parameters are compared in full; the filter by a 128-bit hash of its content. A hit is
//! one hash of the query, one look-up under a shard's lock and one copy. Off at 0 bytes.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::{xxh3_128, Xxh3};

use crate::database::report::CacheReport;
use crate::memory::{try_with_capacity, Lru};
use crate::types::params::{Filter, SearchParams};

const SHARDS: usize = 8;

/// What an entry costs beside its vectors' content.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// What decides an answer beside the query's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerKey {
    generation: u64,
    k: u64,
    recall_bits: u32,
    probes: u32,
    rerank: u32,
    exact: bool,
    farthest_bits: Option<u32>,
    filter: (u8, u128, u64),
}

impl AnswerKey {
    /// The key of a search.
    pub fn new(generation: u64, k: usize, params: &SearchParams<'_>) -> Self {
        AnswerKey {
            generation,
            k: k as u64,
            recall_bits: if params.probes == 0 { params.recall.to_bits() } else { 0 },
            probes: params.probes,
            rerank: params.rerank,
            exact: params.exact,
            farthest_bits: params.max_distance.map(f32::to_bits),
            filter: match params.filter {
                Filter::All => (0, 0, 0),
                Filter::Bitmap { words, first_id, exclude } => {
                    (1 + u8::from(exclude), xxh3_128(bytemuck::cast_slice(words)), first_id)
                }
                Filter::Ids { ids, exclude } => {
                    (3 + u8::from(exclude), xxh3_128(bytemuck::cast_slice(ids)), ids.len() as u64)
                }
            },
        }
    }

    fn hash(&self, query: &[f32]) -> u128 {
        let mut hasher = Xxh3::new();
        hasher.update(bytemuck::cast_slice(query));
        hasher.update(&self.generation.to_le_bytes());
        hasher.update(&self.k.to_le_bytes());
        let small = [self.recall_bits, self.probes, self.rerank, self.farthest_bits.unwrap_or(u32::MAX)];
        hasher.update(bytemuck::cast_slice(&small));
        hasher.update(&[u8::from(self.exact), self.filter.0]);
        hasher.update(&self.filter.1.to_le_bytes());
        hasher.digest128()
    }
}

struct Entry {
    key: AnswerKey,
    query: Box<[f32]>,
    answer: Box<[(u64, f32)]>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.query.len() * 4 + self.answer.len() * std::mem::size_of::<(u64, f32)>() + ENTRY_OVERHEAD_BYTES
    }
}

struct Shard {
    entries: Lru<u128, Entry>,
    used_bytes: usize,
    /// The most of them at a time.
    peak_bytes: usize,
}

/// A byte-bounded cache of answers.
pub struct AnswerCache {
    shards: Vec<Mutex<Shard>>,
    capacity_bytes: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

impl AnswerCache {
    /// A cache of at most `capacity_bytes`; 0: off.
    pub fn new(capacity_bytes: usize) -> Self {
        let shard = || Mutex::new(Shard { entries: Lru::new(), used_bytes: 0, peak_bytes: 0 });
        AnswerCache {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            capacity_bytes: AtomicUsize::new(capacity_bytes),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    /// True unless the capacity is 0.
    pub fn is_on(&self) -> bool {
        self.capacity_bytes.load(Relaxed) > 0
    }

    /// Copies a remembered answer out; how many rows it has.
    pub fn get(
        &self,
        key: &AnswerKey,
        query: &[f32],
        ids: &mut [u64],
        distances: Option<&mut [f32]>,
    ) -> Option<usize> {
        let hash = key.hash(query);
        let mut shard = self.shard(hash);
        let found = shard.entries.get(&hash).filter(|entry| {
            entry.key == *key
                && bytemuck::cast_slice::<f32, u32>(&entry.query) == bytemuck::cast_slice::<f32, u32>(query)
        });
        let Some(entry) = found else {
            self.misses.fetch_add(1, Relaxed);
            return None;
        };
        for (slot, (id, _)) in ids.iter_mut().zip(&entry.answer) {
            *slot = *id;
        }
        if let Some(distances) = distances {
            for (slot, (_, distance)) in distances.iter_mut().zip(&entry.answer) {
                *slot = *distance;
            }
        }
        self.hits.fetch_add(1, Relaxed);
        Some(entry.answer.len())
    }

    /// Remembers an answer, dropping the longest unused ones for room.
    pub fn put(&self, key: &AnswerKey, query: &[f32], answer: impl ExactSizeIterator<Item = (u64, f32)>) {
        let bytes = query.len() * 4 + answer.len() * std::mem::size_of::<(u64, f32)>() + ENTRY_OVERHEAD_BYTES;
        if bytes > self.bound() {
            return;
        }
        // Without memory for it, an answer is not remembered.
        let (Ok(mut of), Ok(mut hits)) = (try_with_capacity(query.len()), try_with_capacity(answer.len()))
        else {
            return;
        };
        of.extend_from_slice(query);
        hits.extend(answer);
        let entry = Entry { key: *key, query: of.into(), answer: hits.into() };
        let hash = key.hash(query);
        let mut shard = self.shard(hash);
        let Ok(old) = shard.entries.put(hash, entry) else { return };
        shard.used_bytes -= old.map_or(0, |old| old.bytes());
        shard.used_bytes += bytes;
        // The bound of now: a resize sets it before it takes the lock, so that no entry slips past it.
        self.shrink(&mut shard, self.bound());
        shard.peak_bytes = shard.peak_bytes.max(shard.used_bytes);
    }

    /// Sets a new bound at once; 0 turns the cache off. Counts are kept.
    pub fn resize(&self, capacity_bytes: usize) {
        self.capacity_bytes.store(capacity_bytes, Relaxed);
        for shard in &self.shards {
            self.shrink(&mut lock(shard), self.bound());
        }
    }

    /// Forgets the answers; keeps bound and counts.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.entries = Lru::new();
            shard.used_bytes = 0;
        }
    }

    /// Size and counts.
    pub fn report(&self) -> CacheReport {
        let mut report = CacheReport {
            capacity_bytes: self.capacity_bytes.load(Relaxed) as u64,
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
            ..CacheReport::default()
        };
        for shard in &self.shards {
            let shard = lock(shard);
            report.used_bytes += shard.used_bytes as u64;
            report.entries += shard.entries.len() as u64;
        }
        report
    }

    /// The most bytes that entries took at a time, or a little more: the sum of what each shard says of itself.
    pub fn peak_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).peak_bytes as u64).sum()
    }

    /// Bytes of one shard.
    fn bound(&self) -> usize {
        self.capacity_bytes.load(Relaxed) / SHARDS
    }

    fn shrink(&self, shard: &mut Shard, bound: usize) {
        while shard.used_bytes > bound {
            let Some((_, entry)) = shard.entries.pop_oldest() else { break };
            shard.used_bytes -= entry.bytes();
            self.evictions.fetch_add(1, Relaxed);
        }
    }

    fn shard(&self, hash: u128) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(hash >> 64) as usize % SHARDS])
    }
}

/// A panic while a shard was locked leaves it consistent: the map is changed by single calls.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_that_could_change_an_answer_changes_the_key() {
        let cache = AnswerCache::new(1 << 20);
        let query = [1.0f32, 2.0, 3.0];
        let base = SearchParams::default();
        let key = AnswerKey::new(1, 10, &base);
        cache.put(&key, &query, [(5u64, 0.5f32), (6, 0.75)].into_iter());
        let (mut ids, mut distances) = ([0u64; 10], [0f32; 10]);
        assert_eq!(cache.get(&key, &query, &mut ids, Some(&mut distances)), Some(2));
        assert_eq!((ids[0], ids[1], distances[1]), (5, 6, 0.75));
        let named = [1u64, 2];
        let others = [
            AnswerKey::new(2, 10, &base),
            AnswerKey::new(1, 11, &base),
            AnswerKey::new(1, 10, &SearchParams { recall: 0.9, ..base }),
            AnswerKey::new(1, 10, &SearchParams { probes: 3, ..base }),
            AnswerKey::new(1, 10, &SearchParams { rerank: 3, ..base }),
            AnswerKey::new(1, 10, &SearchParams { exact: true, ..base }),
            AnswerKey::new(1, 10, &SearchParams { max_distance: Some(1.0), ..base }),
            AnswerKey::new(
                1,
                10,
                &SearchParams { filter: Filter::Ids { ids: &named, exclude: false }, ..base },
            ),
            AnswerKey::new(
                1,
                10,
                &SearchParams { filter: Filter::Ids { ids: &named, exclude: true }, ..base },
            ),
            AnswerKey::new(
                1,
                10,
                &SearchParams {
                    filter: Filter::Bitmap { words: &named, first_id: 0, exclude: false },
                    ..base
                },
            ),
            AnswerKey::new(
                1,
                10,
                &SearchParams {
                    filter: Filter::Bitmap { words: &named, first_id: 64, exclude: false },
                    ..base
                },
            ),
        ];
        for other in others {
            assert_eq!(cache.get(&other, &query, &mut ids, None), None, "{other:?}");
        }
        // -0.0 and 0.0 are other bits; so are other queries.
        assert_eq!(cache.get(&key, &[1.0, 2.0, 3.5], &mut ids, None), None);
    }

    #[test]
    fn bytes_stay_below_the_bound() {
        let cache = AnswerCache::new(64 * 1024);
        for i in 0..1000 {
            let key = AnswerKey::new(1, 10, &SearchParams::default());
            cache.put(&key, &[i as f32; 16], (0..10).map(|n| (n, 0.0)).collect::<Vec<_>>().into_iter());
            assert!(cache.report().used_bytes <= 64 * 1024);
        }
        let report = cache.report();
        assert!(report.entries > 50 && report.evictions == 1000 - report.entries, "{report:?}");
        cache.clear();
        assert_eq!(cache.report().entries, 0);
    }
}
