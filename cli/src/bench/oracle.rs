//! Exact neighbours of the queries, and how many of them were found.
//!
//! From a file, or from the index by its exact mode, which uses neither codes nor tree.

use std::path::Path;

use serde::Serialize;
use vdb::database::Database;
use vdb::types::params::SearchParams;
use workload::recall::Truth;
use workload::rows::Matrix;
use workload::vecs::read_truth;

use super::measure::Answers;
use crate::failure::Failure;
use crate::progress::Progress;

/// Queries between two words of progress.
const QUERIES_AT_ONCE: usize = 64;

/// Reads a truth file that must have at least `k` neighbours for at least the first `queries` queries.
pub fn read(path: &Path, queries: usize, k: usize) -> Result<Truth, Failure> {
    let truth = read_truth(path).map_err(|e| Failure::at(path, e))?;
    if truth.queries() < queries || truth.k < k {
        let has = format_args!("{} neighbours of {} queries", truth.k, truth.queries()).to_string();
        return Err(Failure::at(path, format_args!("holds {has}; {k} of {queries} are needed")));
    }
    Ok(truth)
}

/// Compares all rows with all queries.
pub fn find(database: &Database, queries: &Matrix, k: usize, progress: &Progress) -> Result<Truth, Failure> {
    let params = SearchParams { exact: true, no_cache: true, ..SearchParams::default() };
    let dim = database.dim();
    let (mut ids, mut distances) = (vec![0; queries.len() * k], vec![0.0; queries.len() * k]);
    let room = ids.chunks_mut(QUERIES_AT_ONCE * k).zip(distances.chunks_mut(QUERIES_AT_ONCE * k));
    for (i, (part, (ids, distances))) in queries.values().chunks(QUERIES_AT_ONCE * dim).zip(room).enumerate()
    {
        progress.show("truth", (i * QUERIES_AT_ONCE) as u64, queries.len() as u64);
        database.batch_search(part, dim, k, &params, ids, Some(distances), None)?;
    }
    Ok(Truth { k, ids, distances: distances.into_iter().map(f64::from).collect() })
}

/// How much of the truth was found: the mean is what a recall promises, queries differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Found {
    /// recall@k, the mean over the queries.
    pub recall: f64,
    /// The share of queries of which less than [`POOR`] was found.
    pub recall_poor_share: f64,
    /// The least of a query.
    pub recall_worst: f64,
}

/// A query is poorly answered if it found less of its k nearest than this.
pub const POOR: f64 = 0.8;

/// What the answers found. A row counts if the truth lists it, or if it is as near as the k-th that the truth lists:
/// rows at equal distance are equally right, whichever of them the truth has room for.
pub fn recall(truth: &Truth, k: usize, answers: &Answers) -> Found {
    let queries = answers.ids.len() / k;
    let hits = |query: usize| {
        let range = query * k..(query + 1) * k;
        let (ids, distances) = (&answers.ids[range.clone()], &answers.distances[range]);
        let distances: Vec<f64> = distances.iter().map(|d| f64::from(*d)).collect();
        truth.hits(query, k, ids).max(truth.hits_by_distance(query, k, ids, &distances))
    };
    let hits: Vec<usize> = (0..queries).map(hits).collect();
    let poor = hits.iter().filter(|hits| (**hits as f64) < POOR * k as f64).count();
    Found {
        recall: hits.iter().sum::<usize>() as f64 / (queries * k) as f64,
        recall_poor_share: poor as f64 / queries as f64,
        recall_worst: hits.iter().min().map_or(1.0, |least| *least as f64 / k as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_as_near_as_the_last_one_are_right_too() {
        let truth = Truth { k: 2, ids: vec![1, 2, 3, 4], distances: vec![0.0, 0.5, 0.25, 1.0] };
        let answers =
            |ids: [u64; 4], distances: [f32; 4]| Answers { ids: ids.into(), distances: distances.into() };
        let all = Found { recall: 1.0, recall_poor_share: 0.0, recall_worst: 1.0 };
        assert_eq!(recall(&truth, 2, &answers([1, 2, 3, 4], [0.0, 0.5, 0.25, 1.0])), all);
        let most = Found { recall: 0.75, recall_poor_share: 0.5, recall_worst: 0.5 };
        assert_eq!(recall(&truth, 2, &answers([1, 9, 3, 8], [0.0, 0.5, 0.25, 1.5])), most);
        // Listed, though its distance was rounded otherwise there.
        assert_eq!(recall(&truth, 2, &answers([1, 2, 3, 4], [0.0, 0.51, 0.25, 1.01])), all);
        let nothing = answers([u64::MAX; 4], [f32::INFINITY; 4]);
        let none = Found { recall: 0.0, recall_poor_share: 1.0, recall_worst: 0.0 };
        assert_eq!(recall(&truth, 2, &nothing), none);
    }
}
