//! Rows that were read, kept while they are asked for: a sharded LRU bounded in bytes.
//!
//! Shards are chosen by a hash of the position, so that threads seldom meet at one lock, and a lock is held
//! for a look-up or an insertion, never across I/O. Off at 0 bytes: then a look-up costs one load.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory::{try_arc, AlignedBytes, Lru};

const SHARDS: usize = 16;

/// What an entry costs beside its bytes: two map slots, list links, the counted header.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// What a cache holds and has done. Counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheInfo {
    /// Bound in bytes; 0: off.
    pub capacity_bytes: u64,
    /// Entries and their bookkeeping.
    pub used_bytes: u64,
    /// Entries held.
    pub entries: u64,
    /// Look-ups that found.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Entries dropped for room.
    pub evictions: u64,
}

struct Shard {
    rows: Lru<(u64, u32), Arc<AlignedBytes>>,
    used_bytes: usize,
    /// The most of them at a time.
    peak_bytes: usize,
}

/// A byte-bounded cache of rows by segment and position.
pub struct VectorCache {
    shards: [Mutex<Shard>; SHARDS],
    capacity_bytes: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

impl VectorCache {
    /// A cache of at most `capacity_bytes`; 0: off.
    pub fn new(capacity_bytes: usize) -> Self {
        let shard = || Mutex::new(Shard { rows: Lru::new(), used_bytes: 0, peak_bytes: 0 });
        VectorCache {
            shards: std::array::from_fn(|_| shard()),
            capacity_bytes: AtomicUsize::new(capacity_bytes),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        }
    }

    /// The row, if it is held; it becomes the latest used.
    pub fn get(&self, segment: u64, position: u32) -> Option<Arc<AlignedBytes>> {
        if self.capacity_bytes.load(Relaxed) == 0 {
            return None;
        }
        let found = self.shard(segment, position).rows.get(&(segment, position)).cloned();
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Relaxed);
        found
    }

    /// Keeps a copy of a row, dropping the longest unused ones for room. Without memory nothing is kept.
    pub fn put(&self, segment: u64, position: u32, bytes: &[u8]) {
        let cost = bytes.len() + ENTRY_OVERHEAD_BYTES;
        if cost > self.bound() {
            return;
        }
        // In a full shard the row that leaves gives its buffer to the one that comes: allocating 4 KB and freeing them
        // costs more than reading the row again.
        let full = |shard: &Shard| shard.used_bytes + cost > self.bound();
        let mut shard = self.shard(segment, position);
        let leaving = if full(&shard) { self.drop_oldest(&mut shard) } else { None };
        drop(shard);
        let Some(row) = copy_into(leaving, bytes) else { return };
        let mut shard = self.shard(segment, position);
        let Ok(old) = shard.rows.put((segment, position), row) else { return };
        shard.used_bytes -= old.map_or(0, |old| old.len() + ENTRY_OVERHEAD_BYTES);
        shard.used_bytes += cost;
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

    /// Forgets the rows; keeps bound and counts.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.rows = Lru::new();
            shard.used_bytes = 0;
        }
    }

    /// Size and counts. Each number is exact; together they are not one instant.
    pub fn info(&self) -> CacheInfo {
        let mut info = CacheInfo {
            capacity_bytes: self.capacity_bytes.load(Relaxed) as u64,
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
            ..CacheInfo::default()
        };
        for shard in &self.shards {
            let shard = lock(shard);
            info.used_bytes += shard.used_bytes as u64;
            info.entries += shard.rows.len() as u64;
        }
        info
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
        while shard.used_bytes > bound && self.drop_oldest(shard).is_some() {}
    }

    /// Takes out the row that was not used for the longest time.
    fn drop_oldest(&self, shard: &mut Shard) -> Option<Arc<AlignedBytes>> {
        let (_, row) = shard.rows.pop_oldest()?;
        shard.used_bytes -= row.len() + ENTRY_OVERHEAD_BYTES;
        self.evictions.fetch_add(1, Relaxed);
        Some(row)
    }

    fn shard(&self, segment: u64, position: u32) -> MutexGuard<'_, Shard> {
        let mixed = (segment ^ u64::from(position)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        lock(&self.shards[(mixed >> 60) as usize % SHARDS])
    }
}

/// A copy of `bytes`, in the memory of `old` if that has the size and nobody reads it any more.
fn copy_into(old: Option<Arc<AlignedBytes>>, bytes: &[u8]) -> Option<Arc<AlignedBytes>> {
    let mut row = match old {
        Some(old) if old.len() == bytes.len() && Arc::strong_count(&old) == 1 => old,
        _ => try_arc(AlignedBytes::zeroed(bytes.len()).ok()?).ok()?,
    };
    Arc::get_mut(&mut row)?.copy_from_slice(bytes);
    Some(row)
}

/// A panic while a shard was locked leaves it consistent: the map is changed by single calls.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_below_the_bound_and_the_latest_used_stay() {
        let cache = VectorCache::new(64 * 1024);
        for position in 0..1000 {
            cache.put(1, position, &[position as u8; 256]);
            assert!(cache.info().used_bytes <= 64 * 1024);
        }
        let info = cache.info();
        assert!(info.entries > 100 && info.evictions == 1000 - info.entries, "{info:?}");
        assert_eq!(cache.get(1, 999).map(|row| row[0]), Some(999u32 as u8));
        assert!(cache.get(1, 0).is_none() && cache.get(2, 999).is_none());
        let info = cache.info();
        assert_eq!((info.hits, info.misses), (1, 2));
    }

    #[test]
    fn off_keeps_nothing_and_counts_nothing() {
        let cache = VectorCache::new(1 << 20);
        cache.put(1, 1, &[1; 100]);
        cache.resize(0);
        cache.put(1, 2, &[1; 100]);
        assert!(cache.get(1, 1).is_none());
        assert_eq!(cache.info(), CacheInfo { evictions: 1, ..CacheInfo::default() });
    }

    #[test]
    fn clear_forgets_rows_and_keeps_counts() {
        let cache = VectorCache::new(1 << 20);
        cache.put(1, 1, &[1; 100]);
        assert!(cache.get(1, 1).is_some());
        cache.clear();
        let info = cache.info();
        assert_eq!((info.entries, info.used_bytes, info.hits, info.capacity_bytes), (0, 0, 1, 1 << 20));
    }
}
