//! The next rows, and the next: a search that goes on past k.
//!
//! Rows come in the order of distance and none comes twice. The cursor fetches ahead: when its buffer is empty it
//! searches for twice as many rows as it has given, and keeps those that were not given and are not closer than the
//! last one that was, so that all pages together cost about twice the last search. A row that an earlier, smaller
//! search missed and that is closer than the last one given is left out: order is kept.
//!
//! What a cursor holds from call to call, rows ahead and copies of the arguments, is reserved from the handle's
//! budget; working memory is lent by the handle for each search.

use std::sync::atomic::AtomicI32;

use crate::database::handle::{stop, Database, K_MAX};
use crate::index::filter;
use crate::memory::budget::Share;
use crate::memory::{try_reserve, try_with_capacity};
use crate::pool::cancel::Stop;
use crate::search::Plan;
use crate::topk::heap::Scored;
use crate::types::params::{Filter, SearchParams, NO_ID};
use crate::types::{Error, Result};

/// What cursors are called in the budget.
pub(super) const CURSORS: &str = "cursors";

/// Rows fetched at least.
const FETCH_MIN: usize = 32;

/// A search that can be continued. Holds its snapshot; belongs to one thread at a time.
pub struct Cursor {
    database: Database,
    query: Vec<f32>,
    params: SearchParams<'static>,
    filter: OwnedFilter,
    /// Rows that it admits, about.
    admitted: u64,
    /// Rows fetched and not yet given, farthest first.
    ahead: Vec<(f32, u64)>,
    ahead_share: Share,
    /// Of all but the rows ahead.
    _own_share: Share,
    given: usize,
    /// Distance of the last row given, and all ids given at that distance.
    last: f32,
    tied: Vec<u64>,
    ended: bool,
}

enum OwnedFilter {
    All,
    Bitmap(Vec<u64>, u64, bool),
    Ids(Vec<u64>, bool),
}

impl Database {
    /// Begins a search that can be continued. `params` are copied, the filter too; `cancel` is not kept.
    ///
    /// # Errors
    /// As [`Database::search`].
    pub fn cursor(&self, query: &[f32], params: &SearchParams<'_>) -> Result<Cursor> {
        self.check(1, params)?;
        self.check_query(query, 0)?;
        let values = match params.filter {
            Filter::All => 0,
            Filter::Bitmap { words: values, .. } | Filter::Ids { ids: values, .. } => size_of_val(values),
        };
        let own_bytes = (size_of::<Cursor>() + size_of_val(query) + values) as u64;
        let own_share = self.inner.budget.reserve(CURSORS, own_bytes)?;
        let filter = match params.filter {
            Filter::All => OwnedFilter::All,
            Filter::Bitmap { words, first_id, exclude } => {
                OwnedFilter::Bitmap(copied(words)?, first_id, exclude)
            }
            Filter::Ids { ids, exclude } => OwnedFilter::Ids(copied(ids)?, exclude),
        };
        Ok(Cursor {
            database: self.clone(),
            query: copied(query)?,
            params: SearchParams { filter: Filter::All, cancel: None, ..*params },
            filter,
            admitted: filter::admitted_about(&params.filter, self.rows()),
            ahead: Vec::new(),
            ahead_share: self.inner.budget.reserve(CURSORS, 0)?,
            _own_share: own_share,
            given: 0,
            last: f32::NEG_INFINITY,
            tied: Vec::new(),
            ended: false,
        })
    }
}

/// A copy of a caller's list, which may be larger than memory has room for.
fn copied<T: Copy>(values: &[T]) -> Result<Vec<T>> {
    let mut copy = try_with_capacity(values.len())?;
    copy.extend_from_slice(values);
    Ok(copy)
}

impl Cursor {
    /// Writes the next rows, at most `count`, and returns how many; 0 at the end. Slots behind get no id and infinity.
    /// Stops soon after `cancel` becomes nonzero.
    ///
    /// # Errors
    /// As [`Database::search`]; the cursor then stands where it stood.
    pub fn next(
        &mut self,
        count: usize,
        ids: &mut [u64],
        mut distances: Option<&mut [f32]>,
        cancel: Option<&AtomicI32>,
    ) -> Result<usize> {
        let room = ids.len().min(distances.as_ref().map_or(usize::MAX, |d| d.len()));
        if count == 0 || count > room {
            return Err(Error::invalid(format_args!(
                "count is {count}; it must be at least 1 and fit the buffers"
            )));
        }
        let stop = stop(&SearchParams { cancel, ..self.params });
        if let Some(token) = cancel {
            Stop::NEVER.with_token(token).check()?;
        }
        if self.ahead.len() < count && !self.ended {
            self.fetch(count, stop)?;
        }
        let mut written = 0;
        while written < count {
            let Some((distance, id)) = self.ahead.pop() else { break };
            ids[written] = id;
            if let Some(distances) = distances.as_deref_mut() {
                distances[written] = distance;
            }
            if distance != self.last {
                self.tied.clear();
            }
            self.last = distance;
            // There is room for all rows ahead.
            self.tied.push(id);
            written += 1;
        }
        self.given += written;
        ids[written..count].fill(NO_ID);
        if let Some(distances) = distances {
            distances[written..count].fill(f32::INFINITY);
        }
        Ok(written)
    }

    pub(super) fn fetch(&mut self, count: usize, stop: Stop<'_>) -> Result<()> {
        let inner = &*self.database.inner;
        inner.pool.check()?;
        let rows = usize::try_from(self.database.rows()).unwrap_or(usize::MAX).clamp(1, K_MAX);
        let params = SearchParams { filter: self.filter.borrowed(), ..self.params };
        let mut wanted = (self.given + count).max(FETCH_MIN).saturating_mul(2).min(rows);
        loop {
            let plan = Plan::with_admitted(&inner.snapshot, wanted, &params, self.admitted, stop);
            let call = self.database.call_of(wanted, plan, &params);
            let scratch = self.database.run_alone(&self.query, &call, 1)?;
            let found = scratch.queries[0].top.as_slice();
            let ahead = &found[found.partition_point(|hit| hit.distance < self.last)..];
            let row_bytes = size_of::<(f32, u64)>() + size_of::<u64>();
            // Those of before are there until these are.
            let bytes = ahead.len() * row_bytes + self.tied.len() * size_of::<u64>();
            let ahead_share = inner.budget.reserve(CURSORS, bytes as u64)?;
            let mut rows_ahead = try_with_capacity(ahead.len())?;
            try_reserve(&mut self.tied, ahead.len())?;
            self.tied.sort_unstable();
            let given =
                |hit: &&Scored<u64>| hit.distance == self.last && self.tied.binary_search(&hit.key).is_ok();
            rows_ahead
                .extend(ahead.iter().rev().filter(|hit| !given(hit)).map(|hit| (hit.distance, hit.key)));
            (self.ahead, self.ahead_share) = (rows_ahead, ahead_share);
            self.ended = found.len() < wanted || wanted == rows;
            if self.ended || self.ahead.len() >= count {
                return Ok(());
            }
            wanted = wanted.saturating_mul(2).min(rows);
        }
    }
}

impl OwnedFilter {
    fn borrowed(&self) -> Filter<'_> {
        match self {
            OwnedFilter::All => Filter::All,
            OwnedFilter::Bitmap(words, first_id, exclude) => {
                Filter::Bitmap { words, first_id: *first_id, exclude: *exclude }
            }
            OwnedFilter::Ids(ids, exclude) => Filter::Ids { ids, exclude: *exclude },
        }
    }
}
