//! Which rows a search may return, asked once a candidate.
//!
//! The caller's bitmap or list stays where it is; a row is asked for by its id when its code is already close
//! enough to matter, so that a filter costs what the candidates cost and not what the index holds.

use crate::index::ids::Ids;
use crate::memory::try_reserve;
use crate::types::params::Filter;
use crate::types::{Error, Result};

/// Checks that a list is strictly ascending, so that bisection can be trusted.
///
/// # Errors
/// `VDB_INVALID_ARGUMENT` with the place.
pub fn check(filter: &Filter<'_>) -> Result<()> {
    if let Filter::Ids { ids, .. } = filter {
        if let Some(at) = ids.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(Error::invalid(format_args!(
                "filter: ids must be ascending, each once; ids[{at}] = {} is followed by {}",
                ids[at],
                ids[at + 1]
            )));
        }
    }
    Ok(())
}

/// True if the row with this id may be returned.
#[inline]
pub fn admits(filter: &Filter<'_>, id: u64) -> bool {
    match filter {
        Filter::All => true,
        Filter::Bitmap { words, first_id, exclude } => {
            let bit = id.wrapping_sub(*first_id);
            let word = words.get(usize::try_from(bit / 64).unwrap_or(usize::MAX)).copied().unwrap_or(0);
            (id >= *first_id && word >> (bit % 64) & 1 == 1) != *exclude
        }
        Filter::Ids { ids, exclude } => ids.binary_search(&id).is_ok() != *exclude,
    }
}

/// How many of `rows` rows a filter admits, if every id that it names exists.
pub fn admitted_about(filter: &Filter<'_>, rows: u64) -> u64 {
    let (named, exclude) = match filter {
        Filter::All => return rows,
        Filter::Bitmap { words, exclude, .. } => {
            (words.iter().map(|word| u64::from(word.count_ones())).sum(), *exclude)
        }
        Filter::Ids { ids, exclude } => (ids.len() as u64, *exclude),
    };
    if exclude {
        rows.saturating_sub(named)
    } else {
        named.min(rows)
    }
}

/// The rows that a filter names as those that may be returned.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// By their ids, ascending.
    Ids(&'a [u64]),
    /// By the bits of `words`, of which the first is for the id `first_id`.
    Bitmap {
        /// The bits.
        words: &'a [u64],
        /// Id of the first bit.
        first_id: u64,
    },
}

/// What the filter names, unless it names the rows that may not be returned: then ids that do not exist leave more rows
/// than [`admitted_about`] says, else fewer.
pub fn named<'a>(filter: &Filter<'a>) -> Option<Named<'a>> {
    match *filter {
        Filter::Ids { ids, exclude: false } => Some(Named::Ids(ids)),
        Filter::Bitmap { words, first_id, exclude: false } => Some(Named::Bitmap { words, first_id }),
        _ => None,
    }
}

/// Lists the positions of the rows that are named, ascending. O(named ids * log rows).
///
/// # Errors
/// `OutOfMemory`.
pub fn positions(named: &Named<'_>, ids: &Ids, out: &mut Vec<u32>) -> Result<()> {
    out.clear();
    try_reserve(
        out,
        match named {
            Named::Ids(named) => named.len(),
            Named::Bitmap { words, .. } => words.iter().map(|word| word.count_ones() as usize).sum(),
        },
    )?;
    match named {
        Named::Ids(named) => out.extend(named.iter().filter_map(|id| ids.position(*id))),
        Named::Bitmap { words, first_id } => {
            for (index, word) in words.iter().enumerate() {
                let mut left = *word;
                while left != 0 {
                    let bit = index as u64 * 64 + u64::from(left.trailing_zeros());
                    left &= left - 1;
                    out.extend(first_id.checked_add(bit).and_then(|id| ids.position(id)));
                }
            }
        }
    }
    out.sort_unstable();
    Ok(())
}
