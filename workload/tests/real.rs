//! The real sets that the repository carries are read as they were made, and their truth is found again.

use std::path::{Path, PathBuf};

use workload::exact::{nearest, Metric};
use workload::rows::{Matrix, Rows};
use workload::vecs::{read_truth, Element, VecFile};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[test]
fn the_truth_beside_the_words_is_found_again_id_for_id() {
    let base = VecFile::open(&at("demo/data/base.f16.npy")).unwrap();
    assert_eq!((base.count(), base.dim(), base.element()), (20_000, 100, Element::F16));
    let queries = Matrix::of(&VecFile::open(&at("demo/data/query.fbin")).unwrap()).unwrap();
    let truth = read_truth(&at("demo/data/truth.ibin")).unwrap();
    assert_eq!((truth.queries(), truth.k), (1000, 10));
    let found = nearest(&base, &queries, Metric::Cosine, 10, 2).unwrap();
    assert_eq!(found.ids, truth.ids);
    assert!(found.distances.iter().zip(&truth.distances).all(|(a, b)| (a - b).abs() < 1e-7));
    for words in ["words.txt", "query_words.txt"] {
        let text = std::fs::read_to_string(at("demo/data").join(words)).unwrap();
        assert_eq!(text.lines().count(), if words == "words.txt" { 20_000 } else { 1000 });
    }
}

#[test]
fn distances_of_pictures_are_whole_numbers() {
    let base = VecFile::open(&at("tests/data/fashion/base.u8bin")).unwrap();
    let queries = Matrix::of(&VecFile::open(&at("tests/data/fashion/query.u8bin")).unwrap()).unwrap();
    assert_eq!((base.count(), base.dim(), queries.count()), (2000, 784, 200));
    let truth = nearest(&base, &queries, Metric::L2, 10, 2).unwrap();
    assert!(truth.distances.iter().all(|d| d.fract() == 0.0 && *d > 0.0));
    assert_eq!(truth.recall(10, &truth.ids), 1.0);
}
