//! One number of bytes, shared out to the parts of a handle.
//!
//! In: the limit that the host set. Each part (codes, links, caches, scratch, the passes of a build)
//! reserves what it is about to allocate, and holds a [`Share`] as long as it holds the memory; dropping
//! the share gives the bytes back. A share that does not fit is refused with a sentence and the limit
//! that would do; what has been handed out is never taken back, and nothing aborts.
//!
//! A budget counts what parts say, not what the allocator does. Reserving takes a lock: once a part,
//! a search or a pass, not once a row.
//!
//! Calls `types`. Knows nothing of what the parts do.

use super::fallible::{try_arc, try_reserve};
use crate::types::{Error, Result, Status};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory of one handle. Clones are the same budget.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    limit_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used_bytes: u64,
    peak_bytes: u64,
    parts: Vec<PartBytes>,
}

/// What one part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartBytes {
    /// Name of the part, as in the reservation.
    pub what: &'static str,
    /// Bytes it holds now.
    pub used_bytes: u64,
    /// The most it has held at a time.
    pub peak_bytes: u64,
}

/// A part's piece of the budget, given back on drop.
#[must_use = "a share that is dropped is given back"]
pub struct Share {
    budget: Budget,
    what: &'static str,
    bytes: u64,
}

impl Budget {
    /// A budget of `limit_bytes`.
    ///
    /// # Errors
    /// `OutOfMemory` without room for the budget itself.
    pub fn new(limit_bytes: u64) -> Result<Self> {
        Ok(Budget(try_arc(Shared { limit_bytes, state: Mutex::default() })?))
    }

    /// Reserves `bytes` for the part called `what`.
    ///
    /// # Errors
    /// `OutOfMemory` if fewer are left; its needed bytes are the least limit that would do.
    pub fn reserve(&self, what: &'static str, bytes: u64) -> Result<Share> {
        self.take(what, bytes)?;
        Ok(Share { budget: self.clone(), what, bytes })
    }

    /// Reserves what is left, at most `most` and at least `least` bytes: for a part that can do with
    /// less, as a cache.
    ///
    /// # Errors
    /// `OutOfMemory` if fewer than `least` are left.
    pub fn reserve_up_to(&self, what: &'static str, least: u64, most: u64) -> Result<Share> {
        let mut state = self.state();
        let left = self.0.limit_bytes - state.used_bytes;
        let bytes = left.min(most).max(least);
        if bytes > left {
            return Err(self.refusal(&state, what, bytes));
        }
        state.add(what, bytes)?;
        drop(state);
        Ok(Share { budget: self.clone(), what, bytes })
    }

    /// The most that may be held at a time.
    pub fn limit_bytes(&self) -> u64 {
        self.0.limit_bytes
    }

    /// Bytes held now.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes
    }

    /// Bytes that could be reserved now.
    pub fn left_bytes(&self) -> u64 {
        self.0.limit_bytes - self.used_bytes()
    }

    /// The most that was held at a time.
    pub fn peak_bytes(&self) -> u64 {
        self.state().peak_bytes
    }

    /// What the part called `what` holds; nothing if it never did.
    pub fn part(&self, what: &'static str) -> PartBytes {
        let state = self.state();
        let part = state.parts.iter().find(|part| part.what == what);
        part.copied().unwrap_or(PartBytes { what, used_bytes: 0, peak_bytes: 0 })
    }

    fn take(&self, what: &'static str, bytes: u64) -> Result<()> {
        let mut state = self.state();
        if bytes > self.0.limit_bytes - state.used_bytes {
            return Err(self.refusal(&state, what, bytes));
        }
        state.add(what, bytes)
    }

    fn give_back(&self, what: &'static str, bytes: u64) {
        let mut state = self.state();
        state.used_bytes -= bytes;
        if let Some(part) = state.parts.iter_mut().find(|part| part.what == what) {
            part.used_bytes -= bytes;
        }
    }

    fn refusal(&self, state: &State, what: &str, bytes: u64) -> Error {
        let limit = self.0.limit_bytes;
        let needed = state.used_bytes.saturating_add(bytes);
        let words = format_args!(
            "{what} needs {}, but {} of the memory limit of {} are left{}; raise the limit to {needed} bytes or more",
            Size(bytes),
            Size(limit - state.used_bytes),
            Size(limit),
            Held(&state.parts)
        );
        Error::new(Status::OutOfMemory, words).with_needed_bytes(needed)
    }

    /// The lock is held for arithmetic only, which a panic cannot leave half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, what: &'static str, bytes: u64) -> Result<()> {
        let known = self.parts.iter().position(|part| part.what == what);
        if known.is_none() {
            try_reserve(&mut self.parts, 1)?;
            self.parts.push(PartBytes { what, used_bytes: 0, peak_bytes: 0 });
        }
        let place = known.unwrap_or(self.parts.len() - 1);
        let part = &mut self.parts[place];
        part.used_bytes += bytes;
        part.peak_bytes = part.peak_bytes.max(part.used_bytes);
        self.used_bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
        Ok(())
    }
}

impl Share {
    /// Size of the share.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the share `bytes` large, or as large as there is room for.
    ///
    /// # Errors
    /// None that could be: what is asked for is never more than is left.
    pub fn resize_up_to(&mut self, bytes: u64) -> Result<()> {
        if bytes <= self.bytes {
            return self.resize(bytes);
        }
        let mut more = self.budget.reserve_up_to(self.what, 0, bytes - self.bytes)?;
        self.bytes += std::mem::take(&mut more.bytes);
        Ok(())
    }

    /// Makes the share larger or smaller.
    ///
    /// # Errors
    /// `OutOfMemory` if the budget has too little left to grow; the share stays as it was.
    pub fn resize(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.bytes {
            self.budget.take(self.what, bytes - self.bytes)?;
        } else {
            self.budget.give_back(self.what, self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.what, self.bytes);
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let limit = Size(self.0.limit_bytes);
        write!(f, "Budget({} of {limit}; {:?})", Size(state.used_bytes), state.parts)
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({}, {})", self.what, Size(self.bytes))
    }
}

/// The three parts that hold most, in brackets; nothing if none holds any.
struct Held<'a>(&'a [PartBytes]);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut named: [Option<&PartBytes>; 3] = [None; 3];
        for place in 0..named.len() {
            let is_named = |part: &PartBytes| named.iter().flatten().any(|other| other.what == part.what);
            let left = self.0.iter().rev().filter(|part| part.used_bytes > 0 && !is_named(part));
            let Some(most) = left.max_by_key(|part| part.used_bytes) else { break };
            let before = if place == 0 { " (most is held by " } else { ", " };
            write!(f, "{before}{} with {}", most.what, Size(most.used_bytes))?;
            named[place] = Some(most);
        }
        f.write_str(if named[0].is_some() { ")" } else { "" })
    }
}

/// Bytes as people read them.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ 0..1024 => write!(f, "{bytes} bytes"),
            bytes @ 1024..0x10_0000 => write!(f, "{:.1} KiB", bytes as f64 / 1024.0),
            bytes @ 0x10_0000..0x4000_0000 => write!(f, "{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
            bytes => write!(f, "{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_and_given_back() {
        let budget = Budget::new(1000).unwrap();
        let codes = budget.reserve("codes", 600).unwrap();
        let mut links = budget.reserve("links", 300).unwrap();
        assert_eq!((budget.used_bytes(), budget.left_bytes(), budget.peak_bytes()), (900, 100, 900));
        drop(codes);
        links.resize(1000).unwrap();
        links.resize(10).unwrap();
        let more = budget.reserve("codes", 5).unwrap();
        assert_eq!((budget.used_bytes(), budget.peak_bytes(), links.bytes()), (15, 1000, 10));
        let part = |what, used_bytes, peak_bytes| PartBytes { what, used_bytes, peak_bytes };
        assert_eq!(
            ["codes", "links"].map(|what| budget.part(what)),
            [part("codes", 5, 600), part("links", 10, 1000)]
        );
        drop((links, more));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_refusal_names_the_part_and_the_limit_that_would_do() {
        let budget = Budget::new(4 << 20).unwrap();
        let _codes = budget.reserve("codes", 3 << 20).unwrap();
        let error = budget.reserve("links", 2 << 20).unwrap_err();
        assert_eq!(error.status(), Status::OutOfMemory);
        assert_eq!(error.needed_bytes(), Some(5 << 20));
        assert_eq!(
            error.message(),
            "links needs 2.0 MiB, but 1.0 MiB of the memory limit of 4.0 MiB are left (most is held by \
             codes with 3.0 MiB); raise the limit to 5242880 bytes or more"
        );
        // What is said to be needed is enough, and no less is.
        for (limit, fits) in [(5 << 20, true), ((5 << 20) - 1, false)] {
            let budget = Budget::new(limit).unwrap();
            let _codes = budget.reserve("codes", 3 << 20).unwrap();
            assert_eq!(budget.reserve("links", 2 << 20).is_ok(), fits);
        }
    }

    #[test]
    fn a_share_that_cannot_grow_stays() {
        let budget = Budget::new(100).unwrap();
        let mut share = budget.reserve("cache", 60).unwrap();
        let other = budget.reserve("cursors", 10).unwrap();
        share.resize_up_to(1000).unwrap();
        assert_eq!((share.bytes(), budget.left_bytes()), (90, 0));
        share.resize_up_to(60).unwrap();
        drop(other);
        let error = share.resize(101).unwrap_err();
        assert_eq!((error.needed_bytes(), share.bytes(), budget.used_bytes()), (Some(101), 60, 60));
    }

    #[test]
    fn an_elastic_share_takes_what_is_left() {
        let budget = Budget::new(100).unwrap();
        let first = budget.reserve_up_to("cache", 10, 70).unwrap();
        let second = budget.reserve_up_to("cache", 10, 70).unwrap();
        assert_eq!((first.bytes(), second.bytes()), (70, 30));
        assert_eq!(budget.reserve_up_to("cache", 10, 70).unwrap_err().needed_bytes(), Some(110));
        assert_eq!(budget.reserve_up_to("cache", 0, 70).unwrap().bytes(), 0);
    }

    #[test]
    fn sums_that_overflow_are_refused() {
        let budget = Budget::new(u64::MAX).unwrap();
        let _most = budget.reserve("codes", u64::MAX - 1).unwrap();
        assert_eq!(budget.reserve("links", 2).unwrap_err().needed_bytes(), Some(u64::MAX));
        assert!(budget.reserve("links", u64::MAX).is_err());
        assert!(budget.reserve("links", 1).is_ok());
        assert!(format!("{budget:?}").contains("codes"));
    }

    #[test]
    fn threads_never_exceed_the_limit_together() {
        let budget = Budget::new(100).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        if let Ok(mut share) = budget.reserve("scratch", round % 60) {
                            let _ = share.resize(round % 45);
                            assert!(budget.used_bytes() <= 100);
                        }
                    }
                });
            }
        });
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.peak_bytes() <= 100);
    }
}
