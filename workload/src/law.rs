//! The figures of the two difficulties: what [`crate::gen`] draws from.
//!
//! Everything that was calibrated stands here and nowhere else. Shares are of the variance of a row about the
//! common mean. `docs/experiments.md` has the table these figures were fitted to and the command that checks it.

/// How hard the vectors are to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difficulty {
    /// As sentence embeddings: local intrinsic dimension 15 to 25.
    Typical,
    /// As term statistics of real passages, or bare words asked of sentences: about 30.
    Hard,
}

/// One level of the tree of clusters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// Children of a node.
    pub children: usize,
    /// Child j has a weight of (j + 2)^-zipf.
    pub zipf: f64,
    /// Share of the variance that the offsets from parent to child make.
    pub share: f64,
}

/// All figures of a difficulty.
#[derive(Clone, Debug)]
pub(crate) struct Law {
    /// Levels of the tree, top first; the rest of the variance is the row's own.
    pub levels: Vec<Level>,
    /// Effective dimension of the whole set, as a share of dim, and the least number of dimensions, which holds
    /// as long as it is below `share_max` of dim.
    pub spectrum_share: f64,
    pub spectrum_least: f64,
    pub spectrum_share_max: f64,
    /// Effective dimension of the rows about their cluster's centre: log-uniform in this range by cluster.
    pub local_dims: (f64, f64),
    /// Width of a cluster: log-uniform within this factor either way.
    pub cluster_width: f64,
    /// Distance of a row from its centre: log-uniform within this factor either way.
    pub row_width: f64,
    /// Length of the common mean, in units of the rows' deviation from it.
    pub mean: f64,
    /// Share of rows that copy an earlier one, and of those the share that are exact.
    pub copies: f64,
    pub twins: f64,
}

impl Law {
    pub fn of(difficulty: Difficulty) -> Self {
        match difficulty {
            Difficulty::Typical => Self {
                levels: vec![
                    Level { children: 256, zipf: 0.9, share: 0.20 },
                    Level { children: 32, zipf: 0.8, share: 0.15 },
                    Level { children: 32, zipf: 0.8, share: 0.10 },
                ],
                spectrum_share: 1.0 / 3.0,
                spectrum_least: 128.0,
                spectrum_share_max: 0.55,
                local_dims: (25.0, 120.0),
                cluster_width: 1.2,
                row_width: 1.25,
                mean: 0.4,
                copies: 0.04,
                twins: 0.25,
            },
            Difficulty::Hard => Self {
                levels: vec![
                    Level { children: 256, zipf: 0.9, share: 0.15 },
                    Level { children: 32, zipf: 0.8, share: 0.10 },
                    Level { children: 32, zipf: 0.8, share: 0.10 },
                ],
                spectrum_share: 2.0 / 3.0,
                spectrum_least: 256.0,
                spectrum_share_max: 0.67,
                local_dims: (50.0, 200.0),
                cluster_width: 1.2,
                row_width: 1.25,
                mean: 0.25,
                copies: 0.04,
                twins: 0.5,
            },
        }
    }
}
