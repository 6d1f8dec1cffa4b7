//! One runner for every table: bit for bit against the scalar one, within a tolerance against f64.

use super::super::testing::{Guarded, Rng};
use super::*;

/// The nine functions of one row, as one list of bits.
fn all(kernels: &Kernels, rows: &Rows, query: &[f32]) -> Vec<u32> {
    let (dot_f32, norm_f32) = kernels.dot_norm_f32(&rows.f32, query);
    let (dot_f16, norm_f16) = kernels.dot_norm_f16(&rows.f16, query);
    let (dot_u8, norm_u8) = kernels.dot_norm_u8(&rows.u8, query);
    let values = [
        kernels.l2_f32(&rows.f32, query),
        kernels.l2_f16(&rows.f16, query),
        kernels.l2_u8(&rows.u8, query),
        kernels.dot_f32(&rows.f32, query),
        kernels.dot_f16(&rows.f16, query),
        kernels.dot_u8(&rows.u8, query),
        dot_f32,
        dot_f16,
        dot_u8,
        norm_f32,
        norm_f16,
        norm_u8,
    ];
    values.map(f32::to_bits).to_vec()
}

struct Rows {
    f32: Vec<f32>,
    f16: Vec<u16>,
    u8: Vec<u8>,
}

fn rows(rng: &mut Rng, dim: usize) -> Rows {
    // Without two of the five bits of the exponent: below 1 and of very different sizes, subnormal ones among them.
    let f16 = (0..dim).map(|_| rng.next_u64() as u16 & 0xbbff).collect();
    Rows { f32: rng.floats(dim), f16, u8: rng.bytes(dim) }
}

fn lengths() -> impl Iterator<Item = usize> {
    (0..=200).chain([255, 256, 257, 319, 384, 767, 768, 1000, 1023, 1024, 1025, 1536, 4096, 10_007])
}

#[test]
fn every_table_answers_the_same_bits() {
    let mut rng = Rng::new(9);
    for dim in lengths() {
        let rows = rows(&mut rng, dim);
        let query = rng.floats(dim);
        let expected = all(Kernels::available()[0], &rows, &query);
        assert_eq!(expected[3], expected[6], "dot and dot_norm differ");
        for kernels in Kernels::available() {
            assert_eq!(all(kernels, &rows, &query), expected, "{} dim {dim}", kernels.name);
        }
    }
}

/// The contract, written once more without any regard to speed.
#[test]
fn the_reduction_contract_is_kept() {
    let mut rng = Rng::new(10);
    for dim in lengths() {
        let (row, query) = (rng.floats(dim), rng.floats(dim));
        let mut lanes = [0f32; 64];
        for i in 0..dim.next_multiple_of(64) {
            let (r, q) = if i < dim { (row[i], query[i]) } else { (0.0, 0.0) };
            let difference = r - q;
            lanes[i % 64] += difference * difference;
        }
        for half in [32, 16, 8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
        }
        for kernels in Kernels::available() {
            assert_eq!(
                kernels.l2_f32(&row, &query).to_bits(),
                lanes[0].to_bits(),
                "{} dim {dim}",
                kernels.name
            );
        }
    }
}

#[test]
fn every_table_is_near_the_f64_sums() {
    let mut rng = Rng::new(11);
    for dim in lengths() {
        let rows = rows(&mut rng, dim);
        let query = rng.floats(dim);
        let mut f16 = vec![0.0; dim];
        Kernels::available()[0].f16_to_f32(&rows.f16, &mut f16);
        let u8: Vec<f32> = rows.u8.iter().map(|&byte| f32::from(byte)).collect();
        for kernels in Kernels::available() {
            let answers = all(kernels, &rows, &query);
            for (t, row) in [&rows.f32, &f16, &u8].into_iter().enumerate() {
                let pairs = || row.iter().zip(&query).map(|(&r, &q)| (f64::from(r), f64::from(q)));
                let l2: f64 = pairs().map(|(r, q)| (r - q) * (r - q)).sum();
                let dot: f64 = pairs().map(|(r, q)| r * q).sum();
                let norm: f64 = pairs().map(|(r, _)| r * r).sum();
                let size: f64 = pairs().map(|(r, q)| (r * q).abs()).sum();
                // Each lane rounds once a term and once an addition, the tree six times more.
                let unit = f64::from(f32::EPSILON) * (dim as f64 / 64.0 + 8.0);
                for (answer, exact, size) in
                    [(answers[t], l2, l2), (answers[3 + t], dot, size), (answers[9 + t], norm, norm)]
                {
                    let error = (f64::from(f32::from_bits(answer)) - exact).abs();
                    assert!(error <= unit * size, "{} dim {dim}: off by {error}", kernels.name);
                }
            }
        }
    }
}

#[test]
fn unaligned_rows_answer_the_same_bits() {
    let mut rng = Rng::new(12);
    for dim in [63, 64, 100, 129, 1024] {
        let rows = rows(&mut rng, dim);
        let query = rng.floats(dim);
        for start in 0..64 {
            fn shifted<T: Copy + Default>(values: &[T], start: usize) -> Vec<T> {
                [&vec![T::default(); start], values].concat()
            }
            let moved = (shifted(&rows.f32, start), shifted(&rows.f16, start), shifted(&rows.u8, start));
            for kernels in Kernels::available() {
                let l2 = kernels.l2_f32(&moved.0[start..], &query);
                assert_eq!(l2.to_bits(), kernels.l2_f32(&rows.f32, &query).to_bits());
                let l2 = kernels.l2_f16(&moved.1[start..], &query);
                assert_eq!(l2.to_bits(), kernels.l2_f16(&rows.f16, &query).to_bits());
                let l2 = kernels.l2_u8(&moved.2[start..], &query);
                assert_eq!(l2.to_bits(), kernels.l2_u8(&rows.u8, &query).to_bits());
            }
        }
    }
}

#[test]
fn infinity_and_nan_come_out() {
    for kernels in Kernels::available() {
        for dim in [1, 64, 100] {
            let mut row = vec![1.0; dim];
            row[dim / 2] = f32::NAN;
            assert!(kernels.l2_f32(&row, &vec![0.5; dim]).is_nan());
            row[dim / 2] = f32::INFINITY;
            assert_eq!(kernels.dot_f32(&row, &vec![0.5; dim]), f32::INFINITY);
        }
    }
}

#[test]
fn the_end_of_a_row_is_never_passed() {
    let mut rng = Rng::new(14);
    for dim in (0..200).chain([1024]) {
        let rows = rows(&mut rng, dim);
        let (f32, f16, u8) = (Guarded::new(&rows.f32), Guarded::new(&rows.f16), Guarded::new(&rows.u8));
        let query = Guarded::new(&rng.floats(dim));
        for kernels in Kernels::available() {
            kernels.l2_f32(f32.slice(), query.slice());
            kernels.dot_f32(f32.slice(), query.slice());
            kernels.dot_norm_f32(f32.slice(), query.slice());
            kernels.l2_f16(f16.slice(), query.slice());
            kernels.dot_f16(f16.slice(), query.slice());
            kernels.dot_norm_f16(f16.slice(), query.slice());
            kernels.l2_u8(u8.slice(), query.slice());
            kernels.dot_u8(u8.slice(), query.slice());
            kernels.dot_norm_u8(u8.slice(), query.slice());
        }
    }
}
