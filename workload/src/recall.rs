//! Exact neighbours, and how many of them an answer found.

/// The nearest rows of each query, nearest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Neighbours a query.
    pub k: usize,
    /// Row ids, k a query.
    pub ids: Vec<u64>,
    /// Their distances, k a query.
    pub distances: Vec<f64>,
}

impl Truth {
    /// Number of queries.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.ids.len() / self.k.max(1)
    }
}
