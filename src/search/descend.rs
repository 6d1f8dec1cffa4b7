//! From the root to the leaves that are worth a visit.
//!
//! A level at a time. The nodes of a level are met through the best nodes above them: as many as have enough leaves
//! below. Codes filter first (128 bytes a node at 1,024 dimensions), 8-bit centroids decide among what is left; where a
//! walk along links goes on from the leaves, the codes alone choose. All scores are integers times constants, so the
//! route is the same on every CPU.
//!
//! In: a prepared query. Out: `leaves`, the numbers of the leaves to visit, best first.

use crate::index::segment::SegmentIndex;
use crate::index::tree::{Node, NodeFactors, Tree};
use crate::kernels::Kernels;
use crate::memory::{try_hold, try_reserve};
use crate::quantize::encode::{metric_weights, CodeShape};
use crate::quantize::estimate;
use crate::quantize::query::PreparedQuery;
use crate::search::scratch::{QueryScratch, StageScratch, BLOCK_ROWS};
use crate::stats::SearchStats;
use crate::topk::heap::Scored;
use crate::types::{Metric, Result};

/// Leaves below the nodes that are opened on an inner level, for each leaf that will be visited.
const BREADTH: u64 = 4;
/// And at least so many more.
const BREADTH_MIN: u64 = 96;
/// And at least so many nodes of a level, however many leaves are below each: near the root a true neighbour is often
/// below the tenth best node.
const NODES_MIN: usize = 12;
/// Nodes that codes let through, for each one wanted.
const FILTER_SLACK: u64 = 2;

/// Nodes that are gathered before the best of them are chosen.
const ROOM_MIN: usize = 64;
/// Centroids that are asked for ahead of their turn.
const PREFETCH_AHEAD: usize = 4;

/// How far a descent goes.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Leaves to arrive at.
    pub probes: u32,
    /// How much of a node's spread is added to the distance of its centroid.
    pub spread_weight: f32,
}

/// Fills `query.leaves` for the leaves of `route`; `query.prepared` is ready.
///
/// # Errors
/// `VDB_OUT_OF_MEMORY`: the lists have a place for each node of a level at most.
pub fn descend(
    kernels: &Kernels,
    index: &SegmentIndex,
    route: Route,
    query: &mut QueryScratch,
    stage: &mut StageScratch,
    stats: &mut SearchStats,
) -> Result<()> {
    let QueryScratch { prepared, leaves, .. } = query;
    let tree = &index.tree;
    let probes = route.probes;
    leaves.clear();
    if probes >= tree.leaf_count() {
        try_reserve(leaves, tree.leaf_count() as usize)?;
        leaves.extend((0..tree.leaf_count()).map(|leaf| Scored { distance: 0.0, key: leaf }));
        return Ok(());
    }
    let ranking = Ranking::new(kernels, index, prepared, route.spread_weight);
    let nodes = tree.nodes();
    let breadth = (u64::from(probes) * BREADTH).max(u64::from(probes) + BREADTH_MIN);
    // The root leads to its children whatever its score.
    stage.frontier.clear();
    try_reserve(&mut stage.frontier, 1)?;
    stage.frontier.push(Scored { distance: 0.0, key: 0 });
    while !stage.frontier.is_empty() {
        cut(&mut stage.frontier, nodes, breadth, NODES_MIN);
        let StageScratch { frontier, next, counted, estimates, products, rough, .. } = stage;
        let order = ranking.order(nodes[frontier[0].key as usize].first_child);
        let children: u64 = frontier.iter().map(|n| u64::from(nodes[n.key as usize].child_count)).sum();
        stats.nodes_ranked += children;
        next.clear();
        try_reserve(next, children as usize)?;
        try_hold(products, children as usize)?;
        // The codes of the root's children are relative to themselves.
        if children > FILTER_SLACK * u64::from(probes) && frontier[0].key != 0 {
            let inner = frontier.iter().map(|n| &nodes[n.key as usize]).any(|n| n.leaf_count > n.child_count);
            let (wanted, least) = if inner { (breadth, NODES_MIN) } else { (u64::from(probes), 1) };
            // Where links lead on from the leaves, codes choose well enough on every level.
            let slack = if index.links.is_some() { 1 } else { FILTER_SLACK };
            let mut best = Best::new(next, nodes, slack * wanted, slack as usize * least);
            ranking.children_by_codes(frontier, order, rough, counted, estimates, &mut best);
            if index.links.is_none() {
                ranking.again_by_bytes(next, order, products);
            }
        } else if frontier[0].key == 0 {
            try_hold(rough, children as usize)?;
            ranking.children_of_root(order, rough, products, next);
        } else {
            ranking.children_by_bytes(frontier, order, products, next);
        }
        frontier.clear();
        try_reserve(frontier, next.len())?;
        try_reserve(leaves, next.len())?;
        for node in next.iter() {
            let list = if nodes[node.key as usize].is_leaf() { &mut *leaves } else { &mut *frontier };
            list.push(*node);
        }
    }
    order(leaves, nodes, probes as usize);
    Ok(())
}

/// Keeps the `probes` best of the nodes, best first, and gives them their numbers as leaves.
fn order(leaves: &mut Vec<Scored<u32>>, nodes: &[Node], probes: usize) {
    if leaves.len() > probes {
        leaves.select_nth_unstable_by_key(probes - 1, Scored::place);
        leaves.truncate(probes);
    }
    leaves.sort_unstable_by_key(Scored::place);
    for leaf in leaves.iter_mut() {
        leaf.key = nodes[leaf.key as usize].first_leaf;
    }
}

/// The best of the nodes of a level: what is certain not to be among them is not looked at again.
struct Best<'a> {
    list: &'a mut Vec<Scored<u32>>,
    nodes: &'a [Node],
    /// Leaves that they should have below them, and nodes at least.
    wanted: u64,
    least: usize,
    /// Nodes at which the list is cut next.
    room: usize,
    /// A node with a greater score is not among the best.
    threshold: f32,
}

impl<'a> Best<'a> {
    fn new(list: &'a mut Vec<Scored<u32>>, nodes: &'a [Node], wanted: u64, least: usize) -> Self {
        Best { list, nodes, wanted, least, room: ROOM_MIN.max(2 * least), threshold: f32::INFINITY }
    }

    /// Takes the nodes from `first` on, with these scores.
    #[inline]
    fn take(&mut self, first: u32, scores: &[f32]) {
        for (key, distance) in (first..).zip(scores) {
            // A score that is no number is looked at as any other.
            if *distance > self.threshold {
                continue;
            }
            self.list.push(Scored { distance: *distance, key });
            if self.list.len() == self.room {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        if cut(self.list, self.nodes, self.wanted, self.least) {
            self.threshold = self.list.last().map_or(f32::INFINITY, |last| last.distance);
        }
        self.room = (2 * self.list.len()).max(ROOM_MIN);
    }
}

/// Keeps the best nodes, at least `least`, that together have `wanted` leaves below them. True if others there were:
/// then they are in order, best first.
fn cut(list: &mut Vec<Scored<u32>>, nodes: &[Node], wanted: u64, least: usize) -> bool {
    let below: u64 = list.iter().map(|n| u64::from(nodes[n.key as usize].leaf_count)).sum();
    if below <= wanted || list.len() <= least {
        return false;
    }
    // Sort little more than what stays: node sizes are close to their mean.
    let guess = (list.len() as u64 * wanted / below + 4) * 5 / 4;
    let head = (guess as usize).max(least).min(list.len());
    if head < list.len() {
        list.select_nth_unstable_by_key(head, Scored::place);
    }
    list[..head].sort_unstable_by_key(Scored::place);
    if let Some(end) = covering(&list[..head], nodes, wanted) {
        list.truncate(end.max(least));
        return true;
    }
    list.sort_unstable_by_key(Scored::place);
    let end = covering(list, nodes, wanted).unwrap_or(list.len());
    list.truncate(end.max(least));
    true
}

/// The length of the shortest prefix with `wanted` leaves below it.
fn covering(list: &[Scored<u32>], nodes: &[Node], wanted: u64) -> Option<usize> {
    let mut below = 0u64;
    list.iter()
        .position(|node| {
            below += u64::from(nodes[node.key as usize].leaf_count);
            below >= wanted
        })
        .map(|at| at + 1)
}

/// Scores of nodes for one query, comparable with the distances to the centres.
struct Ranking<'a> {
    kernels: &'a Kernels,
    tree: &'a Tree,
    prepared: &'a PreparedQuery,
    shape: CodeShape,
    /// The part of every distance that only the query decides.
    constant: f32,
    /// The order of cells and leaves.
    lower: Order,
    /// The order of nodes above the cells.
    upper: Order,
}

/// How nodes of a level are ranked.
#[derive(Clone, Copy)]
enum Order {
    /// By distance and so much of the spread.
    Weighted(f32),
    /// By the angle between query and centroid; of distances and spreads under cosine.
    Direction,
}

impl Order {
    /// Smaller is closer.
    #[inline]
    fn score(self, distance: f32, spread: f32) -> f32 {
        match self {
            Order::Weighted(weight) => distance + weight * spread,
            // Of rows and a query of length 1: |c|^2 = 1 - 2 spread, and the product 1 - spread - distance.
            Order::Direction => {
                (spread + distance - 1.0) / (1.0 - 2.0 * spread).max(f32::MIN_POSITIVE).sqrt()
            }
        }
    }
}

impl<'a> Ranking<'a> {
    fn new(
        kernels: &'a Kernels,
        index: &'a SegmentIndex,
        prepared: &'a PreparedQuery,
        spread_weight: f32,
    ) -> Self {
        let shape = index.quantiser.shape;
        let (_, unit) = metric_weights(index.quantiser.metric);
        let constant = unit * prepared.length * prepared.length;
        let metric = index.quantiser.metric;
        // The best row of a wide leaf has the greater product: the longer the query, the more.
        let spread_weight =
            if metric == Metric::InnerProduct { -spread_weight * prepared.length } else { spread_weight };
        Ranking {
            kernels,
            tree: &index.tree,
            prepared,
            shape,
            constant,
            lower: Order::Weighted(spread_weight),
            upper: match metric {
                Metric::L2 => Order::Weighted(0.0),
                Metric::Cosine => Order::Direction,
                Metric::InnerProduct => Order::Weighted(spread_weight),
            },
        }
    }

    /// How the nodes of a level are ranked, one of which is `node`. Cells and leaves as it was tuned for them; nodes
    /// above the cells as these were gathered, by the distance of their centroids or, under cosine, by direction:
    /// another order would pass over the one that has what is close (`docs/experiments.md`).
    fn order(&self, node: u32) -> Order {
        let nodes = self.tree.nodes();
        let node = &nodes[node as usize];
        if node.is_leaf() || nodes[node.first_child as usize].is_leaf() {
            self.lower
        } else {
            self.upper
        }
    }

    /// All children of the root, by their 8-bit centroids, and their distances: those to the centres of the codes, near
    /// enough to rank nodes by, where the exact ones would be 4 KB of floats each at 1,024 dimensions.
    fn children_of_root(
        &self,
        order: Order,
        distances: &mut Vec<f32>,
        products: &mut Vec<i32>,
        out: &mut Vec<Scored<u32>>,
    ) {
        let root = &self.tree.nodes()[0];
        distances.clear();
        let scores =
            self.by_bytes(root.first_child, root.child_count as usize, Order::Weighted(0.0), products);
        distances.extend_from_slice(scores);
        for (key, distance) in (root.first_child..).zip(distances.iter()) {
            let distance = order.score(*distance, self.tree.spreads()[key as usize]);
            out.push(Scored { distance, key });
        }
    }

    /// The best of the children of `nodes`, by their codes; `bases` are the distances to the centres of these.
    fn children_by_codes(
        &self,
        nodes: &[Scored<u32>],
        order: Order,
        bases: &[f32],
        counted: &mut [i32],
        scores: &mut [f32],
        best: &mut Best<'_>,
    ) {
        let node = |nth: usize| nodes.get(nth).map(|node| &self.tree.nodes()[node.key as usize]);
        node(0).into_iter().for_each(|first| self.ask(first));
        for nth in 0.. {
            let Some(parent) = node(nth) else { break };
            node(nth + 1).into_iter().for_each(|next| self.ask(next));
            self.by_codes(parent, bases[parent.centre as usize], order, counted, scores, best);
        }
        best.cut();
    }

    /// All children of `nodes`, by their 8-bit centroids.
    fn children_by_bytes(
        &self,
        nodes: &[Scored<u32>],
        order: Order,
        products: &mut Vec<i32>,
        out: &mut Vec<Scored<u32>>,
    ) {
        for node in nodes {
            let node = &self.tree.nodes()[node.key as usize];
            let scores = self.by_bytes(node.first_child, node.child_count as usize, order, products);
            out.extend(scores.iter().zip(node.first_child..).map(|(s, key)| Scored { distance: *s, key }));
        }
    }

    /// Asks for what [`by_codes`](Self::by_codes) will read of the children of `node`.
    fn ask(&self, node: &Node) {
        let count = node.child_count.min(BLOCK_ROWS as u32);
        self.kernels.prefetch_lines(self.tree.codes(node.first_child, count));
        let places = node.first_child as usize..(node.first_child + count) as usize;
        self.kernels.prefetch_lines(bytemuck::cast_slice(&self.tree.code_factors()[places.clone()]));
        self.kernels.prefetch_lines(bytemuck::cast_slice(&self.tree.spreads()[places]));
    }

    /// Offers the children of `node`, scored by their codes, which are relative to a centre at the distance `base`.
    fn by_codes(
        &self,
        node: &Node,
        base: f32,
        order: Order,
        counted: &mut [i32],
        scores: &mut [f32],
        best: &mut Best<'_>,
    ) {
        let mut first = node.first_child;
        let end = node.first_child + node.child_count;
        while first < end {
            let count = (end - first).min(BLOCK_ROWS as u32);
            let (counted, scores) = (&mut counted[..count as usize], &mut scores[..count as usize]);
            estimate::count(self.kernels, self.shape, self.prepared, self.tree.codes(first, count), counted);
            let places = first as usize..(first + count) as usize;
            let (factors, spreads) =
                (&self.tree.code_factors()[places.clone()], &self.tree.spreads()[places]);
            for (((score, counted), factors), spread) in
                scores.iter_mut().zip(counted).zip(factors).zip(spreads)
            {
                let distance = estimate::estimate(self.prepared, base, *factors, *counted);
                *score = order.score(distance, *spread);
            }
            best.take(first, scores);
            first += count;
        }
    }

    /// Scores the nodes of a list anew, by their 8-bit centroids.
    fn again_by_bytes(&self, list: &mut [Scored<u32>], order: Order, products: &mut Vec<i32>) {
        for nth in 0..list.len() {
            if let Some(ahead) = list.get(nth + PREFETCH_AHEAD) {
                self.kernels.prefetch_lines(bytemuck::cast_slice(self.tree.bytes_of(ahead.key, 1)));
            }
            list[nth].distance = self.by_bytes(list[nth].key, 1, order, products)[0];
        }
    }

    /// Scores of `count` nodes from `first` on, by their 8-bit centroids.
    fn by_bytes<'b>(&self, first: u32, count: usize, order: Order, products: &'b mut Vec<i32>) -> &'b [f32] {
        products.resize(count.max(products.len()), 0);
        let block = &mut products[..count];
        self.kernels.dot_i8(self.tree.bytes_of(first, count as u32), &self.prepared.bytes, block);
        let factors = &self.tree.factors()[first as usize..][..count];
        for (product, NodeFactors { rank_offset, rank_scale, spread, .. }) in block.iter_mut().zip(factors) {
            let distance =
                self.constant + rank_offset - rank_scale * (self.prepared.byte_step * *product as f32);
            let score = order.score(distance, *spread);
            *product = score.to_bits() as i32;
        }
        bytemuck::cast_slice(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;

    #[test]
    fn the_best_are_those_of_all_nodes_in_order() {
        let mut random = SplitMix64::new(8);
        for (count, leaves_max, wanted, least) in
            [(1_000, 9, 110, 12), (1_000, 1, 14, 1), (30, 5, 1_000, 1), (700, 40, 1, 24), (65, 1, 64, 64)]
        {
            let node = |random: &mut SplitMix64| Node {
                leaf_count: 1 + random.below(leaves_max) as u32,
                ..Node::default()
            };
            let nodes: Vec<Node> = (0..count).map(|_| node(&mut random)).collect();
            // Many of them alike.
            let scores: Vec<f32> = (0..count).map(|_| random.below(200) as f32).collect();
            let mut expected: Vec<Scored<u32>> =
                scores.iter().zip(0..).map(|(distance, key)| Scored { distance: *distance, key }).collect();
            cut(&mut expected, &nodes, wanted, least);
            let mut list = Vec::new();
            let mut best = Best::new(&mut list, &nodes, wanted, least);
            for (nth, scores) in scores.chunks(58).enumerate() {
                best.take(58 * nth as u32, scores);
            }
            best.cut();
            let keys = |list: &[Scored<u32>]| list.iter().map(|node| node.key).collect::<Vec<_>>();
            assert_eq!(keys(&list), keys(&expected));
            assert!(count < 60 || list.len() < count);
        }
    }
}
