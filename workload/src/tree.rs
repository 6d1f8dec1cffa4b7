//! The tree of topics that rows are mixtures of: paths drawn down it, and the offsets of the nodes on them.
//!
//! A node is its key, and its offset a vector of signs of that key, so that nothing of the tree is stored but the
//! weights of children. Calls [`crate::rng`]; knows neither rows nor files.

use crate::law::Law;
use crate::rng::{exp, ln, mix, Stream};

/// Levels below the root.
pub(crate) const LEVELS: usize = 8;
const MOST_PATHS: usize = 8;

/// Weights of children, and how much each level counts.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: u64,
    /// Cumulative weights of the root's children and of any other node's, ending in 1.
    topics: Vec<f64>,
    children: Vec<f64>,
    /// Scale of a node's offset by level; their squares sum to 1.
    scales: [f64; LEVELS],
    paths: (usize, usize),
    path_weight: (f64, f64),
}

/// Where a row stands: paths, heaviest first as a rule, and the weights of their mixture (squares sum to 1).
pub(crate) struct Place {
    count: usize,
    nodes: [[u64; LEVELS]; MOST_PATHS],
    weights: [f64; MOST_PATHS],
}

impl Tree {
    pub fn new(law: &Law, root: u64) -> Self {
        let below = (1..LEVELS).map(|level| exp(ln(law.fall) * (level - 1) as f64));
        let total: f64 = below.clone().sum();
        let mut scales = [law.topic_share.sqrt(); LEVELS];
        let shares = below.map(|share| (1.0 - law.topic_share) * share / total);
        scales[1..].iter_mut().zip(shares).for_each(|(scale, share)| *scale = share.sqrt());
        Self {
            root,
            topics: cumulative(law.topics, law.topic_zipf),
            children: cumulative(law.children, law.child_zipf),
            scales,
            paths: law.paths,
            path_weight: law.path_weight,
        }
    }

    /// A place of the law.
    pub fn place(&self, stream: &mut Stream) -> Place {
        let (least, most) = self.paths;
        let span = ln((most + 1) as f64 / least as f64);
        let drawn = (least as f64 * exp(stream.unit() * span)) as usize;
        let count = drawn.clamp(least, most);
        let mut place = Place { count, nodes: [[0; LEVELS]; MOST_PATHS], weights: [0.0; MOST_PATHS] };
        let (low, high) = self.path_weight;
        let mut weight = 1.0;
        for path in 0..count {
            place.weights[path] = weight;
            weight *= low + stream.unit() * (high - low);
            let mut node = self.root;
            for (level, slot) in place.nodes[path].iter_mut().enumerate() {
                let children = if level == 0 { &self.topics } else { &self.children };
                let u = stream.unit();
                let child = children.partition_point(|&w| w <= u).min(children.len() - 1);
                node = mix(node, child as u64);
                *slot = node;
            }
        }
        let length = place.weights.iter().map(|w| w * w).sum::<f64>().sqrt();
        place.weights.iter_mut().for_each(|w| *w /= length);
        place
    }

    /// Adds the offsets of all nodes of a place.
    pub fn add(&self, place: &Place, sum: &mut [f32]) {
        for (path, weight) in place.nodes.iter().zip(place.weights).take(place.count) {
            for (node, scale) in path.iter().zip(self.scales) {
                add_signs(*node, (weight * scale) as f32, sum);
            }
        }
    }
}

impl Place {
    /// The node of the first path at a level.
    pub fn node(&self, level: usize) -> u64 {
        self.nodes[0][level]
    }
}

/// Adds `scale` or its negative to each value, by the bits of a key.
fn add_signs(key: u64, scale: f32, sum: &mut [f32]) {
    let mut stream = Stream::new(key);
    for part in sum.chunks_mut(64) {
        let mut bits = stream.bits();
        for value in part {
            *value += f32::from_bits(scale.to_bits() ^ ((bits as u32 & 1) << 31));
            bits >>= 1;
        }
    }
}

/// Cumulative weights (j + 2)^-zipf, ending in 1.
fn cumulative(children: usize, zipf: f64) -> Vec<f64> {
    let weights: Vec<f64> = (0..children).map(|j| exp(-zipf * ln(j as f64 + 2.0))).collect();
    let total: f64 = weights.iter().sum();
    let mut sum = 0.0;
    weights
        .iter()
        .map(|w| {
            sum += w / total;
            sum
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::Difficulty;

    #[test]
    fn places_have_unit_mean_square_and_share_offsets_where_they_share_nodes() {
        let dim = 4096;
        for difficulty in [Difficulty::Typical, Difficulty::Hard] {
            let tree = Tree::new(&Law::of(difficulty, dim), 7);
            let mut stream = Stream::new(1);
            let mut squares = 0.0;
            for _ in 0..200 {
                let mut sum = vec![0.0f32; dim];
                tree.add(&tree.place(&mut stream), &mut sum);
                squares += sum.iter().map(|v| f64::from(v * v)).sum::<f64>() / dim as f64 / 200.0;
            }
            // Above 1 by what paths share.
            assert!((0.97..1.2).contains(&squares), "{squares}");
            let place = tree.place(&mut stream);
            let (mut once, mut again) = (vec![0.0; dim], vec![0.0; dim]);
            tree.add(&place, &mut once);
            tree.add(&place, &mut again);
            assert_eq!(once, again);
        }
    }

    #[test]
    fn children_are_drawn_by_their_weights() {
        let tree = Tree::new(&Law::of(Difficulty::Hard, 8), 3);
        let mut stream = Stream::new(2);
        let mut counts = std::collections::BTreeMap::new();
        (0..10_000).for_each(|_| *counts.entry(tree.place(&mut stream).node(0)).or_insert(0) += 1);
        assert!(counts.len() > 150, "{}", counts.len());
        let most = f64::from(counts.values().copied().max().unwrap()) / 10_000.0;
        assert!((most - tree.topics[0]).abs() < 0.02, "{most} {}", tree.topics[0]);
    }
}
