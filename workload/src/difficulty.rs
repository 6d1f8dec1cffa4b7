//! How hard a set is to search: the figures by which generated sets are held against real ones.
//!
//! Distances are Euclidean; a set that is searched under cosine is measured as unit rows ([`Unit`]). Figures and
//! definitions are those usual for such tables:
//! - local intrinsic dimension: Levina and Bickel's maximum likelihood over the 100 nearest, per query;
//! - contrast: mean distance of two rows over that of the tenth neighbour;
//! - effective dimension: participation ratio of the covariance;
//! - hubs: how unevenly rows occur among the ten nearest of other rows;
//! - leaves: how many of 4 sqrt(n) k-means leaves to probe ([`crate::leaves`]).

use std::fmt;
use std::io;

use crate::exact::{distance, nearest, Metric};
use crate::leaves::{partition, sample, Leaves};
use crate::product::add_gram;
use crate::recall::{percentile, Truth};
use crate::rows::{Matrix, Rows};

/// Neighbours by which a query is judged.
const NEIGHBOURS: usize = 100;
const COVARIANCE_ROWS: usize = 50_000;
const HUB_ROWS: usize = 20_000;

/// The figures of a set and its queries.
#[derive(Clone, Debug)]
pub struct Report {
    /// Rows and dimensions.
    pub rows: u64,
    /// Dimensions.
    pub dim: usize,
    /// Local intrinsic dimension of the queries: tenth, fiftieth, ninetieth percentile.
    pub lid: [f64; 3],
    /// Share of queries with a row at (nearly) no distance; they have no local dimension.
    pub twins: f64,
    /// Mean distance of two rows over the median distance of the tenth neighbour.
    pub contrast: f64,
    /// Median ratio of the distances of the hundredth and the tenth neighbour.
    pub hundredth_to_tenth: f64,
    /// (Sum of the covariance's eigenvalues)^2 over the sum of their squares.
    pub effective_dim: f64,
    /// Skewness of the counts of occurrence among ten nearest, and the greatest count over the mean.
    pub hubs: (f64, f64),
    /// Recall against probes.
    pub leaves: Leaves,
}

/// Measures a set by some queries; all in memory that is bounded but for an id a row.
///
/// # Errors
/// The set cannot be read, has other dimensions than the queries, or no more than 100 rows.
pub fn measure(base: &dyn Rows, queries: &Matrix, seed: u64, threads: usize) -> io::Result<Report> {
    if base.count() <= NEIGHBOURS as u64 {
        let what = format!("{} rows are too few to measure: more than {NEIGHBOURS} are needed", base.count());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let truth = nearest(base, queries, Metric::L2, NEIGHBOURS, threads)?;
    let distances: Vec<f64> = truth.distances.iter().map(|d| d.max(0.0).sqrt()).collect();
    let nearest_ones: Vec<f64> = distances.iter().step_by(NEIGHBOURS).copied().collect();
    let twin = 1e-4 * median(nearest_ones);
    let fine: Vec<&[f64]> = distances.chunks_exact(NEIGHBOURS).filter(|d| d[0] > twin).collect();
    let mut lid: Vec<f64> = fine.iter().map(|d| local_dimension(d)).collect();
    lid.sort_unstable_by(f64::total_cmp);
    let rows = sample(base, COVARIANCE_ROWS, seed)?;
    let tenth = median(distances.chunks_exact(NEIGHBOURS).map(|d| d[9]).collect());
    Ok(Report {
        rows: base.count(),
        dim: base.dim(),
        lid: [0.1, 0.5, 0.9].map(|share| percentile(&lid, share)),
        twins: 1.0 - fine.len() as f64 / queries.len() as f64,
        contrast: mean_distance(&rows, base.dim()) / tenth,
        hundredth_to_tenth: median(fine.iter().map(|d| d[99] / d[9]).collect()),
        effective_dim: participation(&rows, base.dim()),
        hubs: hubs(rows, base.dim(), threads)?,
        leaves: partition(base, queries, &truth, seed, threads)?,
    })
}

/// Levina and Bickel's estimate from ascending positive distances to the nearest rows.
#[must_use]
pub fn local_dimension(distances: &[f64]) -> f64 {
    let Some((last, others)) = distances.split_last() else { return 0.0 };
    let logs: f64 = others.iter().map(|d| (last.max(1e-12) / d.max(1e-12)).ln()).sum();
    (distances.len() as f64 - 2.0) / logs.max(1e-12)
}

impl Report {
    /// The line of headings over the lines of reports.
    #[must_use]
    pub fn headings() -> &'static str {
        "n x dim | LID median (p10-p90) | d_mean/d10 | d100/d10 | effective dim | hubs skew / max | twins \
         | leaves | probes .90 / .95 / .99 | recall at 16 / 64 / 256 | leaf deviation / max"
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leaves = &self.leaves;
        let (deviation, largest) = leaves.unevenness();
        write!(f, "{} x {} | {:.1} ", self.rows, self.dim, self.lid[1])?;
        write!(f, "({:.1}-{:.1}) | {:.2} | ", self.lid[0], self.lid[2], self.contrast)?;
        write!(f, "{:.2} | {:.0} | ", self.hundredth_to_tenth, self.effective_dim)?;
        write!(f, "{:.1} / {:.0}x | {:.1}% | ", self.hubs.0, self.hubs.1, 100.0 * self.twins)?;
        let probes = [0.90, 0.95, 0.99].map(|recall| leaves.probes_for(recall));
        write!(f, "{} | {} / {} / {} | ", leaves.sizes.len(), probes[0], probes[1], probes[2])?;
        let recall = [16, 64, 256].map(|probes| leaves.recall_at(probes));
        write!(f, "{:.3} / {:.3} / {:.3} | ", recall[0], recall[1], recall[2])?;
        write!(f, "{deviation:.2} / {largest:.1}x")
    }
}

/// Rows scaled to length 1, which turns cosine into Euclidean distance; a row without length stays as it is.
pub struct Unit<'a>(pub &'a dyn Rows);

impl Rows for Unit<'_> {
    fn count(&self) -> u64 {
        self.0.count()
    }

    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn read(&self, first: u64, out: &mut [f32]) -> io::Result<()> {
        self.0.read(first, out)?;
        for row in out.chunks_exact_mut(self.dim()) {
            let length = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
            }
        }
        Ok(())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    percentile(&values, 0.5)
}

/// Of a thousand rows to two hundred others.
fn mean_distance(rows: &[f32], dim: usize) -> f64 {
    let rows: Vec<&[f32]> = rows.chunks_exact(dim).collect();
    // Far apart in the sample, since copies may follow their source.
    let (few, many) = rows.split_at(rows.len() / 6);
    let pick = |rows: &[&[f32]], count: usize| -> Vec<usize> {
        (0..rows.len()).step_by((rows.len() / count).max(1)).collect()
    };
    let (few_at, many_at) = (pick(few, 200), pick(many, 1000));
    let pairs = few_at.iter().flat_map(|&i| many_at.iter().map(move |&j| (i, j)));
    let sum: f64 = pairs.map(|(i, j)| distance(Metric::L2, few[i], many[j]).sqrt()).sum();
    sum / (few_at.len() * many_at.len()) as f64
}

/// (tr C)^2 / tr C^2 of the covariance C: needs no eigenvalues.
fn participation(rows: &[f32], dim: usize) -> f64 {
    let count = (rows.len() / dim) as f64;
    let mut mean = vec![0.0f64; dim];
    rows.chunks_exact(dim)
        .for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / count));
    let mut gram = vec![0.0; dim * dim];
    let mut centred = Vec::new();
    for block in rows.chunks(1024 * dim) {
        centred.clear();
        let values = block.chunks_exact(dim).flat_map(|row| row.iter().zip(&mean));
        centred.extend(values.map(|(v, m)| (f64::from(*v) - m) as f32));
        add_gram(&centred, dim, &mut gram);
    }
    let trace: f64 = (0..dim).map(|j| f64::from(gram[j * dim + j])).sum();
    let squares: f64 = gram.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    trace * trace / squares
}

/// How often rows of a sample are among the ten nearest of half of the others.
fn hubs(mut rows: Vec<f32>, dim: usize, threads: usize) -> io::Result<(f64, f64)> {
    let kept = (rows.len() / dim).min(HUB_ROWS);
    // The sample is in the order of ids: thin it out evenly.
    let stride = rows.len() / dim / kept;
    for i in 0..kept {
        rows.copy_within(i * stride * dim..(i * stride + 1) * dim, i * dim);
    }
    rows.truncate(kept * dim);
    let asked = rows.chunks_exact(dim).step_by(2).flatten().copied().collect();
    let truth = nearest(&Matrix::new(dim, rows), &Matrix::new(dim, asked), Metric::L2, 11, threads)?;
    Ok(skewness(&occurrences(&truth, kept)))
}

fn occurrences(truth: &Truth, rows: usize) -> Vec<f64> {
    let mut counts = vec![0.0; rows];
    for (asked, ids) in truth.ids.chunks_exact(truth.k).enumerate() {
        // Query i is row 2 i; it is its own nearest, or behind a twin.
        ids.iter().filter(|&&id| id != 2 * asked as u64).take(10).for_each(|&id| counts[id as usize] += 1.0);
    }
    counts
}

fn skewness(counts: &[f64]) -> (f64, f64) {
    let n = counts.len() as f64;
    let mean = counts.iter().sum::<f64>() / n;
    let moment = |power: i32| counts.iter().map(|c| (c - mean).powi(power)).sum::<f64>() / n;
    let largest = counts.iter().copied().fold(0.0, f64::max);
    (moment(3) / moment(2).powf(1.5), largest / mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn normal(rows: usize, scales: &[f32], key: u64) -> Matrix {
        let mut stream = Stream::new(key);
        Matrix::new(
            scales.len(),
            (0..rows).flat_map(|_| scales.iter().map(|s| s * stream.normal()).collect::<Vec<_>>()).collect(),
        )
    }

    #[test]
    fn local_dimension_is_that_of_distances_that_grow_by_a_power() {
        // In d dimensions the j-th of k neighbours lies at (j / k)^(1 / d).
        for dimension in [2.0, 10.0, 25.0] {
            let distances: Vec<f64> =
                (1..=1000).map(|j| (f64::from(j) / 1000.0).powf(1.0 / dimension)).collect();
            assert!((local_dimension(&distances) / dimension - 1.0).abs() < 0.02, "{dimension}");
        }
        assert_eq!(local_dimension(&[]), 0.0);
    }

    #[test]
    fn a_plane_in_many_dimensions_has_two() {
        let mut scales = vec![0.0; 20];
        (scales[3], scales[11]) = (1.0, 1.0);
        let report = measure(&normal(5000, &scales, 1), &normal(100, &scales, 2), 1, 2).unwrap();
        assert!((report.lid[1] - 2.0).abs() < 0.4, "{report}");
        assert!((report.effective_dim - 2.0).abs() < 0.05, "{report}");
        assert!(report.contrast > 5.0 && report.leaves.probes_for(0.99) < 20, "{report}");
    }

    #[test]
    fn twins_are_counted_and_left_out() {
        let base = normal(2000, &[1.0; 8], 1);
        let queries = Matrix::first(&base, 50).unwrap();
        let report = measure(&base, &queries, 1, 1).unwrap();
        assert_eq!(report.twins, 1.0);
        let mixed = [queries.values(), normal(150, &[1.0; 8], 9).values()].concat();
        let report = measure(&base, &Matrix::new(8, mixed), 1, 1).unwrap();
        assert_eq!(report.twins, 0.25);
        assert!((report.lid[1] - 6.5).abs() < 1.5, "{report}");
    }

    #[test]
    fn hubs_show_in_the_tail_of_occurrences() {
        assert!(skewness(&[10.0, 10.0, 11.0, 9.0]).0.abs() < 1e-9);
        let (skew, largest) = skewness(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 91.0]);
        assert!(skew > 2.0 && (largest - 9.1).abs() < 1e-9);
    }

    #[test]
    fn unit_rows_have_length_one_and_zero_rows_stay() {
        let unit = Matrix::of(&Unit(&Matrix::new(2, vec![3.0, 4.0, 0.0, 0.0]))).unwrap();
        assert_eq!(unit.values(), [0.6, 0.8, 0.0, 0.0]);
    }

    #[test]
    fn too_few_rows_are_refused() {
        assert!(measure(&normal(100, &[1.0; 3], 1), &normal(5, &[1.0; 3], 2), 1, 1).is_err());
    }
}
