//! Links between rows, from the leaves: near leaves, near rows, the few of them that no other stands before.
//!
//! In: the tree and the fine codes of all rows. For each leaf the nearest others are found by a descent; each of its
//! rows is compared with the rows of the leaves that are nearest to it, and the closest become candidates. Of these a
//! row keeps those that are closer to it than to any kept before (the relative-neighbourhood rule of Toussaint, 1980,
//! as graphs since HNSW have it), then is offered the rows that chose it, and where the closest of all those lead, and
//! chooses again, a few times. A round reads the links of the one before, so the result depends on no order and no
//! thread. Only the few rows that recall is measured with are inserted one after the other, at the end.

use std::sync::{Mutex, PoisonError};

use crate::build::fine::{Expanded, FineCodes};
use crate::build::layout::FINE_BITS;
use crate::build::Work;
use crate::index::links::{LINKS_A_ROW, NO_LINK};
use crate::index::segment::SegmentIndex;
use crate::memory::{
    try_collect, try_defaults, try_extend, try_hold, try_push, try_vec, try_with_capacity, AlignedBytes,
    Budget,
};
use crate::search::descend::{descend, rank_centres, Route};
use crate::search::met::MetRows;
use crate::search::scratch::{Scratch, ScratchPool};
use crate::stats::SearchStats;
use crate::store::centroids::Centroids;
use crate::topk::heap::Scored;
use crate::types::Result;

/// Leaves near a leaf that its rows choose from.
const LEAVES_NEAR: u32 = 200;
/// Leaves whose rows each row is compared with.
const LEAVES_A_ROW: usize = 100;
/// Closest rows that may become links.
const CANDIDATES: usize = 40;
/// A row with fewer links after the rule gets the closest others, up to so many.
const FILLED: usize = 10;
/// Rows near a row whose links are followed when it chooses again.
const SOURCES: usize = 24;
/// Choices after the first; all but the last look beyond.
const ROUNDS: usize = 3;
/// Most rows that chose a row that it is offered; of a hub, which more have chosen, the first by position.
const REVERSE_MAX: usize = 256;
/// Leaves of one unit of work.
const UNIT_LEAVES: usize = 16;
/// Rows of one unit of work of a later choice.
const UNIT_ROWS: usize = 1_024;

/// What a thread works in.
#[derive(Default)]
struct Workspace {
    near: Vec<u32>,
    near_bytes: Vec<i8>,
    products: Vec<i32>,
    counted: Vec<i32>,
    distances: Vec<f32>,
    ranked: Vec<Scored<u32>>,
    members: Vec<Member>,
    choices: Vec<(u32, u32)>,
    candidates: Vec<Scored<u32>>,
    row: Expanded,
    chooser: Chooser,
    met: MetRows,
}

/// Makes the links of all rows. Those `apart` (ascending) get links, but none leads to them, nor were any chosen with
/// them in mind: to a search they are rows that the index does not have, until [`join`]. O(rows * rows of the leaves
/// looked into * dim).
///
/// # Errors
/// `VDB_OUT_OF_MEMORY`, `VDB_CANCELLED`, `VDB_TIMEOUT`; what reading the centroids gives.
pub fn links(
    work: &Work<'_>,
    index: &SegmentIndex,
    centroids: &Centroids,
    fine: &FineCodes,
    apart: &[u32],
) -> Result<AlignedBytes> {
    progress(work, 0, 0, 1)?;
    let rows = index.rows() as usize;
    let mut links = AlignedBytes::zeroed(rows * LINKS_A_ROW * 4)?;
    let mut workspaces: Vec<Workspace> = try_defaults(work.threads)?;
    choose(work, index, centroids, fine, apart, links.as_mut_slice(), &mut workspaces)?;
    let mut next = AlignedBytes::zeroed(rows * LINKS_A_ROW * 4)?;
    for round in 1..=ROUNDS {
        choose_again(work, fine, apart, links.as_slice(), round, next.as_mut_slice(), &mut workspaces)?;
        std::mem::swap(&mut links, &mut next);
    }
    progress(work, ROUNDS, 1, 1)?;
    Ok(links)
}

/// Bytes a row that the rounds hold: the links so far and the next ones, where the lists of those that chose a row end,
/// and those lists.
pub const ROUND_BYTES: usize = 2 * LINKS_A_ROW * 4 + 8 + LINKS_A_ROW * 4;

/// The most bytes that a thread works in, for leaves of at most `leaf_rows` rows and `rows` in all.
pub fn thread_bytes(leaf_rows: usize, padded: usize, rows: u64) -> u64 {
    /// A list that has grown is at most twice as long as it must be, and half of that was there while it moved.
    const GROWN: usize = 3;
    /// Lists and scratch that depend on nothing.
    const OTHERS: usize = 256 << 10;
    let scored = std::mem::size_of::<Scored<u32>>();
    let expanded = std::mem::size_of::<Expanded>() + 2 * padded;
    let member = GROWN * std::mem::size_of::<Member>() + expanded + 2 * 4 * CANDIDATES * scored;
    let of_leaf = leaf_rows * (member + GROWN * (LEAVES_A_ROW * 8 + 8));
    let near = LEAVES_NEAR as usize * GROWN * (padded + 4 + 4 + scored);
    let again = GROWN * scored * (LINKS_A_ROW * (SOURCES + 1) + REVERSE_MAX);
    let chooser = (LINKS_A_ROW + 1) * (expanded + 4) + GROWN * 4 * CANDIDATES;
    (of_leaf + near + again + chooser + OTHERS) as u64 + MetRows::bytes_max(rows)
}

/// Leads to the rows that were kept `apart`, one after the other: each of the rows that it has chosen chooses again,
/// with it among the candidates.
///
/// # Errors
/// `VDB_OUT_OF_MEMORY`, `VDB_CANCELLED`, `VDB_TIMEOUT`.
pub fn join(work: &Work<'_>, fine: &FineCodes, apart: &[u32], links: &mut AlignedBytes) -> Result<()> {
    let links = links.as_mut_slice::<u32>();
    let (mut row, mut chooser, mut candidates) = (Expanded::default(), Chooser::default(), Vec::new());
    for position in apart {
        work.stop.check()?;
        let chosen: Vec<u32> = try_collect(of(links, *position))?;
        for near in chosen {
            fine.expand(near, &mut row)?;
            candidates.clear();
            let keys = of(links, near).chain([*position]).map(|key| {
                let distance = fine.distance(work.kernels, &row, key);
                Scored { distance, key }
            });
            try_extend(&mut candidates, keys)?;
            candidates.sort_unstable_by(Scored::order);
            chooser.choose(
                work,
                fine,
                &candidates,
                &mut links[near as usize * LINKS_A_ROW..][..LINKS_A_ROW],
            )?;
        }
    }
    Ok(())
}

/// Tells how far the rounds have come; the first choice is round 0.
fn progress(work: &Work<'_>, round: usize, done: usize, of: usize) -> Result<()> {
    const A_ROUND: usize = 1_000;
    let done = round * A_ROUND + done * A_ROUND / of.max(1);
    work.progress("link", done as u64, ((1 + ROUNDS) * A_ROUND) as u64)
}

/// First choice: of the rows in leaves near a row.
fn choose(
    work: &Work<'_>,
    index: &SegmentIndex,
    centroids: &Centroids,
    fine: &FineCodes,
    apart: &[u32],
    links: &mut [u32],
    workspaces: &mut [Workspace],
) -> Result<()> {
    let tree = &index.tree;
    let leaves = tree.leaf_count() as usize;
    let mut left = links;
    let mut units = try_with_capacity(leaves.div_ceil(UNIT_LEAVES))?;
    for first in (0..leaves).step_by(UNIT_LEAVES) {
        let unit = first as u32..(first + UNIT_LEAVES).min(leaves) as u32;
        let rows: u32 = unit.clone().map(|leaf| tree.leaf(leaf).row_count).sum();
        let (here, rest) = std::mem::take(&mut left).split_at_mut(rows as usize * LINKS_A_ROW);
        units.push((unit, Mutex::new(here)));
        left = rest;
    }
    let scratches = ScratchPool::new(work.threads, u64::MAX, Budget::new(0)?)?;
    work.pool.try_for_each_with(units.len(), workspaces, |workspace, nth| {
        progress(work, 0, nth, units.len())?;
        let (unit, out) = &units[nth];
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots = out.chunks_exact_mut(LINKS_A_ROW);
        for leaf in unit.clone() {
            leaf_links(work, index, centroids, fine, apart, leaf, &scratches, &mut slots, workspace)?;
        }
        Ok(())
    })
}

/// The links of the rows of one leaf.
fn leaf_links<'a>(
    work: &Work<'_>,
    index: &SegmentIndex,
    centroids: &Centroids,
    fine: &FineCodes,
    apart: &[u32],
    leaf: u32,
    scratches: &ScratchPool,
    slots: &mut impl Iterator<Item = &'a mut [u32]>,
    workspace: &mut Workspace,
) -> Result<()> {
    let tree = &index.tree;
    let padded = index.quantiser.shape.padded;
    near_leaves(work, index, centroids, leaf, scratches, &mut workspace.near)?;
    let Workspace {
        near, near_bytes, products, counted, distances, ranked, members, choices, chooser, ..
    } = workspace;
    near_bytes.clear();
    for leaf in near.iter() {
        try_extend(near_bytes, tree.bytes_of(tree.leaf_node(*leaf), 1).iter().copied())?;
    }
    try_hold(products, near.len())?;
    products.resize(near.len(), 0);
    let node = tree.leaf(leaf);
    let rows = node.row_count as usize;
    if members.len() < rows {
        try_hold(members, rows)?;
        members.resize_with(rows, Member::default);
    }
    // Which rows look into which leaf: a leaf's codes stay in the first-level cache while they meet all of those.
    choices.clear();
    for (nth, member) in members[..rows].iter_mut().enumerate() {
        fine.expand(node.first_row + nth as u32, &mut member.row)?;
        member.candidates.clear();
        member.threshold = f32::INFINITY;
        work.kernels.dot_i8(&near_bytes[..near.len() * padded], &member.row.odd, products);
        ranked.clear();
        for (place, (near, product)) in near.iter().zip(products.iter()).enumerate() {
            let factors = &tree.factors()[tree.leaf_node(*near) as usize];
            let score = factors.rank_offset - factors.rank_scale * (member.row.step * *product as f32);
            try_push(ranked, Scored { distance: score, key: place as u32 })?;
        }
        let looked = LEAVES_A_ROW.min(ranked.len());
        if looked < ranked.len() {
            ranked.select_nth_unstable_by(looked, Scored::order);
        }
        try_extend(choices, ranked[..looked].iter().map(|near| (near.key, nth as u32)))?;
    }
    choices.sort_unstable();
    for (place, nth) in choices.iter() {
        let node = tree.leaf(near[*place as usize]);
        let rows = node.row_count as usize;
        try_hold(counted, rows)?;
        try_hold(distances, rows)?;
        counted.resize(rows.max(counted.len()), 0);
        distances.resize(rows.max(distances.len()), 0.0);
        let member = &mut members[*nth as usize];
        fine.distances(work.kernels, &member.row, node.first_row, &mut counted[..rows], distances);
        member.offer(node.first_row, &distances[..rows])?;
    }
    for (position, member) in (node.first_row..).zip(&mut members[..rows]) {
        cut(&mut member.candidates);
        member.candidates.retain(|near| near.key != position && apart.binary_search(&near.key).is_err());
        member.candidates.sort_unstable_by(Scored::order);
        if let Some(slot) = slots.next() {
            chooser.choose(work, fine, &member.candidates, slot)?;
        }
    }
    Ok(())
}

/// A row of the leaf at hand.
#[derive(Default)]
struct Member {
    row: Expanded,
    candidates: Vec<Scored<u32>>,
    threshold: f32,
}

impl Member {
    /// Takes the rows from `first` on that are close enough.
    fn offer(&mut self, first: u32, distances: &[f32]) -> Result<()> {
        for (key, distance) in (first..).zip(distances) {
            if *distance <= self.threshold {
                try_push(&mut self.candidates, Scored { distance: *distance, key })?;
                if self.candidates.len() == 4 * CANDIDATES {
                    self.threshold = cut(&mut self.candidates);
                }
            }
        }
        Ok(())
    }
}

/// Keeps the closest; gives the distance of the farthest kept.
fn cut(candidates: &mut Vec<Scored<u32>>) -> f32 {
    if candidates.len() <= CANDIDATES {
        return f32::INFINITY;
    }
    let (_, nth, _) = candidates.select_nth_unstable_by(CANDIDATES - 1, Scored::order);
    let farthest = nth.distance;
    candidates.truncate(CANDIDATES);
    farthest
}

/// Fills `near` with the leaves near a leaf, itself among them.
fn near_leaves(
    work: &Work<'_>,
    index: &SegmentIndex,
    centroids: &Centroids,
    leaf: u32,
    scratches: &ScratchPool,
    near: &mut Vec<u32>,
) -> Result<()> {
    let quantiser = &index.quantiser;
    let mut rotated = try_vec(quantiser.shape.padded, 0f32)?;
    centroids.read(index.tree.leaf_node(leaf), bytemuck::cast_slice_mut(&mut rotated))?;
    let mut scratch = scratches.take(0)?;
    scratch.reserve_queries(1)?;
    let Scratch { queries, stage, .. } = &mut *scratch;
    let query = &mut queries[0];
    query.prepared.reserve(quantiser.shape, quantiser.metric, 0)?;
    try_hold(&mut query.bases, index.tree.centres().len())?;
    query.prepared.prepare_rotated(work.kernels, quantiser.mean(), quantiser.shape, &rotated);
    rank_centres(work.kernels, index, query);
    let route = Route { probes: LEAVES_NEAR, spread_weight: 0.0 };
    descend(work.kernels, index, route, query, stage, &mut SearchStats::default())?;
    near.clear();
    try_extend(near, query.leaves.iter().map(|leaf| leaf.key))
}

/// Chooses again: of the links so far, the rows that chose a row, and, but for the last round, where the closest of
/// those lead.
fn choose_again(
    work: &Work<'_>,
    fine: &FineCodes,
    apart: &[u32],
    links: &[u32],
    round: usize,
    out: &mut [u32],
    workspaces: &mut [Workspace],
) -> Result<()> {
    let rows = links.len() / LINKS_A_ROW;
    let (ends, choosers) = reversed(links, rows, apart)?;
    let units: Vec<Mutex<&mut [u32]>> = try_collect(out.chunks_mut(UNIT_ROWS * LINKS_A_ROW).map(Mutex::new))?;
    work.pool.try_for_each_with(units.len(), workspaces, |workspace, nth| {
        progress(work, round, nth, units.len())?;
        let mut out = units[nth].lock().unwrap_or_else(PoisonError::into_inner);
        let Workspace { candidates, row, chooser, met, .. } = workspace;
        for (within, slot) in out.chunks_exact_mut(LINKS_A_ROW).enumerate() {
            let position = (nth * UNIT_ROWS + within) as u32;
            let start = position.checked_sub(1).map_or(0, |before| ends[before as usize]);
            let chose_it = &choosers[start as usize..ends[position as usize] as usize];
            fine.expand(position, row)?;
            met.reset()?;
            met.insert(position)?;
            candidates.clear();
            let mut offer =
                |keys: &mut dyn Iterator<Item = u32>, candidates: &mut Vec<Scored<u32>>| -> Result<()> {
                    let first = candidates.len();
                    for key in keys {
                        if met.insert(key)? {
                            fine.prefetch(work.kernels, key);
                            try_push(candidates, Scored { distance: 0.0, key })?;
                        }
                    }
                    for candidate in &mut candidates[first..] {
                        candidate.distance = fine.distance(work.kernels, row, candidate.key);
                    }
                    Ok(())
                };
            offer(&mut of(links, position).chain(chose_it.iter().copied().take(REVERSE_MAX)), candidates)?;
            candidates.sort_unstable_by(Scored::order);
            if round < ROUNDS {
                candidates.truncate(CANDIDATES);
                let sources = candidates.len().min(SOURCES);
                for nth in 0..sources {
                    let key = candidates[nth].key;
                    offer(&mut of(links, key), candidates)?;
                }
                cut(candidates);
                candidates.sort_unstable_by(Scored::order);
            }
            chooser.choose(work, fine, candidates, slot)?;
        }
        Ok(())
    })
}

/// The links of a row.
fn of(links: &[u32], position: u32) -> impl Iterator<Item = u32> + '_ {
    links[position as usize * LINKS_A_ROW..][..LINKS_A_ROW]
        .iter()
        .copied()
        .take_while(|link| *link != NO_LINK)
}

/// For each row where the list of those that chose it ends, and the lists one after the other, ascending. Rows that are
/// apart have chosen nobody.
fn reversed(links: &[u32], rows: usize, apart: &[u32]) -> Result<(Vec<u64>, Vec<u32>)> {
    let mut ends = try_vec(rows + 1, 0u64)?;
    let chosen = || {
        let rows = (0u32..).zip(links.chunks_exact(LINKS_A_ROW));
        let rows = rows.filter(|(position, _)| apart.binary_search(position).is_err());
        rows.flat_map(|(position, links)| {
            links.iter().take_while(|link| **link != NO_LINK).map(move |link| (position, *link))
        })
    };
    for (_, link) in chosen() {
        ends[link as usize + 1] += 1;
    }
    for row in 0..rows {
        ends[row + 1] += ends[row];
    }
    let mut choosers = try_vec(ends[rows] as usize, 0u32)?;
    for (position, link) in chosen() {
        let slot = &mut ends[link as usize];
        choosers[*slot as usize] = position;
        *slot += 1;
    }
    ends.truncate(rows);
    Ok((ends, choosers))
}

/// Chooses links among candidates.
#[derive(Default)]
struct Chooser {
    kept: Vec<Expanded>,
    keys: Vec<u32>,
    passed: Vec<u32>,
}

impl Chooser {
    /// Writes the links of a row whose `candidates` are sorted by distance: each kept one is closer to the row than to
    /// all that were kept before it.
    fn choose(
        &mut self,
        work: &Work<'_>,
        fine: &FineCodes,
        candidates: &[Scored<u32>],
        slot: &mut [u32],
    ) -> Result<()> {
        self.keys.clear();
        self.passed.clear();
        for candidate in candidates {
            if self.keys.len() == slot.len() {
                break;
            }
            let kept = &self.kept[..self.keys.len()];
            let shadowed =
                kept.iter().any(|k| fine.distance(work.kernels, k, candidate.key) < candidate.distance);
            if shadowed {
                try_push(&mut self.passed, candidate.key)?;
                continue;
            }
            if self.kept.len() == self.keys.len() {
                try_push(&mut self.kept, Expanded::default())?;
            }
            fine.expand(candidate.key, &mut self.kept[self.keys.len()])?;
            try_push(&mut self.keys, candidate.key)?;
        }
        let missing = FILLED.saturating_sub(self.keys.len());
        try_extend(&mut self.keys, self.passed.iter().copied().take(missing))?;
        slot.fill(NO_LINK);
        slot[..self.keys.len()].copy_from_slice(&self.keys);
        Ok(())
    }
}

const _: () = assert!(FILLED <= LINKS_A_ROW && FINE_BITS == 4);
