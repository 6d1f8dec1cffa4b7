//! Power-law spectra with a wanted effective dimension.
//!
//! The effective dimension of eigenvalues e is (sum e)^2 / sum e^2 (participation ratio): dim when all are
//! equal, 1 when one carries everything. Sentence embeddings have about a third of dim, term statistics of
//! passages about two thirds. Exponents are found by bisection once; no I/O, no state.

use crate::rng::pow;

/// (sum e)^2 / sum e^2 of eigenvalues.
#[must_use]
pub fn effective_dim(eigenvalues: &[f64]) -> f64 {
    let (sum, squares) = eigenvalues.iter().fold((0.0, 0.0), |(s, q), e| (s + e, q + e * e));
    if squares > 0.0 {
        sum * sum / squares
    } else {
        0.0
    }
}

fn law(dim: usize, exponent: f64) -> Vec<f64> {
    (1..=dim).map(|j| pow(j as f64, -exponent)).collect()
}

/// Standard deviations that fall as a power of the index, mean square 1, with this effective dimension
/// (of their squares), clamped to what is possible: 1 to dim.
#[must_use]
pub fn scales(dim: usize, effective: f64) -> Vec<f32> {
    let (mut low, mut high) = (0.0, 8.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if effective_dim(&law(dim, middle)) > effective {
            low = middle;
        } else {
            high = middle;
        }
    }
    let eigenvalues = law(dim, low);
    let sum: f64 = eigenvalues.iter().sum();
    eigenvalues.iter().map(|e| (e * dim as f64 / sum).sqrt() as f32).collect()
}

/// As [`scales`] over the first `rank` coordinates and 0 on the others; mean square 1 over all. A power law over
/// all of dim has a tail so long that it is noise to the neighbourhood of a row.
#[must_use]
pub fn leading_scales(dim: usize, rank: usize, effective: f64) -> Vec<f32> {
    let rank = rank.clamp(dim.min(1), dim);
    let factor = (dim as f32 / rank.max(1) as f32).sqrt();
    let mut leading: Vec<f32> = scales(rank, effective).iter().map(|s| s * factor).collect();
    leading.resize(dim, 0.0);
    leading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_reach_the_wanted_effective_dimension_and_mean_square_one() {
        for dim in [2, 100, 384, 1024] {
            for share in [0.1, 0.34, 0.66, 0.95] {
                let wanted = (share * dim as f64).max(1.1);
                let eigenvalues: Vec<f64> = scales(dim, wanted).iter().map(|s| f64::from(s * s)).collect();
                let got = effective_dim(&eigenvalues);
                assert!((got / wanted - 1.0).abs() < 1e-3, "dim {dim}: {got} for {wanted}");
                assert!((eigenvalues.iter().sum::<f64>() / dim as f64 - 1.0).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn impossible_wishes_are_clamped() {
        assert!(scales(16, 100.0).iter().all(|&s| (s - 1.0).abs() < 1e-6));
        assert_eq!(scales(1, 0.5), vec![1.0]);
        assert!(scales(0, 1.0).is_empty());
    }
    #[test]
    fn leading_scales_end_at_the_rank() {
        for (dim, rank) in [(1, 32), (20, 32), (384, 32)] {
            let scales = leading_scales(dim, rank, 5.0);
            assert!(scales.iter().enumerate().all(|(j, s)| (*s > 0.0) == (j < rank)), "{dim} {rank}");
            let square = scales.iter().map(|s| s * s).sum::<f32>() / dim as f32;
            assert!((square - 1.0).abs() < 1e-4, "{dim} {rank}: {square}");
        }
        assert!(leading_scales(0, 32, 5.0).is_empty());
    }
}
