//! From the rows that the leaves gave on to their neighbours, along links.
//!
//! In: a list of the rows with the smallest estimates so far. The closest that were not yet left are left along their
//! links, a few at a time; rows that were not met before are estimated, join the candidates, and the list if they are
//! close enough. It ends when every row of the list was left. (Best-first search of a neighbourhood graph, as in Malkov
//! and Yashunin, 2016; here the leaves take the place of its entry points.) The list is kept in a total order, so the
//! walk does not depend on the order in which leaves were scanned.

use crate::index::links::{Links, LINKS_A_ROW, NO_LINK};
use crate::index::tree::Tree;
use crate::memory::{try_hold, try_with_capacity};
use crate::pool::cancel::Stop;
use crate::quantize::query::PreparedQuery;
use crate::search::candidates::Candidates;
use crate::search::met::MetRows;
use crate::search::scan::Scan;
use crate::search::scratch::StageScratch;
use crate::topk::heap::{of_rank, rank, Scored};
use crate::types::Result;

/// Rows left together: their links lead to codes that travel from memory at the same time.
const LEFT_TOGETHER: usize = 4;
/// A walk leaves at most so many rows for each that its list holds: about two are usual, and links of a damaged file
/// must not lead through all rows.
const LEFT_A_ROW: usize = 16;
/// Steps between two looks at deadline and cancel token.
const STEPS_A_LOOK: u64 = 64;

/// A row as a number that sorts by estimate, then position.
#[inline]
fn near(estimate: f32, position: u32) -> u64 {
    u64::from(rank(estimate)) << 32 | u64::from(position)
}

#[inline]
fn position(near: u64) -> u32 {
    near as u32
}

#[inline]
fn estimate(near: u64) -> f32 {
    of_rank((near >> 32) as u32)
}

/// The list of one query.
#[derive(Debug, Default)]
pub struct WalkList {
    near: Vec<u64>,
    /// Which of them were left; as long as `near` once the walk has begun.
    left: Vec<bool>,
    length: usize,
    /// A row with a greater estimate does not join.
    threshold: f32,
}

impl WalkList {
    /// Forgets everything; the next walk holds `length` rows, 0: there is none.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn reset(&mut self, length: usize) -> Result<()> {
        self.near.clear();
        self.left.clear();
        self.length = length;
        self.threshold = if length == 0 { f32::NEG_INFINITY } else { f32::INFINITY };
        if self.near.capacity() < 2 * length {
            (self.near, self.left) = (Vec::new(), Vec::new());
            self.near = try_with_capacity(2 * length)?;
            self.left = try_with_capacity(length)?;
        }
        Ok(())
    }

    /// The most bytes of a list of `length` rows.
    pub fn bytes_max(length: usize) -> u64 {
        (2 * length * std::mem::size_of::<u64>() + length) as u64
    }

    /// The most rows that a walk with a list of `length` meets.
    pub fn met_max(length: usize) -> u64 {
        ((length + 1) * LEFT_A_ROW * LINKS_A_ROW) as u64
    }

    /// Rows that it holds.
    pub fn length(&self) -> usize {
        self.length
    }

    /// A row with a greater estimate does not join.
    #[inline]
    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Offers a row from a scan.
    #[inline]
    pub fn offer(&mut self, position: u32, estimate: f32) {
        if estimate <= self.threshold && self.length > 0 {
            self.push(near(estimate, position));
        }
    }

    #[inline]
    fn push(&mut self, near: u64) {
        self.near.push(near);
        if self.near.len() == 2 * self.length {
            self.cut();
        }
    }

    /// Takes over what another thread was offered.
    pub fn merge(&mut self, other: &Self) {
        for near in &other.near {
            self.push(*near);
        }
    }

    /// Bytes of the lists.
    pub fn memory_bytes(&self) -> usize {
        self.near.capacity() * std::mem::size_of::<u64>() + self.left.capacity()
    }

    fn cut(&mut self) {
        if self.near.len() > self.length {
            let (_, nth, _) = self.near.select_nth_unstable(self.length - 1);
            self.threshold = estimate(*nth);
            self.near.truncate(self.length);
        }
    }

    /// In order, for a walk that does not come by the row `hidden`.
    fn begin(&mut self, hidden: Option<u32>) {
        self.cut();
        self.near.sort_unstable();
        if let Some(hidden) = hidden {
            self.near.retain(|near| position(*near) != hidden);
        }
        self.left.resize(self.near.len(), false);
    }

    /// Puts a row in its place; that place, or the length of the list if it is too far.
    #[inline]
    fn insert(&mut self, estimated: f32, position: u32) -> usize {
        let new = near(estimated, position);
        let at = self.near.partition_point(|near| *near < new);
        if at < self.length {
            self.near.truncate(self.length - 1);
            self.left.truncate(self.length - 1);
            self.near.insert(at, new);
            self.left.insert(at, false);
            if self.near.len() == self.length {
                self.threshold = estimate(self.near[self.length - 1]);
            }
        }
        at
    }
}

/// Walks from the rows that `list` was offered; `leaves` are those that were scanned. No way leads by the row `hidden`.
/// Returns how many rows were estimated.
///
/// # Errors
/// `VDB_TIMEOUT`, `VDB_CANCELLED`, `VDB_OUT_OF_MEMORY`.
pub fn walk(
    scan: &Scan<'_>,
    links: &Links,
    leaves: &[Scored<u32>],
    prepared: &PreparedQuery,
    bases: &[f32],
    list: &mut WalkList,
    candidates: &mut Candidates,
    stage: &mut StageScratch,
    hidden: Option<u32>,
    stop: &Stop<'_>,
) -> Result<u64> {
    if list.length == 0 {
        return Ok(0);
    }
    let (mut met, mut fresh) = (std::mem::take(&mut stage.met), std::mem::take(&mut stage.positions));
    let mut start = || {
        list.begin(hidden);
        met.reset()?;
        meet_leaves(&scan.index.tree, leaves, &mut met)?;
        // What stands where no link is was met, too: each row has as many links.
        met.insert(NO_LINK)?;
        hidden.map_or(Ok(true), |hidden| met.insert(hidden))
    };
    let walked = start().and_then(|_| {
        follow(scan, links, prepared, bases, list, candidates, stage, &mut met, &mut fresh, stop)
    });
    // A search that was stopped leaves its buffers, too.
    (stage.met, stage.positions) = (met, fresh);
    walked
}

/// Leaves rows along their links, the closest first, until all of the list were left.
fn follow(
    scan: &Scan<'_>,
    links: &Links,
    prepared: &PreparedQuery,
    bases: &[f32],
    list: &mut WalkList,
    candidates: &mut Candidates,
    stage: &mut StageScratch,
    met: &mut MetRows,
    fresh: &mut Vec<u32>,
    stop: &Stop<'_>,
) -> Result<u64> {
    const MOST: usize = LEFT_TOGETHER * LINKS_A_ROW;
    fresh.clear();
    try_hold(fresh, 2 * MOST)?;
    fresh.resize(2 * MOST, 0);
    let (mut arriving, mut arrived) = fresh.split_at_mut(MOST);
    ask_for_links(scan, links, list, 0);
    let (mut at, mut waiting, mut estimated) = (0, 0, 0u64);
    let mut may_leave = (list.length * LEFT_A_ROW).next_multiple_of(LEFT_TOGETHER);
    for step in 0u64.. {
        if step.is_multiple_of(STEPS_A_LOOK) {
            stop.check()?;
        }
        met.reserve(MOST)?;
        let (mut leaving, mut count) = (0, 0);
        while leaving < LEFT_TOGETHER.min(may_leave) && at < list.near.len() {
            if !std::mem::replace(&mut list.left[at], true) {
                leaving += 1;
                for link in links.of(position(list.near[at])) {
                    arriving[count] = *link;
                    count += usize::from(met.add(*link));
                }
            }
            at += 1;
        }
        if leaving == 0 && waiting == 0 {
            break;
        }
        may_leave -= leaving;
        for position in &arriving[..count] {
            scan.prefetch_row(*position);
        }
        ask_for_links(scan, links, list, at);
        // While these travel, those of the step before have arrived.
        estimated += waiting as u64;
        let offer = |list: &mut WalkList, position, estimate| {
            if estimate <= list.threshold {
                at = at.min(list.insert(estimate, position));
            }
        };
        scan.rows(&arrived[..waiting], links, prepared, bases, candidates, list, stage, offer);
        (arriving, arrived, waiting) = (arrived, arriving, count);
    }
    Ok(estimated)
}

/// Asks for the links of the rows that are left next, unless something closer is found; the first is not before `at`.
fn ask_for_links(scan: &Scan<'_>, links: &Links, list: &WalkList, at: usize) {
    let ahead = list.left[at..].iter().zip(&list.near[at..]).filter(|(left, _)| !**left);
    for (_, next) in ahead.take(LEFT_TOGETHER) {
        scan.kernels.prefetch_lines(bytemuck::cast_slice(links.of(position(*next))));
    }
}

/// Takes note of all rows of the leaves.
fn meet_leaves(tree: &Tree, leaves: &[Scored<u32>], met: &mut MetRows) -> Result<()> {
    for leaf in leaves {
        let node = tree.leaf(leaf.key);
        met.insert_run(node.first_row, node.row_count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;

    #[test]
    fn numbers_sort_as_estimates_do() {
        let mut estimates = [0.0, -0.0, 1.5, -1.5, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40, f32::MAX];
        estimates.sort_by(f32::total_cmp);
        for pair in estimates.windows(2) {
            assert!(near(pair[0], u32::MAX - 1) < near(pair[1], 0), "{pair:?}");
        }
        for value in estimates {
            let number = near(value, 7);
            assert_eq!((estimate(number).to_bits(), position(number)), (value.to_bits(), 7));
        }
    }

    #[test]
    fn a_list_keeps_the_closest_in_any_order() {
        let mut random = SplitMix64::new(6);
        let mut offered: Vec<(f32, u32)> =
            (0..1_000).map(|position| (random.below(100) as f32, position)).collect();
        let mut expected = None;
        for _ in 0..4 {
            let (mut list, mut other) = (WalkList::default(), WalkList::default());
            list.reset(50).unwrap();
            other.reset(50).unwrap();
            for (estimate, position) in &offered[..400] {
                list.offer(*position, *estimate);
            }
            for (estimate, position) in &offered[400..700] {
                other.offer(*position, *estimate);
            }
            list.merge(&other);
            list.begin(None);
            for (estimate, position) in &offered[700..] {
                if *estimate <= list.threshold {
                    list.insert(*estimate, *position);
                }
            }
            let kept: Vec<(f32, u32)> =
                list.near.iter().map(|near| (estimate(*near), position(*near))).collect();
            assert!(kept.len() == 50 && kept.is_sorted_by(|a, b| a.0 < b.0 || (a.0 == b.0 && a.1 < b.1)));
            assert_eq!(expected.get_or_insert_with(|| kept.clone()), &kept);
            for i in (1..offered.len()).rev() {
                offered.swap(i, random.below(i as u64 + 1) as usize);
            }
        }
    }
}
