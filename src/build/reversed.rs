//! Who chose a row as a link: the links turned round, for a part of the rows at a time.
//!
//! In: the links of all rows. Out: of each row of the part those that lead to it. Parts are ranges of rows that follow
//! each other, of about as many choices each, so that the lists of one take little memory. Calls `index` for the form
//! of links.

use std::ops::Range;

use crate::index::links::{LINKS_A_ROW, NO_LINK};
use crate::memory::{try_hold, try_vec};
use crate::types::Result;

/// Parts that there are, about.
pub const PARTS: usize = 16;

/// Who chose the rows of one part.
pub struct Reversed {
    /// The part.
    pub rows: Range<usize>,
    /// By how many each row was chosen.
    chosen: Vec<u32>,
    choices_a_part: u64,
    /// Where the list of each row of the part ends.
    ends: Vec<u64>,
    /// The lists, one after the other, ascending.
    choosers: Vec<u32>,
}

impl Reversed {
    /// Before the first part. No row is counted as chosen by those `apart` (ascending).
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn new(links: &[u32], apart: &[u32]) -> Result<Self> {
        let mut chosen = try_vec(links.len() / LINKS_A_ROW, 0u32)?;
        each_choice(links, apart, |_, link| chosen[link as usize] += 1);
        let choices: u64 = chosen.iter().map(|count| u64::from(*count)).sum();
        let choices_a_part = choices.div_ceil(PARTS as u64);
        Ok(Reversed { rows: 0..0, chosen, choices_a_part, ends: Vec::new(), choosers: Vec::new() })
    }

    /// Goes on to the next rows, at least one. O(all links), on the calling thread.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn next_part(&mut self, links: &[u32], apart: &[u32]) -> Result<()> {
        let first = self.rows.end;
        let mut choices = 0;
        let fits = |count: &&u32| {
            let before = choices;
            choices += u64::from(**count);
            before == 0 || choices <= self.choices_a_part
        };
        let rows = first..first + self.chosen[first..].iter().take_while(fits).count();
        let mut end = 0;
        self.ends.clear();
        try_hold(&mut self.ends, rows.len())?;
        for count in &self.chosen[rows.clone()] {
            // Where it begins: it moves to its end as the list is filled.
            self.ends.push(end);
            end += u64::from(*count);
        }
        self.choosers.clear();
        try_hold(&mut self.choosers, end as usize)?;
        self.choosers.resize(end as usize, 0);
        let (ends, choosers) = (&mut self.ends, &mut self.choosers);
        each_choice(links, apart, |position, link| {
            if let Some(end) = (link as usize).checked_sub(rows.start).and_then(|nth| ends.get_mut(nth)) {
                choosers[*end as usize] = position;
                *end += 1;
            }
        });
        self.rows = rows;
        Ok(())
    }

    /// Those that chose a row of the part, ascending.
    pub fn of(&self, position: u32) -> &[u32] {
        let nth = position as usize - self.rows.start;
        let start = nth.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.choosers[start as usize..self.ends[nth] as usize]
    }
}

/// Calls `take` with each row that is not apart and each of its links, in order.
fn each_choice(links: &[u32], apart: &[u32], mut take: impl FnMut(u32, u32)) {
    let mut apart = apart.iter().peekable();
    for (position, links) in (0u32..).zip(links.chunks_exact(LINKS_A_ROW)) {
        if apart.next_if_eq(&&position).is_some() {
            continue;
        }
        links.iter().take_while(|link| **link != NO_LINK).for_each(|link| take(position, *link));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;

    #[test]
    fn each_row_has_those_that_lead_to_it_in_parts_of_even_size() {
        const ROWS: usize = 500;
        let mut random = SplitMix64::new(3);
        // Half of all links lead to the first rows, and none to the last hundred.
        let mut links = vec![NO_LINK; ROWS * LINKS_A_ROW];
        for row in links.chunks_exact_mut(LINKS_A_ROW) {
            let count = random.below(LINKS_A_ROW as u64 + 1) as usize;
            row[..count].fill_with(|| {
                let most = if random.below(2) == 0 { 10 } else { 400 };
                random.below(most) as u32
            });
        }
        let apart = [0, 7, 499];
        let mut expected = vec![Vec::new(); ROWS];
        for (row, links) in links.chunks_exact(LINKS_A_ROW).enumerate() {
            let there = links.iter().filter(|link| **link != NO_LINK && !apart.contains(&(row as u32)));
            there.for_each(|link| expected[*link as usize].push(row as u32));
        }
        let all: usize = expected.iter().map(Vec::len).sum();
        let longest = expected.iter().map(Vec::len).max().unwrap();
        let mut reversed = Reversed::new(&links, &apart).unwrap();
        let (mut met, mut parts) = (0, 0);
        while reversed.rows.end < ROWS {
            reversed.next_part(&links, &apart).unwrap();
            assert_eq!(reversed.rows.start, met);
            assert!(!reversed.rows.is_empty() && reversed.choosers.len() <= all.div_ceil(PARTS).max(longest));
            for row in reversed.rows.clone() {
                assert_eq!(reversed.of(row as u32), expected[row], "row {row}");
            }
            (met, parts) = (reversed.rows.end, parts + 1);
        }
        assert!((PARTS..=2 * PARTS).contains(&parts), "{parts} parts");
    }
}
