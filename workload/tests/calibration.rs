//! The generator keeps to the bands it was calibrated to: neither difficulty drifts to the easy or the hopeless.
//!
//! Small sets, so the bands are wider than those of `docs/experiments.md`, which has the sizes that count.

use workload::difficulty::{measure, Report, Unit};
use workload::gen::{Difficulty, GenParams, Generator};
use workload::rows::{Generated, Matrix};

fn report(difficulty: Difficulty, rows: u64, dim: usize) -> Report {
    let generator = Generator::new(GenParams::new(dim, difficulty));
    let mut queries = vec![0.0; 400 * dim];
    generator.queries(0, &mut queries);
    let queries = Matrix::of(&Unit(&Matrix::new(dim, queries))).unwrap();
    let base = Matrix::of(&Unit(&Generated::new(&generator, rows))).unwrap();
    measure(&base, &queries, 1, 2).unwrap()
}

fn within(what: &str, value: f64, low: f64, high: f64, report: &Report) {
    assert!((low..=high).contains(&value), "{what} {value} is not in {low}..{high}\n{report}");
}

#[test]
fn typical_is_as_sentence_embeddings() {
    for dim in [384, 1024] {
        let report = report(Difficulty::Typical, 6000, dim);
        within("median local dimension", report.lid[1], 14.0, 34.0, &report);
        within("spread of local dimension", report.lid[2] / report.lid[0], 2.0, 5.5, &report);
        within("contrast", report.contrast, 1.14, 1.45, &report);
        within("effective dimension", report.effective_dim / dim as f64, 0.2, 0.42, &report);
        within("hubs", report.hubs.0, 1.0, 2.8, &report);
        within("twins", report.twins, 0.001, 0.015, &report);
        within("recall at 16 probes", report.leaves.recall_at(16), 0.82, 0.96, &report);
        within("recall at 64 probes", report.leaves.recall_at(64), 0.93, 0.995, &report);
        within("unevenness", report.leaves.unevenness().0, 0.4, 0.8, &report);
    }
}

#[test]
fn hard_is_as_passages_of_text() {
    let report = report(Difficulty::Hard, 6000, 512);
    // So few rows meet few of each theme: the local dimension is far above that of the sizes that count.
    within("median local dimension", report.lid[1], 30.0, 60.0, &report);
    within("contrast", report.contrast, 1.06, 1.3, &report);
    within("effective dimension", report.effective_dim / 512.0, 0.55, 0.9, &report);
    within("hubs", report.hubs.0, 1.0, 4.0, &report);
    within("twins", report.twins, 0.01, 0.04, &report);
    within("recall at 16 probes", report.leaves.recall_at(16), 0.6, 0.85, &report);
    within("recall at 64 probes", report.leaves.recall_at(64), 0.75, 0.95, &report);
    within("largest leaf", report.leaves.unevenness().1, 3.0, 40.0, &report);
}

#[test]
fn hard_gets_denser_with_rows_as_text_does() {
    let [few, many] = [3000, 24_000].map(|rows| report(Difficulty::Hard, rows, 256));
    assert!(many.contrast > 1.04 * few.contrast, "{few}\n{many}");
    assert!(many.lid[1] < 0.85 * few.lid[1], "{few}\n{many}");
    let share = |report: &Report| report.leaves.probes_for(0.9) as f64 / report.leaves.sizes.len() as f64;
    assert!(share(&many) < 0.75 * share(&few), "{few}\n{many}");
}
