//! Sums over rows: means and squared distances, in a fixed order.
//!
//! Plain loops over 16 lanes, which the compiler turns into vector code of the base instruction set; these
//! sums are a small part of the work, the products of bytes are the large one.

use crate::memory::try_vec;
use crate::types::Result;

/// Numbers added side by side.
const LANES: usize = 16;

/// Rows summed in f32 before the sum goes into f64: few enough that nothing is lost.
const GROUP_ROWS: usize = 32;

/// Squared distance of two rows.
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let tail: f32 = rest.map(|(x, y)| (x - y) * (x - y)).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            sums[i] += (x[i] - y[i]) * (x[i] - y[i]);
        }
    }
    sums.iter().sum::<f32>() + tail
}

/// A mean in the making. Sums short groups in f32 and the groups in f64, which is as fast as f32 and as
/// good as f64.
pub(crate) struct MeanSum {
    count: u64,
    in_group: usize,
    group: Vec<f32>,
    total: Vec<f64>,
}

impl MeanSum {
    /// A sum of no rows.
    pub(crate) fn new(dim: usize) -> Result<Self> {
        Ok(MeanSum { count: 0, in_group: 0, group: try_vec(dim, 0.0)?, total: try_vec(dim, 0.0)? })
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, row: &[f32]) {
        self.group.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        self.count += 1;
        self.in_group += 1;
        if self.in_group == GROUP_ROWS {
            self.end_group();
        }
    }

    fn end_group(&mut self) {
        self.total.iter_mut().zip(&mut self.group).for_each(|(total, sum)| {
            *total += f64::from(*sum);
            *sum = 0.0;
        });
        self.in_group = 0;
    }

    /// Writes the mean of the rows added, and starts again. Leaves `out` as it is if there were none.
    pub(crate) fn take_mean(&mut self, out: &mut [f32]) {
        self.end_group();
        let scale = 1.0 / self.count.max(1) as f64;
        if self.count > 0 {
            out.iter_mut().zip(&self.total).for_each(|(mean, total)| *mean = (total * scale) as f32);
        }
        self.total.fill(0.0);
        self.count = 0;
    }
}

/// The mean of packed rows; zeros for none.
pub fn mean_of(rows: &[f32], dim: usize) -> Result<Vec<f32>> {
    let (mut sum, mut mean) = (MeanSum::new(dim)?, try_vec(dim, 0.0)?);
    rows.chunks_exact(dim).for_each(|row| sum.add(row));
    sum.take_mean(&mut mean);
    Ok(mean)
}

/// Scales a row to length 1; a row of zeros stays.
pub(crate) fn normalise(row: &mut [f32]) {
    let length = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

/// Positions `0..groups.len()` sorted by group, stable, and the end of each group in that order.
pub(crate) fn group_by(groups: &[u32], group_count: usize) -> Result<(Vec<u32>, Vec<u32>)> {
    let mut ends = try_vec(group_count, 0u32)?;
    groups.iter().for_each(|&group| ends[group as usize] += 1);
    let mut sum = 0;
    for end in &mut ends {
        let first = sum;
        sum += *end;
        *end = first;
    }
    let mut order = try_vec(groups.len(), 0u32)?;
    for (position, &group) in groups.iter().enumerate() {
        order[ends[group as usize] as usize] = position as u32;
        ends[group as usize] += 1;
    }
    Ok((order, ends))
}

/// The positions in one group, as [`group_by`] ordered them.
pub(crate) fn members<'a>(order: &'a [u32], ends: &[u32], group: usize) -> &'a [u32] {
    let first = if group == 0 { 0 } else { ends[group - 1] };
    &order[first as usize..ends[group] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_of_many_equal_rows_is_that_row() {
        let rows = [0.1f32, -7.3e6, 3.3e-9].repeat(100_001);
        for (mean, x) in mean_of(&rows, 3).unwrap().iter().zip(&rows) {
            assert!((mean / x - 1.0).abs() < 1e-6, "{mean} for {x}");
        }
        assert_eq!(mean_of(&[], 2).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn distances_equal_the_plain_sum() {
        for dim in 0..70 {
            let a: Vec<f32> = (0..dim).map(|i| (i % 7) as f32).collect();
            let b: Vec<f32> = (0..dim).map(|i| (i % 5) as f32 - 3.0).collect();
            let want: f32 = a.iter().zip(&b).map(|(x, y)| (x - y) * (x - y)).sum();
            assert_eq!(squared_distance(&a, &b), want);
        }
    }

    #[test]
    fn grouping_is_a_stable_sort() {
        let groups = [2u32, 0, 2, 4, 0, 2];
        assert_eq!(group_by(&groups, 5).unwrap(), (vec![1, 4, 0, 2, 5, 3], vec![2, 2, 5, 5, 6]));
        assert_eq!(group_by(&[], 0).unwrap(), (vec![], vec![]));
    }

    #[test]
    fn a_zero_row_has_no_direction_and_stays() {
        let (mut zero, mut row) = ([0.0, 0.0], [3.0, 4.0]);
        normalise(&mut zero);
        normalise(&mut row);
        assert_eq!((zero, row), ([0.0, 0.0], [0.6, 0.8]));
    }
}
