//! Links between rows, from the leaves: near leaves, near rows, the few of them that no other stands before.
//!
//! In: the tree and the fine codes of all rows. For each cell the nearest others are found (`near`); each of its rows
//! is compared with the rows of those of their leaves that are nearest to it, and the closest become candidates. Of
//! these a row keeps those that are closer to it than to any kept before (the relative-neighbourhood rule of
//! Toussaint, 1980, as graphs since HNSW have it), then is offered the rows that chose it, and where the closest of all
//! those lead, and chooses again, a few times. A round reads the links of the one before, so the result depends on no
//! order and no thread. Only the few rows that recall is measured with are inserted one after the other, at the end.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::build::fine::{Expanded, FineCodes, FineRows};
use crate::build::near::{NearLeaves, NearWork};
use crate::build::reversed::{Reversed, PARTS};
use crate::build::Work;
use crate::index::links::{LINKS_A_ROW, NO_LINK};
use crate::index::segment::SegmentIndex;
use crate::memory::{try_collect, try_defaults, try_hold, try_vec, try_with_capacity, AlignedBytes};
use crate::search::met::MetRows;
use crate::topk::heap::{place, Scored};
use crate::types::Result;

/// Rows of the cells near a cell, whose leaves its rows choose from.
const ROWS_NEAR: usize = 120_000;
/// Rows that each row is compared with, those of the leaves nearest to it.
const ROWS_A_ROW: usize = 3_000;
/// Closest rows that may become links at first, and when a row chooses again and looks beyond.
const CANDIDATES: usize = 128;
/// See `CANDIDATES`.
const CANDIDATES_AGAIN: usize = 64;
/// A row with fewer links after the rule gets the closest others, up to so many.
const FILLED: usize = 20;
/// Rows near a row whose links are followed when it chooses again.
const SOURCES: usize = 24;
/// Choices after the first; all but the last look beyond.
const ROUNDS: usize = 3;
/// Most rows that chose a row that it is offered; of a hub, which more have chosen, some all over the index.
const REVERSE_MAX: usize = 256;
/// Rows among those closest to a row that may lie as near as its own code to it, copies above all: links to these alone
/// would lead nowhere else.
const COPIES: usize = 4;
/// Rows of a cell that choose together, from above.
const TOGETHER: usize = 512;
/// Rows of a leaf that they meet at a time: 64 KiB of integers at 1,024 dimensions.
const MET_TOGETHER: usize = 64;
/// Rows of those that are looked at one by one if any is close enough.
const OFFERED: usize = 16;
/// Ranks of leaves for rows that are formed together.
const RANKS_MAX: usize = 1 << 20;
/// Rows of one unit of work of a later choice.
const UNIT_ROWS: usize = 1_024;

/// Most candidates of a row that chooses again.
const AGAIN_MAX: usize = LINKS_A_ROW * (SOURCES + 1) + REVERSE_MAX;

/// Ranks that are formed together in a tree of so many leaves.
fn ranks_max(leaves: u64) -> usize {
    leaves.saturating_mul(TOGETHER as u64).min(RANKS_MAX as u64) as usize
}

/// What a thread works in. Lists have the room that they can come to need; those that depend on the tree grow.
struct Workspace {
    near: Vec<Range<u32>>,
    near_work: NearWork,
    ranks: Vec<f32>,
    /// Leaves as numbers that sort by rank.
    ranked: Vec<u64>,
    /// Leaf, and which row looks into it.
    choices: Vec<(u32, u32)>,
    members: Vec<Member>,
    rows: FineRows,
    looking: FineRows,
    met_rows: FineRows,
    products: Vec<i32>,
    distances: Vec<f32>,
    keys: Vec<u32>,
    candidates: Vec<Scored<u32>>,
    row: Expanded,
    chooser: Chooser,
    met: MetRows,
}

impl Workspace {
    fn new(near: &NearLeaves<'_>, padded: usize) -> Result<Self> {
        let mut members: Vec<Member> = try_defaults(TOGETHER)?;
        for member in &mut members {
            member.candidates = try_with_capacity(4 * CANDIDATES)?;
        }
        Ok(Workspace {
            near: Vec::new(),
            near_work: near.workspace(TOGETHER)?,
            ranks: try_vec(ranks_max(near.leaf_count() as u64), 0.0)?,
            ranked: Vec::new(),
            choices: Vec::new(),
            members,
            rows: FineRows::with_capacity(TOGETHER, padded)?,
            looking: FineRows::with_capacity(TOGETHER, padded)?,
            met_rows: FineRows::with_capacity(MET_TOGETHER, padded)?,
            products: try_vec(TOGETHER * MET_TOGETHER, 0)?,
            distances: try_vec(TOGETHER * MET_TOGETHER, 0.0)?,
            keys: try_with_capacity(AGAIN_MAX)?,
            candidates: try_with_capacity(AGAIN_MAX)?,
            row: Expanded::new(padded)?,
            chooser: Chooser::new(padded)?,
            met: MetRows::default(),
        })
    }
}

/// Makes the links of all rows, whose codes are differences from the rotated `middle`. Those `apart` (ascending) get
/// links, but no link leads to them, nor was one chosen or left out because of them, until they [`join`].
/// O(rows * max([`ROWS_A_ROW`], rows of a leaf) * dim).
///
/// # Errors
/// `VDB_OUT_OF_MEMORY`, `VDB_CANCELLED`, `VDB_TIMEOUT`.
pub fn links(
    work: &Work<'_>,
    index: &SegmentIndex,
    fine: &FineCodes,
    middle: &[f32],
    apart: &[u32],
) -> Result<AlignedBytes> {
    progress(work, 0, 0, 1)?;
    let rows = index.rows() as usize;
    let mut links = AlignedBytes::zeroed(rows * LINKS_A_ROW * 4)?;
    let padded = index.quantiser.shape.padded;
    let mut shift = try_vec(padded, 0.0)?;
    work.kernels.difference(middle, index.quantiser.mean(), &mut shift);
    let near = NearLeaves::new(work.kernels, index, &shift)?;
    let mut workspaces = try_with_capacity(work.threads)?;
    for _ in 0..work.threads {
        workspaces.push(Workspace::new(&near, padded)?);
    }
    choose(work, index, &near, fine, apart, links.as_mut_slice(), &mut workspaces)?;
    let mut next = AlignedBytes::zeroed(rows * LINKS_A_ROW * 4)?;
    for round in 1..=ROUNDS {
        choose_again(work, fine, apart, links.as_slice(), round, next.as_mut_slice(), &mut workspaces)?;
        std::mem::swap(&mut links, &mut next);
    }
    progress(work, ROUNDS, 1, 1)?;
    Ok(links)
}

/// Bytes a row that the rounds hold: the links so far and the next ones, by how many a row was chosen, and lists of a
/// part of the rows, which end within it: twice, where one list is as long as a part should be.
pub const ROUND_BYTES: usize = 2 * LINKS_A_ROW * 4 + 4 + 2 * (8 + LINKS_A_ROW * 4).div_ceil(PARTS);

/// The most bytes that a thread works in, for `rows` in all in so many leaves.
pub fn thread_bytes(padded: usize, rows: u64, leaves: u64) -> u64 {
    /// Lists of leaves, and what depends on nothing.
    const OTHERS: usize = 1 << 20;
    let scored = std::mem::size_of::<Scored<u32>>();
    let member = std::mem::size_of::<Member>() + 4 * CANDIDATES * scored;
    // Ranks, what they are formed from, and the leaves that rows look into, which are a few of those ranked.
    let lists = ranks_max(leaves) * (4 + 4 + 8) + TOGETHER * (member + MET_TOGETHER * 8);
    let integers = FineRows::bytes(2 * TOGETHER + MET_TOGETHER, padded) + 2 * padded;
    let again = AGAIN_MAX * (4 + scored + 4 * 4);
    (lists + integers + again + OTHERS) as u64 + MetRows::bytes_max(rows, AGAIN_MAX as u64, 0, 0)
}

/// Leads to the rows that were kept `apart`, one after the other: each of the rows that it has chosen chooses again,
/// with it among the candidates.
///
/// # Errors
/// `VDB_OUT_OF_MEMORY`, `VDB_CANCELLED`, `VDB_TIMEOUT`.
pub fn join(work: &Work<'_>, fine: &FineCodes, apart: &[u32], links: &mut AlignedBytes) -> Result<()> {
    let links = links.as_mut_slice::<u32>();
    let (mut row, mut chooser) = (Expanded::new(fine.padded())?, Chooser::new(fine.padded())?);
    let mut keys = try_with_capacity(LINKS_A_ROW + 1)?;
    let mut candidates = try_with_capacity(LINKS_A_ROW + 1)?;
    for position in apart {
        work.stop.check()?;
        let chosen: Vec<u32> = try_collect(of(links, *position))?;
        for near in chosen {
            fine.expand(work.kernels, near, &mut row);
            candidates.clear();
            keys.clear();
            keys.extend(of(links, near).chain([*position]));
            chooser.score(work, fine, &row, &keys, &mut candidates);
            sort(&mut candidates, LINKS_A_ROW + 1);
            chooser.choose(work, fine, &candidates, &mut links[near as usize * LINKS_A_ROW..][..LINKS_A_ROW]);
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

/// First choice: of the rows in leaves near a row, cell by cell.
fn choose(
    work: &Work<'_>,
    index: &SegmentIndex,
    near: &NearLeaves<'_>,
    fine: &FineCodes,
    apart: &[u32],
    links: &mut [u32],
    workspaces: &mut [Workspace],
) -> Result<()> {
    let nodes = index.tree.nodes();
    let mut left = links;
    let mut units = try_with_capacity(near.cells().len())?;
    for cell in near.cells() {
        let rows = nodes[cell as usize].row_count as usize;
        let (here, rest) = std::mem::take(&mut left).split_at_mut(rows * LINKS_A_ROW);
        units.push((cell, Mutex::new(here)));
        left = rest;
    }
    work.pool.try_for_each_with(units.len(), workspaces, |workspace, nth| {
        progress(work, 0, nth, units.len())?;
        let (cell, out) = &units[nth];
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        near.of_cell(*cell, ROWS_NEAR, &mut workspace.near_work, &mut workspace.near)?;
        let leaves: usize = workspace.near.iter().map(|run| run.len()).sum();
        let together = (RANKS_MAX / leaves).clamp(1, TOGETHER);
        let mut first = nodes[*cell as usize].first_row;
        for out in out.chunks_mut(together * LINKS_A_ROW) {
            let end = first + (out.len() / LINKS_A_ROW) as u32;
            look(work, index, near, fine, apart, first..end, leaves, workspace)?;
            let Workspace { members, chooser, .. } = workspace;
            for (member, slot) in members.iter().zip(out.chunks_exact_mut(LINKS_A_ROW)) {
                chooser.choose(work, fine, &member.candidates, slot);
            }
            first = end;
        }
        Ok(())
    })
}

/// Finds the candidates of some rows of a cell, sorted: each row meets those of the leaves nearest to it.
fn look(
    work: &Work<'_>,
    index: &SegmentIndex,
    near: &NearLeaves<'_>,
    fine: &FineCodes,
    apart: &[u32],
    positions: Range<u32>,
    leaves: usize,
    workspace: &mut Workspace,
) -> Result<()> {
    let Workspace { choices, members, rows, looking, met_rows, products, distances, .. } = workspace;
    fine.expand_rows(work.kernels, positions.clone(), rows);
    for (nth, member) in members[..rows.count()].iter_mut().enumerate() {
        member.begin(positions.start + nth as u32, rows.own_distance(work.kernels, nth));
    }
    let (runs, ranked) = (&workspace.near, &mut workspace.ranked);
    choose_leaves(
        index,
        near,
        rows,
        runs,
        leaves,
        &mut workspace.near_work,
        &mut workspace.ranks,
        ranked,
        choices,
    )?;
    for choices in choices.chunk_by(|a, b| a.0 == b.0) {
        work.stop.check()?;
        let leaf = &index.tree.nodes()[choices[0].0 as usize];
        looking.clear();
        choices.iter().for_each(|(_, nth)| looking.push(rows, *nth as usize));
        let end = leaf.first_row + leaf.row_count;
        for first in (leaf.first_row..end).step_by(MET_TOGETHER) {
            let met = first..end.min(first + MET_TOGETHER as u32);
            let count = met.len();
            fine.expand_rows(work.kernels, met.clone(), met_rows);
            let before = |position: u32| apart.partition_point(|row| *row < position);
            apart[before(met.start)..before(met.end)]
                .iter()
                .for_each(|row| met_rows.hide((row - first) as usize));
            let products = &mut products[..looking.count() * count];
            let distances = &mut distances[..looking.count() * count];
            looking.distances_to(work.kernels, met_rows, products, distances);
            for ((_, nth), distances) in choices.iter().zip(distances.chunks_exact(count)) {
                members[*nth as usize].offer(first, distances);
            }
        }
    }
    for member in &mut members[..rows.count()] {
        sort(&mut member.candidates, CANDIDATES);
    }
    Ok(())
}

/// Fills `choices` with pairs of a leaf and a row that looks into it, by leaf: the integers of a leaf are made once for
/// all those rows, and stay in cache. `runs` are the `leaves` among which each row has its nearest.
fn choose_leaves(
    index: &SegmentIndex,
    near: &NearLeaves<'_>,
    rows: &FineRows,
    runs: &[Range<u32>],
    leaves: usize,
    near_work: &mut NearWork,
    ranks: &mut [f32],
    ranked: &mut Vec<u64>,
    choices: &mut Vec<(u32, u32)>,
) -> Result<()> {
    let ranks = &mut ranks[..rows.count() * leaves];
    near.rank(rows, runs, near_work, ranks);
    let numbers = || runs.iter().flat_map(Range::clone);
    let held: usize = numbers().map(|leaf| index.tree.nodes()[leaf as usize].row_count as usize).sum();
    let looked = (ROWS_A_ROW * leaves).div_ceil(held).clamp(1, leaves);
    choices.clear();
    try_hold(choices, rows.count() * looked)?;
    try_hold(ranked, leaves)?;
    for (nth, ranks) in (0u32..).zip(ranks.chunks_exact(leaves)) {
        ranked.clear();
        ranked.extend(numbers().zip(ranks).map(|(leaf, at)| place(*at, leaf)));
        if looked < leaves {
            ranked.select_nth_unstable(looked);
        }
        choices.extend(ranked[..looked].iter().map(|leaf| (*leaf as u32, nth)));
    }
    choices.sort_unstable();
    Ok(())
}

/// One of the rows that choose.
#[derive(Default)]
struct Member {
    position: u32,
    /// Its distance to a row like it.
    own_distance: f32,
    /// Candidates that lie no farther.
    copies: usize,
    candidates: Vec<Scored<u32>>,
    threshold: f32,
}

impl Member {
    /// Begins with no candidates.
    fn begin(&mut self, position: u32, own_distance: f32) {
        (self.position, self.own_distance) = (position, own_distance);
        (self.copies, self.threshold) = (0, f32::INFINITY);
        self.candidates.clear();
    }

    /// Takes the rows from `first` on that are close enough.
    fn offer(&mut self, first: u32, distances: &[f32]) {
        // Few are: the nearest of some, which vector code finds, tells whether one of them is.
        for (first, distances) in (first..).step_by(OFFERED).zip(distances.chunks(OFFERED)) {
            let nearest =
                distances.iter().fold(f32::INFINITY, |least, d| if *d < least { *d } else { least });
            if nearest >= self.threshold {
                continue;
            }
            for (key, distance) in (first..).zip(distances) {
                if *distance < self.threshold {
                    self.take(key, *distance);
                }
            }
        }
    }

    fn take(&mut self, key: u32, distance: f32) {
        let copy = distance <= self.own_distance;
        if key == self.position || (copy && self.copies == COPIES) {
            return;
        }
        self.copies += usize::from(copy);
        self.candidates.push(Scored { distance, key });
        if self.candidates.len() == 4 * CANDIDATES {
            self.threshold = cut(&mut self.candidates, CANDIDATES);
        }
    }
}

/// Keeps the closest `count`, in no order; gives the distance of the farthest kept.
fn cut(candidates: &mut Vec<Scored<u32>>, count: usize) -> f32 {
    if candidates.len() <= count {
        return f32::INFINITY;
    }
    let (_, nth, _) = candidates.select_nth_unstable_by_key(count - 1, Scored::place);
    let farthest = nth.distance;
    candidates.truncate(count);
    farthest
}

/// Keeps the closest `count`, in order.
fn sort(candidates: &mut Vec<Scored<u32>>, count: usize) {
    cut(candidates, count);
    candidates.sort_unstable_by_key(Scored::place);
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
    let mut reversed = Reversed::new(links, apart)?;
    let rows = links.len() / LINKS_A_ROW;
    let mut left = out;
    while reversed.rows.end < rows {
        reversed.next_part(links, apart)?;
        let first = reversed.rows.start;
        let (part, rest) = left.split_at_mut(reversed.rows.len() * LINKS_A_ROW);
        left = rest;
        let units = try_collect(part.chunks_mut(UNIT_ROWS * LINKS_A_ROW).map(Mutex::new))?;
        let units: Vec<Mutex<&mut [u32]>> = units;
        work.pool.try_for_each_with(units.len(), workspaces, |workspace, nth| {
            progress(work, round, first + nth * UNIT_ROWS, rows)?;
            let mut out = units[nth].lock().unwrap_or_else(PoisonError::into_inner);
            let from = first + nth * UNIT_ROWS;
            choose_unit(work, fine, &reversed, links, round < ROUNDS, from, &mut out, workspace)
        })?;
    }
    Ok(())
}

/// The rows from `from` on choose again, and look `beyond` what they know.
fn choose_unit(
    work: &Work<'_>,
    fine: &FineCodes,
    reversed: &Reversed,
    links: &[u32],
    beyond: bool,
    from: usize,
    out: &mut [u32],
    workspace: &mut Workspace,
) -> Result<()> {
    let Workspace { keys, candidates, row, chooser, met, .. } = workspace;
    for (position, slot) in (from as u32..).zip(out.chunks_exact_mut(LINKS_A_ROW)) {
        let chose_it = reversed.of(position);
        fine.expand(work.kernels, position, row);
        met.reset()?;
        met.insert(position)?;
        candidates.clear();
        keys.clear();
        for key in of(links, position)
            .chain(chose_it.iter().copied().step_by(chose_it.len().div_ceil(REVERSE_MAX).max(1)))
        {
            if met.insert(key)? {
                keys.push(key);
            }
        }
        chooser.score(work, fine, row, keys, candidates);
        if beyond {
            cut(candidates, CANDIDATES_AGAIN);
            if candidates.len() > SOURCES {
                candidates.select_nth_unstable_by_key(SOURCES - 1, Scored::place);
            }
            keys.clear();
            let sources = &candidates[..candidates.len().min(SOURCES)];
            for source in sources {
                let links = &links[source.key as usize * LINKS_A_ROW..][..LINKS_A_ROW];
                work.kernels.prefetch_lines(bytemuck::cast_slice(links));
            }
            for source in sources {
                for key in of(links, source.key) {
                    if met.insert(key)? {
                        keys.push(key);
                    }
                }
            }
            chooser.score(work, fine, row, keys, candidates);
        }
        let count = if beyond { CANDIDATES_AGAIN } else { candidates.len() };
        sort(candidates, count);
        chooser.choose(work, fine, candidates, slot);
    }
    Ok(())
}

/// The links of a row.
fn of(links: &[u32], position: u32) -> impl Iterator<Item = u32> + '_ {
    links[position as usize * LINKS_A_ROW..][..LINKS_A_ROW]
        .iter()
        .copied()
        .take_while(|link| *link != NO_LINK)
}

/// Chooses links among at most [`AGAIN_MAX`] candidates.
struct Chooser {
    kept: Expanded,
    /// Candidates that no kept one stands before, and how far each is from the row.
    left: Vec<u32>,
    far: Vec<f32>,
    counted: Vec<i32>,
    apart: Vec<f32>,
}

impl Chooser {
    fn new(padded: usize) -> Result<Self> {
        Ok(Chooser {
            kept: Expanded::new(padded)?,
            left: try_with_capacity(AGAIN_MAX)?,
            far: try_with_capacity(AGAIN_MAX)?,
            counted: try_with_capacity(AGAIN_MAX)?,
            apart: try_with_capacity(AGAIN_MAX)?,
        })
    }

    /// Adds the rows of `keys` to the candidates of a row.
    fn score(
        &mut self,
        work: &Work<'_>,
        fine: &FineCodes,
        row: &Expanded,
        keys: &[u32],
        candidates: &mut Vec<Scored<u32>>,
    ) {
        fine.distances_to(work.kernels, row, keys, &mut self.counted, &mut self.apart);
        let scored = keys.iter().zip(&self.apart);
        candidates.extend(scored.map(|(key, distance)| Scored { distance: *distance, key: *key }));
    }

    /// Writes the links of a row whose `candidates` are sorted by distance: each kept one is closer to the row than to
    /// all that were kept before it.
    fn choose(&mut self, work: &Work<'_>, fine: &FineCodes, candidates: &[Scored<u32>], slot: &mut [u32]) {
        self.left.clear();
        self.left.extend(candidates.iter().map(|candidate| candidate.key));
        self.far.clear();
        self.far.extend(candidates.iter().map(|candidate| candidate.distance));
        slot.fill(NO_LINK);
        let mut kept = 0;
        // One kept row meets all that are left at once: their codes stream by, and the shadowed meet no other.
        while kept < slot.len() && !self.left.is_empty() {
            slot[kept] = self.left[0];
            fine.expand(work.kernels, slot[kept], &mut self.kept);
            kept += 1;
            fine.distances_to(work.kernels, &self.kept, &self.left[1..], &mut self.counted, &mut self.apart);
            let mut stay = 0;
            for nth in 1..self.left.len() {
                if self.apart[nth - 1] >= self.far[nth] {
                    (self.left[stay], self.far[stay]) = (self.left[nth], self.far[nth]);
                    stay += 1;
                }
            }
            self.left.truncate(stay);
            self.far.truncate(stay);
        }
        for candidate in candidates {
            if kept >= FILLED {
                break;
            }
            if !slot[..kept].contains(&candidate.key) {
                slot[kept] = candidate.key;
                kept += 1;
            }
        }
    }
}

const _: () = assert!(FILLED <= LINKS_A_ROW);
