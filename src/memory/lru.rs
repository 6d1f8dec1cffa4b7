//! A map that knows which entry was used longest ago, and asks politely for memory.
//!
//! Entries lie in one list and name their neighbours in the order of use by place; a hash map names the place of a
//! key. An entry that leaves gives its place to the last of the list, so that the list has no holes. How many entries
//! there may be is for the caller to say: it takes out the oldest.
//!
//! Calls `types`.

use std::collections::HashMap;
use std::hash::Hash;

use crate::types::{Error, Result};

/// In the place of a neighbour: there is none.
const NONE: u32 = u32::MAX;

/// The list grows by a part of itself, so that the copy made of it while it grows is paid by its entries.
const GROWTH_SHARE: usize = 4;
const GROWTH_MIN: usize = 16;

/// Values by key, in the order of their use.
pub struct Lru<K, V> {
    places: HashMap<K, u32>,
    entries: Vec<Entry<K, V>>,
    latest: u32,
    oldest: u32,
}

struct Entry<K, V> {
    key: K,
    value: V,
    /// Used before this one.
    older: u32,
    /// Used after it.
    newer: u32,
}

impl<K: Hash + Eq + Copy, V> Lru<K, V> {
    /// Without entries. Allocates nothing.
    pub fn new() -> Self {
        Lru { places: HashMap::new(), entries: Vec::new(), latest: NONE, oldest: NONE }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key, which becomes the latest used.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let place = *self.places.get(key)?;
        self.unlink(place);
        self.link_latest(place);
        Some(&self.entries[place as usize].value)
    }

    /// Puts a value in, as the latest used; gives the one that had its key.
    ///
    /// # Errors
    /// `OutOfMemory`; then nothing has changed.
    pub fn put(&mut self, key: K, value: V) -> Result<Option<V>> {
        if let Some(place) = self.places.get(&key).copied() {
            self.unlink(place);
            self.link_latest(place);
            return Ok(Some(std::mem::replace(&mut self.entries[place as usize].value, value)));
        }
        let held = self.entries.len();
        let more = if held < self.entries.capacity() { 0 } else { GROWTH_MIN.max(held / GROWTH_SHARE) };
        let entries = self.entries.try_reserve_exact(more);
        if held >= NONE as usize || entries.is_err() || self.places.try_reserve(1).is_err() {
            return Err(Error::out_of_memory("a cache", ((held + more) * size_of::<Entry<K, V>>()) as u64));
        }
        self.entries.push(Entry { key, value, older: NONE, newer: NONE });
        self.places.insert(key, held as u32);
        self.link_latest(held as u32);
        Ok(None)
    }

    /// Takes out what was not used for the longest time.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        let place = self.oldest;
        if place == NONE {
            return None;
        }
        self.unlink(place);
        let Entry { key, value, .. } = self.entries.swap_remove(place as usize);
        self.places.remove(&key);
        if let Some(moved) = self.entries.get(place as usize) {
            let (key, older, newer) = (moved.key, moved.older, moved.newer);
            self.places.insert(key, place);
            self.set_newer(older, place);
            self.set_older(newer, place);
        }
        Some((key, value))
    }

    /// Takes an entry out of the order.
    fn unlink(&mut self, place: u32) {
        let Entry { older, newer, .. } = self.entries[place as usize];
        self.set_newer(older, newer);
        self.set_older(newer, older);
    }

    /// Puts an entry that is not in the order at its end.
    fn link_latest(&mut self, place: u32) {
        let older = self.latest;
        let entry = &mut self.entries[place as usize];
        (entry.older, entry.newer) = (older, NONE);
        self.set_newer(older, place);
        self.latest = place;
    }

    /// What comes after the entry at `place`; after none: the oldest.
    fn set_newer(&mut self, place: u32, newer: u32) {
        match self.entries.get_mut(place as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// What comes before the entry at `place`; before none: the latest.
    fn set_older(&mut self, place: u32, older: u32) {
        match self.entries.get_mut(place as usize) {
            Some(entry) => entry.older = older,
            None => self.latest = older,
        }
    }
}

impl<K: Hash + Eq + Copy, V> Default for Lru<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;

    #[test]
    fn it_does_what_a_list_would() {
        let mut random = SplitMix64::new(5);
        let mut ours = Lru::new();
        // Oldest first.
        let mut plain: Vec<(u64, u64)> = Vec::new();
        for step in 0..20_000 {
            let key = random.below(60);
            let at = plain.iter().position(|(other, _)| *other == key);
            match random.below(if step < 10_000 { 4 } else { 8 }) {
                0 => {
                    let held = at.map(|at| plain.remove(at));
                    plain.extend(held);
                    assert_eq!(ours.get(&key).copied(), held.map(|(_, value)| value));
                }
                1..4 => {
                    let old = at.map(|at| plain.remove(at).1);
                    plain.push((key, step));
                    assert_eq!(ours.put(key, step).unwrap(), old);
                }
                _ => {
                    let oldest = (!plain.is_empty()).then(|| plain.remove(0));
                    assert_eq!(ours.pop_oldest(), oldest);
                }
            }
            assert_eq!(ours.len(), plain.len());
        }
        while let Some(oldest) = ours.pop_oldest() {
            assert_eq!(oldest, plain.remove(0));
        }
        assert!(plain.is_empty() && ours.is_empty() && ours.pop_oldest().is_none());
    }
}
