//! The figures of the two difficulties: what [`crate::gen`] draws from.
//!
//! Everything that was calibrated stands here and nowhere else. Shares are of the variance of a row about the
//! common mean. Held against sentence embeddings (MiniLM over glosses) and term statistics of passages (LSA):
//!
//! | set | LID median (p10-p90) | d_mean/d10 | d100/d10 | eff. dim | probes .90/.95/.99 of leaves | at 16/64/256 |
//! |---|---|---|---|---|---|---|
//! | MiniLM 20k x 384 | 21.6 (15-32) | 1.34 | 1.11 | 130 | 19/38/140 of 566 | .888/.971/.998 |
//! | typical 21k x 384 | 23.8 (16-35) | 1.31 | 1.10 | 136 | 12/27/141 of 580 | .925/.977/.996 |
//! | typical 30k x 1024 | 26.1 (17-37) | 1.29 | 1.09 | 240 | 9/14/77 of 693 | .959/.988/.997 |
//! | LSA 30k x 1024 | 16.8 (6-29) | 1.35 | 1.15 | 611 | 95/293/557 of 696 | .848/.887/.943 |
//! | hard 30k x 1024 | 27.6 (12-53) | 1.20 | 1.10 | 674 | 65/212/455 of 693 | .862/.899/.962 |
//! | LSA 100k x 1024 | 16.3 (6-28) | 1.47 | 1.15 | 614 | 8/111/725 of 1265 | .915/.942/.967 |
//! | hard 100k x 1024 | 21.1 (9-41) | 1.29 | 1.12 | 682 | 11/228/653 of 1265 | .906/.925/.953 |
//! | LSA 333k x 1024 | 16.2 (6-31) | 1.61 | 1.15 | 618 | 6/27/841 of 2309 | .943/.959/.975 |
//! | hard 333k x 1024 | 19.9 (10-33) | 1.37 | 1.12 | 681 | 3/10/743 of 2309 | .956/.964/.973 |
//! | LSA 1M x 1024 | 15.5 (6-32) | 1.75 | 1.15 | 614 | 6/15/641 of 4000 | .953/.974/.984 |
//! | hard 1M x 1024 | 20.9 (11-33) | 1.45 | 1.11 | 679 | 3/6/651 of 4000 | .975/.982/.985 |
//!
//! All columns, more sizes and the command are in `docs/experiments.md`.
//!
//! What each figure does, so that the next calibration need not find it out again:
//! - The tree alone gives low local dimensions and a partition that never fails: k-means finds its nodes whatever
//!   their distance, since offsets of many dimensions are orthogonal to all else. A second path makes it fail, in
//!   the long tail first (rows between two nodes have neighbours in both).
//! - The own part, a few dimensions in the subspace of the row's node, makes leaves of one node overlap: the body
//!   of the curve. Nodes of the third level, few of them, so that each is cut into several leaves. Half of it lies in a
//!   subspace of the topic: with none there, 16 means explain half of what they explain of real sets, and cells that
//!   are trained before leaves cut through everything.
//! - The common part, a few dimensions shared by all rows, smears the nodes into each other: the body again, in
//!   any number of dimensions alike. It costs contrast and effective dimension.
//! - Themes let density grow with rows, as that of text does: without them a mixture of paths finds no neighbours
//!   among a million rows either, and the share of leaves for 0.99 hardly falls (.81, .77, .66 at 30k, 100k, 333k;
//!   of text .80, .57, .36). The more themes, the slower it falls.
//! - Mixtures of a single path make any partition succeed; more even weights of paths make it fail, body and tail.
//! - Many nodes at the top, with a tail of rare ones, give a large diffuse leaf and the highest effective dimension.

use crate::rng::pow;

/// How hard the vectors are to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difficulty {
    /// As sentence embeddings: local intrinsic dimension about 20.
    Typical,
    /// As term statistics of real passages: 25 to 30 at 30,000 rows, about 20 from 100,000 on. A partition fails for
    /// one query in ten at 30,000, for one in fifty at a million.
    Hard,
}

/// All figures of a difficulty, for some number of dimensions.
#[derive(Clone, Debug)]
pub(crate) struct Law {
    /// Children of the root, of which the j-th has a weight of (j + 2)^-zipf.
    pub topics: usize,
    pub topic_zipf: f64,
    /// Children of any other node, weighted likewise.
    pub children: usize,
    pub child_zipf: f64,
    /// Share of the tree's part that the topic makes; each level below it has `fall` times that of the one above.
    pub topic_share: f64,
    pub fall: f64,
    /// Paths down the tree that a row is a mixture of: log-uniform in this range, both ends within.
    pub paths: (usize, usize),
    /// Weight of a path over that of the one before: uniform in this range.
    pub path_weight: (f64, f64),
    /// Mixtures that rows have in common, if any: numbers from the first to the second, each with a probability that
    /// is inverse to it. Those below a number that grows with the rows are met often enough to be clusters.
    pub themes: Option<(f64, f64)>,
    /// Share of the row's own part, in the subspace of its node; log-uniform within `own_spread` either way by row.
    pub own: f64,
    pub own_spread: f64,
    /// The level of that node, 0 for the topic; dimensions of its subspace, and their effective dimension:
    /// log-uniform by node.
    pub own_level: usize,
    pub own_rank: usize,
    pub own_dims: (f64, f64),
    /// Part of the own share that lies in a subspace of the topic instead.
    pub own_in_topic: f64,
    /// Share of the part in a subspace common to all rows, and the effective dimension of that.
    pub common: f64,
    pub common_dims: f64,
    /// Share of noise in all dimensions, about.
    pub noise: f64,
    /// Effective dimension of the spectrum of all but the common part, as a share of dim.
    pub spectrum: f64,
    /// Length of the common mean, in units of the rows' deviation from it.
    pub mean: f64,
    /// Share of rows and queries that copy an earlier row, and of those the share that are exact.
    pub copies: f64,
    pub twins: f64,
}

impl Law {
    pub fn of(difficulty: Difficulty, dim: usize) -> Self {
        let d = dim as f64;
        match difficulty {
            Difficulty::Typical => Self {
                topics: 16,
                topic_zipf: 0.7,
                children: 4,
                child_zipf: 0.2,
                topic_share: 0.3,
                fall: 0.8,
                paths: (2, 2),
                path_weight: (0.3, 0.6),
                themes: None,
                own: 0.7,
                own_spread: 1.15,
                own_level: 2,
                own_rank: 32,
                own_dims: (3.5, 5.0),
                own_in_topic: 0.5,
                // More room keeps nodes further apart, so that it takes more to smear them.
                common: (0.15 * pow(d / 384.0, 0.2)).min(0.25),
                common_dims: (d / 16.0).max(6.0),
                noise: 0.01,
                spectrum: 0.75,
                mean: 0.3,
                copies: 0.03,
                twins: 0.25,
            },
            Difficulty::Hard => Self {
                topics: 160,
                topic_zipf: 0.85,
                children: 4,
                child_zipf: 0.8,
                topic_share: 0.1,
                fall: 0.78,
                paths: (2, 4),
                path_weight: (0.43, 0.93),
                themes: Some((30.0, 1e7)),
                own: 0.35,
                own_spread: 1.5,
                own_level: 2,
                own_rank: 32,
                own_dims: (3.0, 8.0),
                own_in_topic: 0.0,
                common: 0.03,
                common_dims: (d / 8.0).max(6.0),
                noise: 0.02,
                spectrum: 1.0,
                mean: 0.3,
                copies: 0.05,
                twins: 0.5,
            },
        }
    }
}
