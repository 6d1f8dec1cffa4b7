//! What effort reaches which recall@10, as the build measured it on held-out rows.

use bytemuck::{Pod, Zeroable};

use crate::memory::{try_collect, try_with_capacity};
use crate::types::{Error, Result};

/// One measured point as it is stored. 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct EffortRecord {
    /// Measured recall@10, less the margin.
    pub recall: f32,
    /// Leaves visited.
    pub probes: u32,
    /// Width of the bounds in standard deviations of the estimate.
    pub epsilon: f32,
    /// How much of a leaf's spread is added to the distance of its centroid.
    pub spread_weight: f32,
}

/// One measured point: with `probes` leaves, a walk over `list` rows and bounds at `epsilon` deviations, `recall` of
/// the true ten came back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effort {
    /// Measured recall@10, less the margin.
    pub recall: f32,
    /// Leaves visited.
    pub probes: u32,
    /// Width of the bounds in standard deviations of the estimate.
    pub epsilon: f32,
    /// How much of a leaf's spread is added to the distance of its centroid.
    pub spread_weight: f32,
    /// Rows that a walk along links holds and goes on from; 0: no walk.
    pub list: u32,
}

/// Weight of the spread where nothing was measured.
pub const SPREAD_WEIGHT_DEFAULT: f32 = 0.75;

/// Bounds for callers that set `probes` themselves, and for indexes too small to be measured.
pub const EPSILON_DEFAULT: f32 = 2.5;

/// Length of a walk's list where nothing was measured.
pub const LIST_DEFAULT: u32 = 80;

/// Longest list of a walk.
pub const LIST_MAX: u32 = 4_096;

/// The measured points, by ascending probes; of an index with links a point may have the probes of the one before, and
/// a longer walk.
#[derive(Clone, Debug, Default)]
pub struct RecallTable(Vec<Effort>);

impl RecallTable {
    /// Takes the points of a file or a build.
    ///
    /// # Errors
    /// `VDB_CORRUPT` unless probes never descend, from 1 on, and all numbers are sensible.
    pub fn new(efforts: Vec<Effort>) -> Result<Self> {
        let sensible = |e: &Effort| {
            e.probes >= 1
                && (0.0..=1.0).contains(&e.recall)
                && e.epsilon.is_finite()
                && e.epsilon >= 0.0
                && e.spread_weight.is_finite()
        };
        if !efforts.iter().all(sensible) || !efforts.windows(2).all(|pair| pair[0].probes <= pair[1].probes) {
            return Err(Error::corrupt("recall table: its efforts are not in order"));
        }
        Ok(RecallTable(efforts))
    }

    /// Takes what a file has: the points, and of an index with links the length of the walk of each.
    ///
    /// # Errors
    /// As [`new`](Self::new), `VDB_CORRUPT` if there are not as many lengths as points, or one of them is absurd.
    pub fn of_records(records: &[EffortRecord], lists: Option<&[u32]>) -> Result<Self> {
        if lists.is_some_and(|lists| lists.len() != records.len()) {
            return Err(Error::corrupt("walk lists: they are not as many as the efforts"));
        }
        let lists = lists.unwrap_or_default();
        if lists.iter().any(|list| *list > LIST_MAX) {
            return Err(Error::corrupt("walk lists: one of them is too long"));
        }
        let mut efforts = try_with_capacity(records.len())?;
        efforts.extend(records.iter().enumerate().map(|(nth, record)| {
            let EffortRecord { recall, probes, epsilon, spread_weight } = *record;
            Effort { recall, probes, epsilon, spread_weight, list: lists.get(nth).copied().unwrap_or(0) }
        }));
        Self::new(efforts)
    }

    /// The points as a file has them.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn records(&self) -> Result<(Vec<EffortRecord>, Vec<u32>)> {
        let record = |e: &Effort| {
            let Effort { recall, probes, epsilon, spread_weight, .. } = *e;
            EffortRecord { recall, probes, epsilon, spread_weight }
        };
        Ok((try_collect(self.0.iter().map(record))?, try_collect(self.0.iter().map(|e| e.list))?))
    }

    /// The points.
    pub fn efforts(&self) -> &[Effort] {
        &self.0
    }

    /// The effort for a wanted recall: the least measured one that reaches it, with probes interpolated between it and
    /// its neighbour below. Beyond the table every leaf is visited.
    pub fn effort(&self, recall: f32, leaves: u32) -> Effort {
        let Some(at) = self.0.iter().position(|effort| effort.recall >= recall) else {
            let last = self.at_probes(leaves);
            return Effort {
                recall: 1.0,
                probes: leaves,
                epsilon: last.epsilon.max(EPSILON_DEFAULT),
                ..last
            };
        };
        let above = self.0[at];
        let Some(below) = at.checked_sub(1).map(|i| self.0[i]) else {
            return Effort { probes: above.probes.min(leaves), ..above };
        };
        // Recall is close to linear in the logarithm of probes.
        let share = f64::from((recall - below.recall) / (above.recall - below.recall)).clamp(0.0, 1.0);
        let between = |below: u32, above: u32| {
            let log = (1.0 - share) * f64::from(below).ln() + share * f64::from(above).ln();
            (log.exp().ceil() as u32).clamp(below.min(above), below.max(above))
        };
        let list =
            if below.list == 0 || above.list == 0 { above.list } else { between(below.list, above.list) };
        Effort { probes: between(below.probes, above.probes).min(leaves), list, ..above }
    }

    /// The effort that goes with so many probes: as measured for the next number of probes not below, with the longest
    /// walk.
    pub fn at_probes(&self, probes: u32) -> Effort {
        let nothing = Effort {
            recall: 0.0,
            probes,
            epsilon: EPSILON_DEFAULT,
            spread_weight: SPREAD_WEIGHT_DEFAULT,
            list: LIST_DEFAULT,
        };
        let next = self.0.iter().find(|effort| effort.probes >= probes).or(self.0.last());
        let measured =
            next.and_then(|next| self.0.iter().rfind(|effort| effort.probes == next.probes)).copied();
        Effort { probes, ..measured.unwrap_or(nothing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(points: &[(f32, u32)]) -> RecallTable {
        let efforts = points.iter().map(|(recall, probes)| Effort {
            recall: *recall,
            probes: *probes,
            epsilon: 2.0,
            spread_weight: 0.5,
            list: 0,
        });
        RecallTable::new(efforts.collect()).unwrap()
    }

    #[test]
    fn more_recall_never_asks_for_fewer_probes() {
        let table = table(&[(0.5, 1), (0.8, 4), (0.79, 5), (0.9, 8), (0.97, 30), (0.999, 100)]);
        let mut last = 0;
        for step in 1..=1000 {
            let probes = table.effort(step as f32 / 1000.0, 400).probes;
            assert!(probes >= last, "recall {step}/1000: {probes} after {last}");
            last = probes;
        }
        assert_eq!(last, 400);
    }

    #[test]
    fn an_empty_table_visits_everything() {
        assert_eq!(RecallTable::default().effort(0.5, 77).probes, 77);
    }
}
