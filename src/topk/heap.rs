//! A bounded heap: the k closest seen so far, the farthest of which is the k-th smallest of the stream.
//!
//! It keeps a set that does not depend on the order of arrival: pairs are compared by `(distance, key)`, a total
//! order, so that leaves may be scanned in any order and by any thread. Storage is reused: a warm heap allocates
//! nothing. Calls `types`.

use std::cmp::Ordering;

use crate::types::{Error, Result};

/// A number that sorts as `f32::total_cmp` does.
#[inline]
pub fn rank(value: f32) -> u32 {
    let bits = value.to_bits();
    // Of a negative number all bits are turned, of others the sign.
    bits ^ (((bits as i32 >> 31) as u32) | 1 << 31)
}

/// The value that has this [`rank`].
#[inline]
pub fn of_rank(rank: u32) -> f32 {
    f32::from_bits(rank ^ ((!(rank as i32) >> 31) as u32 | 1 << 31))
}

/// A number that sorts by distance, then key.
#[inline]
pub fn place(distance: f32, key: u32) -> u64 {
    u64::from(rank(distance)) << 32 | u64::from(key)
}

/// A distance and what it belongs to. Ordered by distance, then key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored<K> {
    /// Smaller is closer.
    pub distance: f32,
    /// Breaks ties.
    pub key: K,
}

impl<K: Ord> Scored<K> {
    /// The order of answers: by distance, then by key. A NaN is farther than everything.
    #[inline]
    pub fn order(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then_with(|| self.key.cmp(&other.key))
    }
}

impl Scored<u32> {
    /// A number that sorts as [`order`](Self::order) does.
    #[inline]
    pub fn place(&self) -> u64 {
        place(self.distance, self.key)
    }
}

/// The `k` smallest pairs seen, as a max-heap.
#[derive(Clone, Debug, Default)]
pub struct TopK<K> {
    k: usize,
    heap: Vec<Scored<K>>,
}

impl<K: Ord + Copy> TopK<K> {
    /// Forgets everything and keeps the next `k`. Storage grows with what is pushed, not with `k`.
    pub fn reset(&mut self, k: usize) {
        self.k = k;
        self.heap.clear();
    }

    /// As [`reset`](Self::reset), but takes the storage for all `k` now, so that no push allocates.
    ///
    /// # Errors
    /// `OutOfMemory`; nothing is kept then.
    pub fn try_reset(&mut self, k: usize) -> Result<()> {
        self.reset(0);
        self.heap
            .try_reserve_exact(k)
            .map_err(|_| Error::out_of_memory("the answers of a search", Self::bytes_max(k)))?;
        self.k = k;
        Ok(())
    }

    /// Bytes of the storage for `k`.
    pub fn bytes_max(k: usize) -> u64 {
        (k as u64).saturating_mul(std::mem::size_of::<Scored<K>>() as u64)
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Bytes of the storage.
    pub fn memory_bytes(&self) -> usize {
        self.heap.capacity() * std::mem::size_of::<Scored<K>>()
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The distance that a newcomer must not exceed: infinite until `k` are held.
    #[inline]
    pub fn threshold(&self) -> f32 {
        if self.heap.len() < self.k {
            f32::INFINITY
        } else {
            self.heap.first().map_or(f32::NEG_INFINITY, |worst| worst.distance)
        }
    }

    /// Offers a pair; true if it is now among the `k` smallest. O(log k).
    #[inline]
    pub fn push(&mut self, distance: f32, key: K) -> bool {
        let new = Scored { distance, key };
        if self.heap.len() < self.k {
            self.heap.push(new);
            self.sift_up();
            return true;
        }
        match self.heap.first() {
            Some(worst) if new.order(worst) == Ordering::Less => {
                self.heap[0] = new;
                self.sift_down();
                true
            }
            _ => false,
        }
    }

    /// What is held, in no order.
    pub fn as_slice(&self) -> &[Scored<K>] {
        &self.heap
    }

    /// Sorts what is held, closest first, and shows it; `reset` before pushing again.
    pub fn sorted(&mut self) -> &[Scored<K>] {
        self.heap.sort_unstable_by(Scored::order);
        &self.heap
    }

    fn sift_up(&mut self) {
        let mut child = self.heap.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if self.heap[child].order(&self.heap[parent]) != Ordering::Greater {
                break;
            }
            self.heap.swap(child, parent);
            child = parent;
        }
    }

    fn sift_down(&mut self) {
        let mut parent = 0;
        loop {
            let left = 2 * parent + 1;
            if left >= self.heap.len() {
                break;
            }
            let right = left + 1;
            let child =
                if right < self.heap.len() && self.heap[right].order(&self.heap[left]) == Ordering::Greater {
                    right
                } else {
                    left
                };
            if self.heap[child].order(&self.heap[parent]) != Ordering::Greater {
                break;
            }
            self.heap.swap(child, parent);
            parent = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;

    #[test]
    fn any_order_of_arrival_keeps_the_same_k() {
        let mut random = SplitMix64::new(1);
        for k in [1usize, 2, 7, 50, 400] {
            let mut pairs: Vec<(f32, u32)> = (0..300).map(|i| ((random.below(40)) as f32, i)).collect();
            let mut expected = pairs.clone();
            expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            expected.truncate(k);
            for _ in 0..5 {
                let mut top = TopK::default();
                top.reset(k);
                for (distance, key) in &pairs {
                    top.push(*distance, *key);
                }
                let held: Vec<(f32, u32)> = top.sorted().iter().map(|s| (s.distance, s.key)).collect();
                assert_eq!(held, expected);
                for i in (1..pairs.len()).rev() {
                    pairs.swap(i, random.below(i as u64 + 1) as usize);
                }
            }
        }
    }

    #[test]
    fn k_of_zero_holds_nothing_and_admits_nothing() {
        let mut top = TopK::<u32>::default();
        top.reset(0);
        assert!(!top.push(1.0, 1) && top.is_empty());
        assert_eq!(top.threshold(), f32::NEG_INFINITY);
        let refused = top.try_reset(usize::MAX / 2).unwrap_err();
        assert_eq!(refused.status(), crate::types::Status::OutOfMemory);
        assert!(!top.push(1.0, 1));
    }
}
