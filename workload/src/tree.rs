//! The tree of topics that rows are mixtures of: paths drawn down it, and the offsets of the nodes on them.
//!
//! A theme is a mixture that many rows have in common, as passages repeat not only subjects but what is said of them:
//! without themes two rows share a path at most, and a mixture finds no neighbours among any number of rows.
//!
//! A node is its key, and its offset a vector of signs of that key, so that nothing of the tree is stored but the
//! weights of children. Calls [`crate::rng`]; knows neither rows nor files.

use crate::law::Law;
use crate::rng::{exp, ln, mix, Stream};

/// Levels below the root.
pub(crate) const LEVELS: usize = 8;
const MOST_PATHS: usize = 8;
/// Keeps the keys of themes apart from those of nodes.
const THEMES: u64 = 0x7E3E;

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
    themes: Option<(f64, f64)>,
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
            themes: law.themes,
        }
    }

    /// A place of the law. Where there are themes it is that of one of them, each path down to a level of the row's
    /// choice and the row's own below.
    pub fn place(&self, stream: &mut Stream) -> Place {
        let Some((common, all)) = self.themes else { return self.mixture(stream) };
        let theme = (common * exp(stream.unit() * ln(all / common))) as u64;
        let mut place = self.mixture(&mut Stream::new(mix(mix(self.root, THEMES), theme)));
        for path in &mut place.nodes[..place.count] {
            let kept = 1 + stream.below(LEVELS as u64) as usize;
            self.descend(path, kept, stream);
        }
        place
    }

    /// A place that a stream alone decides.
    fn mixture(&self, stream: &mut Stream) -> Place {
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
            self.descend(&mut place.nodes[path], 0, stream);
        }
        let length = place.weights.iter().map(|w| w * w).sum::<f64>().sqrt();
        place.weights.iter_mut().for_each(|w| *w /= length);
        place
    }

    /// Draws the nodes of a path from a level on, below those above it.
    fn descend(&self, path: &mut [u64; LEVELS], from: usize, stream: &mut Stream) {
        let mut node = if from == 0 { self.root } else { path[from - 1] };
        for (level, slot) in path.iter_mut().enumerate().skip(from) {
            let children = if level == 0 { &self.topics } else { &self.children };
            let u = stream.unit();
            let child = children.partition_point(|&w| w <= u).min(children.len() - 1);
            node = mix(node, child as u64);
            *slot = node;
        }
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
    fn rows_share_all_paths_of_a_theme_and_only_with_it() {
        let law = Law::of(Difficulty::Hard, 8);
        let tree = Tree::new(&Law { themes: Some((3.0, 3.5)), ..law.clone() }, 7);
        let mut stream = Stream::new(1);
        let first = tree.place(&mut stream);
        let mut parted = [0; LEVELS + 1];
        for _ in 0..1000 {
            let place = tree.place(&mut stream);
            assert_eq!((place.count, place.weights), (first.count, first.weights));
            for (path, other) in place.nodes.iter().zip(&first.nodes).take(place.count) {
                parted[path.iter().zip(other).take_while(|(a, b)| a == b).count()] += 1;
            }
        }
        // The topic is always the theme's; levels below it are left at any depth.
        assert!(parted[0] == 0 && parted[1..].iter().all(|&rows| rows > 50), "{parted:?}");
        let tree = Tree::new(&Law { themes: None, ..law }, 7);
        let alike = (0..1000).filter(|_| {
            let place = tree.place(&mut stream);
            (0..place.count.min(first.count)).all(|path| place.nodes[path][0] == first.nodes[path][0])
        });
        assert!(alike.count() < 50);
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
