//! Finer codes of all rows, four bits a dimension, which stand between the candidates of a search and its rows.
//!
//! An eighth of the bytes of a row of floats, with bounds less than a fifth as wide as those of one-bit codes (tests of
//! `quantize::estimate` say so): most candidates need not be read. They are mapped as the vectors are, and belong to
//! them: navigation does not touch them. Only their factors are in memory. All are relative to the mean of the rows,
//! where queries are shifted to.

use crate::kernels::Kernels;
use crate::memory::AlignedBytes;
use crate::quantize::encode::{metric_weights, CodeShape, Factors};
use crate::quantize::estimate::ROUNDING;
use crate::quantize::query::PreparedQuery;
use crate::types::{Error, Metric, Result};
use crate::vfs::Mapping;

/// Bits a dimension.
pub const BITS: usize = 4;

/// The codes of one segment.
pub struct FinerCodes {
    mapping: Mapping,
    factors: AlignedBytes,
    shape: CodeShape,
    metric: Metric,
    error_width: f32,
}

/// An estimate with the deviation of its error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Of the distance, in the metric's own unit.
    pub distance: f32,
    /// See [`Estimate`].
    pub deviation: f32,
}

impl FinerCodes {
    /// True if an index of such codes has finer ones: of coarse codes only, and where the mean of the rows is what
    /// queries are shifted by.
    pub fn serve(shape: CodeShape, metric: Metric) -> bool {
        shape.bits == 1 && metric != Metric::InnerProduct
    }

    /// Takes the codes of a file, and the factors of as many rows, whose `coarse` codes navigate.
    ///
    /// # Errors
    /// `VDB_CORRUPT` if either is not of so many rows, or a factor is not finite.
    pub fn new(
        mapping: Mapping,
        factors: AlignedBytes,
        coarse: CodeShape,
        metric: Metric,
        error_width: f32,
        rows: u32,
    ) -> Result<Self> {
        let shape = CodeShape { bits: BITS, ..coarse };
        let rows = rows as usize;
        let sizes_agree = rows.checked_mul(shape.row_bytes()).is_some_and(|bytes| mapping.len() >= bytes)
            && factors.len() == rows * std::mem::size_of::<Factors>();
        if !sizes_agree || !Self::serve(coarse, metric) {
            return Err(Error::corrupt("finer codes: they do not fit the rows and their codes"));
        }
        if !factors.as_slice::<f32>().iter().all(|x| x.is_finite()) {
            return Err(Error::corrupt("finer codes: a factor is not a finite number"));
        }
        Ok(FinerCodes { mapping, factors, shape, metric, error_width })
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.factors.len() as u64
    }

    /// What the products of a query are made from, for [`estimates`](Self::estimates).
    pub fn levels(&self, kernels: &Kernels, query: &PreparedQuery) -> (f32, f32) {
        query.levels(kernels, BITS)
    }

    /// Bytes of the file that are mapped.
    pub fn mapped_bytes(&self) -> u64 {
        self.mapping.len() as u64
    }

    /// Estimates the rows at `positions` into `out`; both lists have as many places.
    pub fn estimates(
        &self,
        kernels: &Kernels,
        query: &PreparedQuery,
        (at_zero, a_unit): (f32, f32),
        positions: &[u32],
        counted: &mut [i32],
        out: &mut [Estimate],
    ) {
        let stride = self.shape.row_bytes();
        let factors = self.factors.as_slice::<Factors>();
        // They travel while the codes are worked on.
        for position in positions {
            kernels.prefetch_lines(bytemuck::bytes_of(&factors[*position as usize]));
        }
        kernels.dot_levels_rows(&self.mapping, stride, BITS, &query.bytes, positions, counted);
        let (_, unit) = metric_weights(self.metric);
        let base = query.length * query.length;
        for ((position, counted), out) in positions.iter().zip(counted).zip(out) {
            let Factors { offset, scale } = factors[*position as usize];
            let distance = base + offset - scale * (at_zero + a_unit * *counted as f32);
            let deviation = scale * self.error_width * query.length + ROUNDING * (base + offset.abs());
            *out = Estimate { distance: unit * distance, deviation: unit * deviation };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::encode::Encoder;
    use crate::quantize::rotation::Rotation;
    use crate::types::rng::SplitMix64;
    use crate::types::Status;
    use crate::vfs::open_outside;

    const DIM: usize = 512;
    const ROWS: usize = 60;
    const COARSE: CodeShape = CodeShape { padded: DIM, bits: 1 };

    /// The bytes, mapped.
    fn mapped(bytes: &[u8]) -> Mapping {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("codes"), bytes).unwrap();
        let file = open_outside(&dir.path().join("codes")).unwrap();
        file.map(0, bytes.len() as u64).unwrap().unwrap()
    }

    fn factors(of: &[f32]) -> AlignedBytes {
        let mut bytes = AlignedBytes::zeroed(of.len() * 4).unwrap();
        bytes.as_mut_slice::<f32>().copy_from_slice(of);
        bytes
    }

    #[test]
    fn estimates_are_within_their_bounds() {
        let kernels = Kernels::detect();
        let rotation = Rotation::new(DIM, 5).unwrap();
        let mut random = SplitMix64::new(9);
        let mut unit = || -> Vec<f32> {
            let row: Vec<f32> = (0..DIM).map(|_| random.next_f32() - 0.3).collect();
            let length = kernels.dot_f32(&row, &row).sqrt();
            row.iter().map(|x| x / length).collect()
        };
        let (rows, query): (Vec<Vec<f32>>, _) = ((0..ROWS).map(|_| unit()).collect(), unit());
        let mut mean = vec![0.0; DIM];
        rows.iter().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / ROWS as f32));
        let mut rotated_mean = vec![0.0; DIM];
        rotation.apply(kernels, &mean, &mut rotated_mean);
        let shape = CodeShape { bits: BITS, ..COARSE };
        let mut encoder = Encoder::new(kernels, shape, Metric::L2, &rotated_mean).unwrap();
        let (mut codes, mut numbers, mut width) = (vec![0; ROWS * shape.row_bytes()], Vec::new(), 0.0);
        for (row, code) in rows.iter().zip(codes.chunks_exact_mut(shape.row_bytes())) {
            let mut rotated = vec![0.0; DIM];
            rotation.apply(kernels, row, &mut rotated);
            let (factors, one) = encoder.encode(&rotated, &rotated_mean, code);
            numbers.extend([factors.offset, factors.scale]);
            width += one / ROWS as f32;
        }
        for metric in [Metric::L2, Metric::Cosine] {
            let finer =
                FinerCodes::new(mapped(&codes), factors(&numbers), COARSE, metric, width, ROWS as u32)
                    .unwrap();
            let mut prepared = PreparedQuery::default();
            prepared.prepare(kernels, &rotation, &rotated_mean, COARSE, metric, &query);
            let positions: Vec<u32> = (0..ROWS as u32).rev().collect();
            let (mut counted, mut estimates) = ([0; ROWS], [Estimate::default(); ROWS]);
            let levels = finer.levels(kernels, &prepared);
            finer.estimates(kernels, &prepared, levels, &positions, &mut counted, &mut estimates);
            for (position, Estimate { distance, deviation }) in positions.iter().zip(estimates) {
                let squared: f32 =
                    rows[*position as usize].iter().zip(&query).map(|(a, b)| (a - b) * (a - b)).sum();
                let truth = if metric == Metric::L2 { squared } else { 0.5 * squared };
                assert!(deviation > 0.0 && deviation < 0.02 * truth, "{deviation} of {truth}");
                assert!((distance - truth).abs() < 5.0 * deviation, "{distance} +- {deviation}, not {truth}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let rows = ROWS as u32;
        let code_bytes = ROWS * DIM / 2;
        let meet = |bytes, numbers: &[f32], coarse, metric| {
            let codes = mapped(&vec![0; bytes]);
            FinerCodes::new(codes, factors(numbers), coarse, metric, 0.1, rows)
                .map_err(|error| error.status())
        };
        let fit = vec![1.0; 2 * ROWS];
        assert!(meet(code_bytes, &fit, COARSE, Metric::L2).is_ok());
        let mut infinite = fit.clone();
        infinite[7] = f32::INFINITY;
        for (bytes, numbers, coarse, metric) in [
            (code_bytes - 1, &fit[..], COARSE, Metric::L2),
            (code_bytes, &fit[1..], COARSE, Metric::L2),
            (code_bytes, &infinite[..], COARSE, Metric::L2),
            (code_bytes, &fit[..], CodeShape { bits: 2, ..COARSE }, Metric::L2),
            (code_bytes, &fit[..], COARSE, Metric::InnerProduct),
        ] {
            assert_eq!(meet(bytes, numbers, coarse, metric).err(), Some(Status::Corrupt));
        }
    }
}
