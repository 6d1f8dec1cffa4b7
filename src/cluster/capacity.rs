//! Rows to leaves by rank, with a limit on the size of a leaf.
//!
//! In: the rank of every leaf for every row. Out: an owner for each row; no leaf above the limit. Among such
//! assignments the one with the least sum of ranks is wanted, a transport problem, and this is nearly it, by
//! an auction: a leaf with too many rows raises its price until as many rows as are too many would rather be
//! elsewhere, those with the least to lose first. Leaves take turns until none is too full. With prices the
//! borders between leaves stay planes, as without (a power diagram), only shifted; hence a limit costs little
//! distance, where moving rows to wherever there is room would scatter them.
//!
//! Prices outlive a call: the next round of k-means begins with half of them, and seldom needs many turns.
//!
//! Equal rows all leave at the same price, so an auction of many need not end; after a number of turns the
//! rest goes to the best leaf with room.
//!
//! Calls `memory`.

use crate::memory::{try_collect, try_push, try_vec, try_with_capacity};
use crate::types::Result;

/// Turns of the auction before room decides.
const TURNS_MAX: usize = 24;

/// Numbers compared side by side.
const LANES: usize = 8;

/// An assignment of rows to leaves in the making.
pub(crate) struct Capacity<'a> {
    /// Rank of each leaf for each row, rows x leaves; smaller is nearer.
    ranks: &'a [f32],
    /// What each leaf adds to its rank.
    prices: &'a mut [f32],
    /// The rows of each leaf.
    members: Vec<Vec<u32>>,
    /// Most rows of a leaf.
    limit: usize,
    /// Ranks and prices of one row.
    priced: Vec<f32>,
}

/// A row that could leave, and what it would lose.
struct Offer {
    loss: f32,
    row: u32,
    to: usize,
}

impl<'a> Capacity<'a> {
    /// Gives every row to its best leaf at the given prices, one a leaf, then enforces the limit.
    ///
    /// # Panics
    /// If the leaves cannot hold the rows.
    pub(crate) fn assign(ranks: &'a [f32], prices: &'a mut [f32], limit: usize) -> Result<Self> {
        let leaves = prices.len();
        let rows = ranks.len() / leaves;
        assert!(rows <= leaves * limit);
        let mut members = try_with_capacity(leaves)?;
        for _ in 0..leaves {
            members.push(try_with_capacity(limit + limit / 2)?);
        }
        let mut this = Capacity { ranks, prices, members, limit, priced: try_vec(leaves, 0.0)? };
        for row in 0..rows {
            this.price(row as u32);
            let (leaf, _) = least(&this.priced);
            try_push(&mut this.members[leaf], row as u32)?;
        }
        this.auction()?;
        this.place_rest()?;
        Ok(this)
    }

    /// Empties leaves of fewer than `floor` rows, smallest first, as far as the others have room: each row
    /// goes to its best leaf that has.
    pub(crate) fn merge_crumbs(&mut self, floor: usize) -> Result<()> {
        loop {
            let crumbs =
                (0..self.members.len()).filter(|&leaf| (1..floor).contains(&self.members[leaf].len()));
            let Some(crumb) = crumbs.min_by_key(|&leaf| self.members[leaf].len()) else { return Ok(()) };
            let others =
                self.members.iter().enumerate().filter(|(leaf, rows)| *leaf != crumb && !rows.is_empty());
            let room: usize = others.map(|(_, rows)| self.limit - rows.len()).sum();
            if room < self.members[crumb].len() {
                return Ok(());
            }
            for row in std::mem::take(&mut self.members[crumb]) {
                let leaf = self.best_with_room(row, crumb, true);
                try_push(&mut self.members[leaf], row)?;
            }
        }
    }

    /// The rows of each leaf, ascending.
    pub(crate) fn into_members(mut self) -> Vec<Vec<u32>> {
        self.members.iter_mut().for_each(|rows| rows.sort_unstable());
        self.members
    }

    /// Fills `priced` for a row.
    fn price(&mut self, row: u32) {
        let ranks = &self.ranks[row as usize * self.prices.len()..][..self.prices.len()];
        let priced = self.priced.iter_mut().zip(ranks.iter().zip(&*self.prices));
        priced.for_each(|(priced, (rank, price))| *priced = rank + price);
    }

    /// The best leaf for a row, other than `own`, that has room, and rows already if `settled`. Ranks that
    /// overflowed are as good as any.
    fn best_with_room(&mut self, row: u32, own: usize, settled: bool) -> usize {
        self.price(row);
        let mut best = None;
        for (leaf, rows) in self.members.iter().enumerate() {
            let open = leaf != own && rows.len() < self.limit && !(settled && rows.is_empty());
            if open && best.is_none_or(|best: usize| self.priced[leaf] < self.priced[best]) {
                best = Some(leaf);
            }
        }
        best.unwrap_or(own)
    }

    fn auction(&mut self) -> Result<()> {
        for _ in 0..TURNS_MAX {
            let full: Vec<usize> =
                try_collect((0..self.members.len()).filter(|&leaf| self.members[leaf].len() > self.limit))?;
            if full.is_empty() {
                break;
            }
            full.into_iter().try_for_each(|leaf| self.raise_price(leaf))?;
        }
        Ok(())
    }

    /// Lets the rows that lose least leave, and raises the price to the loss of the last of them.
    fn raise_price(&mut self, leaf: usize) -> Result<()> {
        let mut offers = self.offers(leaf)?;
        let excess = offers.len() - self.limit;
        if excess < offers.len() {
            offers.select_nth_unstable_by(excess - 1, Offer::order);
        }
        self.prices[leaf] += offers[excess - 1].loss.max(0.0);
        self.members[leaf].clear();
        for (index, offer) in offers.iter().enumerate() {
            let to = if index < excess { offer.to } else { leaf };
            try_push(&mut self.members[to], offer.row)?;
        }
        Ok(())
    }

    /// For each row of a leaf, the best other leaf.
    fn offers(&mut self, leaf: usize) -> Result<Vec<Offer>> {
        let rows = std::mem::take(&mut self.members[leaf]);
        let offers = rows.iter().map(|&row| {
            self.price(row);
            let own = self.priced[leaf];
            self.priced[leaf] = f32::INFINITY;
            let (to, best) = least(&self.priced);
            Offer { loss: best - own, row, to }
        });
        let offers = try_collect(offers)?;
        self.members[leaf] = rows;
        Ok(offers)
    }

    /// Moves what is still too much to the best leaf with room, rows that lose least first.
    fn place_rest(&mut self) -> Result<()> {
        for leaf in 0..self.members.len() {
            if self.members[leaf].len() <= self.limit {
                continue;
            }
            let mut offers = self.offers(leaf)?;
            offers.sort_unstable_by(Offer::order);
            let excess = offers.len() - self.limit;
            self.members[leaf].clear();
            self.members[leaf].extend(offers[excess..].iter().map(|offer| offer.row));
            for offer in &offers[..excess] {
                let to = self.best_with_room(offer.row, leaf, false);
                try_push(&mut self.members[to], offer.row)?;
            }
        }
        Ok(())
    }
}

impl Offer {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.loss.total_cmp(&other.loss).then(self.row.cmp(&other.row))
    }
}

/// The first index of the least value, and it.
fn least(values: &[f32]) -> (usize, f32) {
    let mut lanes = [f32::INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = if chunk[i] < lanes[i] { chunk[i] } else { lanes[i] };
        }
    }
    let least = lanes.iter().chain(rest).fold(f32::INFINITY, |a, &b| if b < a { b } else { a });
    (values.iter().position(|&value| value == least).unwrap_or(0), least)
}

#[cfg(test)]
mod tests {
    use super::super::seeding::shuffled;
    use super::*;
    use crate::types::rng::SplitMix64;

    fn assign(ranks: &[f32], leaves: usize, limit: usize) -> Vec<Vec<u32>> {
        let members = Capacity::assign(ranks, &mut vec![0.0; leaves], limit).unwrap().into_members();
        let mut all = members.concat();
        all.sort_unstable();
        assert_eq!(all, (0..(ranks.len() / leaves) as u32).collect::<Vec<_>>());
        assert!(members.iter().all(|rows| rows.len() <= limit));
        members
    }

    fn cost(ranks: &[f32], leaves: usize, members: &[Vec<u32>]) -> f32 {
        let each = members.iter().enumerate();
        each.map(|(leaf, rows)| rows.iter().map(|&row| ranks[row as usize * leaves + leaf]).sum::<f32>())
            .sum()
    }

    #[test]
    fn limits_hold_and_the_sum_is_near_the_least() {
        for seed in 0..30 {
            let mut random = SplitMix64::new(seed);
            let (rows, leaves) = (40 + random.below(60) as usize, 2 + random.below(12) as usize);
            // The first leaves are dear to everybody.
            let rank = |i: usize, random: &mut SplitMix64| random.next_f32() + (i % leaves) as f32 * 0.1;
            let ranks: Vec<f32> = (0..rows * leaves).map(|i| rank(i, &mut random)).collect();
            let limit = rows.div_ceil(leaves) + random.below(4) as usize;
            let members = assign(&ranks, leaves, limit);
            let best = least_cost(&ranks, leaves, limit);
            let got = cost(&ranks, leaves, &members);
            assert!(got <= best * 1.1, "{got} against {best}: {rows} rows, {leaves} leaves of {limit}");
        }
    }

    /// The least sum of ranks, by swaps and moves until none helps, from many starts.
    fn least_cost(ranks: &[f32], leaves: usize, limit: usize) -> f32 {
        let rows = ranks.len() / leaves;
        let rank = |row: usize, leaf: usize| ranks[row * leaves + leaf];
        let mut best = f32::INFINITY;
        for seed in 0..10 {
            let mut owners: Vec<usize> = (0..rows).map(|row| row % leaves).collect();
            let order = shuffled(rows, &mut SplitMix64::new(seed)).unwrap();
            let mut improved = true;
            while improved {
                improved = false;
                for &row in &order {
                    let row = row as usize;
                    for leaf in 0..leaves {
                        let room = owners.iter().filter(|&&owner| owner == leaf).count() < limit;
                        let gain = rank(row, owners[row]) - rank(row, leaf);
                        if room && gain > 1e-6 {
                            owners[row] = leaf;
                            improved = true;
                        }
                    }
                    for other in 0..rows {
                        let (a, b) = (owners[row], owners[other]);
                        if rank(row, a) + rank(other, b) - rank(row, b) - rank(other, a) > 1e-6 {
                            owners.swap(row, other);
                            improved = true;
                        }
                    }
                }
            }
            best = best.min((0..rows).map(|row| rank(row, owners[row])).sum());
        }
        best
    }

    #[test]
    fn rows_that_cannot_be_told_apart_fill_leaves_in_turn() {
        let ranks = [1.0, 2.0, 3.0, 4.0].repeat(37);
        let members = assign(&ranks, 4, 10);
        assert_eq!(members.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 10, 7]);
        assign(&vec![f32::INFINITY; 60], 6, 2);
        assign(&vec![f32::NAN; 60], 6, 2);
    }

    #[test]
    fn crumbs_move_where_there_is_room() {
        // Leaf 0 is best for row 0 alone, leaf 1 and 2 share the others.
        let mut ranks = Vec::new();
        for row in 0..13 {
            ranks.extend(if row == 0 { [0.0, 1.0, 2.0] } else { [9.0, (row % 2) as f32, 0.5] });
        }
        let mut prices = [0.0; 3];
        let mut capacity = Capacity::assign(&ranks, &mut prices, 7).unwrap();
        capacity.merge_crumbs(3).unwrap();
        let members = capacity.into_members();
        assert_eq!(members.iter().map(Vec::len).collect::<Vec<_>>(), [0, 7, 6]);
        assert!(members[1].contains(&0));
    }
}
