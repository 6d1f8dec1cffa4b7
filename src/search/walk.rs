//! From the rows that the leaves gave on to their neighbours, along links.
//!
//! In: a list of the rows with the smallest estimates so far. The closest that were not yet left are left along their
//! links, a few at a time; rows that were not met before are estimated, join the candidates, and the list if they are
//! close enough. It ends when every row within the list's limits was left. (Best-first search of a neighbourhood graph,
//! as in Malkov and Yashunin, 2016; here the leaves take the place of its entry points.) The list is kept in a total
//! order, so the walk does not depend on the order in which leaves were scanned.

use crate::index::links::{Links, LINKS_A_ROW, NO_LINK};
use crate::index::tree::Tree;
use crate::memory::try_hold;
use crate::pool::cancel::Stop;
use crate::search::list::{estimate, position, WalkList, LEFT_A_ROW};
use crate::search::met::MetRows;
use crate::search::scan::Scan;
use crate::search::scratch::{Asked, StageScratch};
use crate::topk::heap::Scored;
use crate::types::Result;

/// Rows left together: their links lead to codes that travel from memory at the same time.
const LEFT_TOGETHER: usize = 4;
/// Steps between two looks at deadline and cancel token.
const STEPS_A_LOOK: u64 = 64;

/// Walks from the rows that the list of the query was offered; `leaves` are those that were scanned. No way leads by
/// the row `hidden`. Returns how many rows were estimated.
///
/// # Errors
/// `VDB_TIMEOUT`, `VDB_CANCELLED`, `VDB_OUT_OF_MEMORY`.
pub fn walk(
    scan: &Scan<'_>,
    links: &Links,
    leaves: &[Scored<u32>],
    asked: &mut Asked<'_>,
    stage: &mut StageScratch,
    hidden: Option<u32>,
    stop: &Stop<'_>,
) -> Result<u64> {
    if asked.list.length() == 0 {
        return Ok(0);
    }
    let (mut met, mut fresh) = (std::mem::take(&mut stage.met), std::mem::take(&mut stage.positions));
    let mut start = || {
        asked.list.begin(asked.candidates.kth(), hidden);
        met.reset()?;
        meet_leaves(&scan.index.tree, leaves, &mut met)?;
        // What stands where no link is was met, too: each row has as many links.
        met.insert(NO_LINK)?;
        hidden.map_or(Ok(true), |hidden| met.insert(hidden))
    };
    let walked = start().and_then(|_| follow(scan, links, asked, stage, &mut met, &mut fresh, stop));
    // A search that was stopped leaves its buffers, too.
    (stage.met, stage.positions) = (met, fresh);
    walked
}

/// Leaves rows along their links, the closest first, until all within the limits of the list were left.
fn follow(
    scan: &Scan<'_>,
    links: &Links,
    asked: &mut Asked<'_>,
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
    ask_for_links(scan, links, asked.list, 0);
    let (mut at, mut waiting, mut estimated) = (0, 0, 0u64);
    let mut may_leave = (asked.list.length() * LEFT_A_ROW).next_multiple_of(LEFT_TOGETHER);
    for step in 0u64.. {
        if step.is_multiple_of(STEPS_A_LOOK) {
            stop.check()?;
        }
        met.reserve(MOST)?;
        let list = &mut *asked.list;
        let (mut leaving, mut count) = (0, 0);
        let limit = list.limit(asked.candidates.kth());
        while leaving < LEFT_TOGETHER.min(may_leave) && at < list.near.len() {
            if estimate(list.near[at]) > limit {
                break;
            }
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
            at = at.min(list.insert(estimate, position));
        };
        scan.rows(&arrived[..waiting], asked, stage, offer);
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
