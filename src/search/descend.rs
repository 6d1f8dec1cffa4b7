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
use crate::topk::heap::{rank, Scored};
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

/// Fills `query.leaves` for the leaves of `route`, once [`rank_centres`] has filled `query.bases`.
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
    let QueryScratch { prepared, bases, leaves, .. } = query;
    let tree = &index.tree;
    let probes = route.probes;
    leaves.clear();
    if probes >= tree.leaf_count() {
        try_reserve(leaves, tree.leaf_count() as usize)?;
        leaves.extend((0..tree.leaf_count()).map(|leaf| Scored { distance: 0.0, key: leaf }));
        return Ok(());
    }
    let ranking = Ranking::new(kernels, index, prepared, bases, route.spread_weight);
    let nodes = tree.nodes();
    let root = &nodes[0];
    stage.frontier.clear();
    try_reserve(&mut stage.frontier, bases.len())?;
    try_reserve(leaves, bases.len())?;
    for (nth, base) in bases.iter().enumerate() {
        let node = root.first_child + nth as u32;
        let score = ranking.order(node).score(*base, tree.factors()[node as usize].spread);
        keep(nodes, node, score, &mut stage.frontier, leaves);
    }
    let breadth = (u64::from(probes) * BREADTH).max(u64::from(probes) + BREADTH_MIN);
    while !stage.frontier.is_empty() {
        cut(&mut stage.frontier, nodes, breadth, NODES_MIN);
        let StageScratch { frontier, next, counted, products, .. } = stage;
        let children: u64 = frontier.iter().map(|n| u64::from(nodes[n.key as usize].child_count)).sum();
        stats.nodes_ranked += children;
        next.clear();
        try_reserve(next, children as usize)?;
        try_hold(products, children as usize)?;
        if children > FILTER_SLACK * u64::from(probes) {
            for node in frontier.iter() {
                ranking.by_codes(&nodes[node.key as usize], counted, next);
            }
            // Where links lead on from the leaves, codes choose well enough on every level.
            if index.links.is_none() {
                cut_children(next, nodes, breadth, u64::from(probes));
                ranking.again_by_bytes(next, products);
            }
        } else {
            for node in frontier.iter() {
                let node = &nodes[node.key as usize];
                let scores = ranking.by_bytes(node.first_child, node.child_count as usize, products);
                next.extend(
                    scores.iter().zip(node.first_child..).map(|(s, key)| Scored { distance: *s, key }),
                );
            }
        }
        frontier.clear();
        try_reserve(frontier, next.len())?;
        try_reserve(leaves, next.len())?;
        for node in next.iter() {
            keep(nodes, node.key, node.distance, frontier, leaves);
        }
    }
    order(leaves, nodes, probes as usize);
    Ok(())
}

/// Keeps the `probes` best of the nodes, best first, and gives them their numbers as leaves.
fn order(leaves: &mut Vec<Scored<u32>>, nodes: &[Node], probes: usize) {
    if leaves.len() > probes {
        leaves.select_nth_unstable_by_key(probes - 1, place);
        leaves.truncate(probes);
    }
    leaves.sort_unstable_by_key(place);
    for leaf in leaves.iter_mut() {
        leaf.key = nodes[leaf.key as usize].first_leaf;
    }
}

/// A number that sorts as [`Scored::order`] does.
#[inline]
fn place(node: &Scored<u32>) -> u64 {
    u64::from(rank(node.distance)) << 32 | u64::from(node.key)
}

/// Fills `query.bases`, the distances of the query to the centres of the codes, exact up to rounding in one fixed
/// order. `query.prepared` is ready.
pub fn rank_centres(kernels: &Kernels, index: &SegmentIndex, query: &mut QueryScratch) {
    let QueryScratch { prepared, bases, .. } = query;
    bases.clear();
    let metric = index.quantiser.metric;
    bases.extend(index.tree.centres().map(|centre| centre_distance(kernels, metric, centre, prepared)));
}

/// The distance of the query to one rotated centre.
pub fn centre_distance(kernels: &Kernels, metric: Metric, centre: &[f32], prepared: &PreparedQuery) -> f32 {
    match metric {
        Metric::L2 => kernels.l2_f32(centre, &prepared.rotated),
        Metric::Cosine => 0.5 * kernels.l2_f32(centre, &prepared.rotated),
        Metric::InnerProduct => -kernels.dot_f32(centre, &prepared.rotated),
    }
}

/// Puts a node where it belongs: leaves aside, inner nodes on the frontier.
fn keep(
    nodes: &[Node],
    node: u32,
    score: f32,
    frontier: &mut Vec<Scored<u32>>,
    leaves: &mut Vec<Scored<u32>>,
) {
    let list = if nodes[node as usize].is_leaf() { leaves } else { frontier };
    list.push(Scored { distance: score, key: node });
}

/// Keeps the best nodes, at least `least`, that together have `wanted` leaves below them.
fn cut(list: &mut Vec<Scored<u32>>, nodes: &[Node], wanted: u64, least: usize) {
    let below: u64 = list.iter().map(|n| u64::from(nodes[n.key as usize].leaf_count)).sum();
    if below <= wanted || list.len() <= least {
        return;
    }
    // Sort little more than what stays: node sizes are close to their mean.
    let guess = (list.len() as u64 * wanted / below + 4) * 5 / 4;
    let head = (guess as usize).max(least).min(list.len());
    if head < list.len() {
        list.select_nth_unstable_by_key(head, place);
    }
    list[..head].sort_unstable_by_key(place);
    if let Some(end) = covering(&list[..head], nodes, wanted) {
        list.truncate(end.max(least));
        return;
    }
    list.sort_unstable_by_key(place);
    let end = covering(list, nodes, wanted).unwrap_or(list.len());
    list.truncate(end.max(least));
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

/// What the codes let through: among leaves twice the probes, among inner nodes twice the breadth.
fn cut_children(list: &mut Vec<Scored<u32>>, nodes: &[Node], breadth: u64, probes: u64) {
    let inner = list.iter().any(|node| !nodes[node.key as usize].is_leaf());
    let (wanted, least) = if inner { (breadth, 2 * NODES_MIN) } else { (probes, 1) };
    cut(list, nodes, FILTER_SLACK * wanted, least);
}

/// Scores of nodes for one query, comparable with the distances to the centres.
struct Ranking<'a> {
    kernels: &'a Kernels,
    tree: &'a Tree,
    prepared: &'a PreparedQuery,
    bases: &'a [f32],
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
        bases: &'a [f32],
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
            bases,
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

    /// How a node is ranked among those of its level. Cells and leaves as it was tuned for them; nodes above the cells
    /// as these were gathered, by the distance of their centroids or, under cosine, by direction: another order would
    /// pass over the one that has what is close (`docs/experiments.md`).
    fn order(&self, node: u32) -> Order {
        let nodes = self.tree.nodes();
        let node = &nodes[node as usize];
        if node.is_leaf() || nodes[node.first_child as usize].is_leaf() {
            self.lower
        } else {
            self.upper
        }
    }

    /// Appends the children of `node`, scored by their codes.
    fn by_codes(&self, node: &Node, counted: &mut [i32], out: &mut Vec<Scored<u32>>) {
        let mut first = node.first_child;
        let end = node.first_child + node.child_count;
        // Below the root, all of them are relative to the centre above.
        let base = self.bases[self.tree.nodes()[first as usize].centre as usize];
        let order = self.order(first);
        while first < end {
            let count = (end - first).min(BLOCK_ROWS as u32);
            let block = &mut counted[..count as usize];
            estimate::count(self.kernels, self.shape, self.prepared, self.tree.codes(first, count), block);
            let factors = &self.tree.factors()[first as usize..][..count as usize];
            out.extend(block.iter().zip(factors).zip(first..).map(|((counted, factors), key)| {
                let distance = estimate::estimate(self.prepared, base, factors.code, *counted);
                Scored { distance: order.score(distance, factors.spread), key }
            }));
            first += count;
        }
    }

    /// Scores the nodes of a list anew, by their 8-bit centroids.
    fn again_by_bytes(&self, list: &mut [Scored<u32>], products: &mut Vec<i32>) {
        for nth in 0..list.len() {
            if let Some(ahead) = list.get(nth + PREFETCH_AHEAD) {
                self.kernels.prefetch_lines(bytemuck::cast_slice(self.tree.bytes_of(ahead.key, 1)));
            }
            list[nth].distance = self.by_bytes(list[nth].key, 1, products)[0];
        }
    }

    /// Scores of `count` nodes from `first` on, by their 8-bit centroids.
    fn by_bytes<'b>(&self, first: u32, count: usize, products: &'b mut Vec<i32>) -> &'b [f32] {
        products.resize(count.max(products.len()), 0);
        let block = &mut products[..count];
        self.kernels.dot_i8(self.tree.bytes_of(first, count as u32), &self.prepared.bytes, block);
        let factors = &self.tree.factors()[first as usize..][..count];
        let order = self.order(first);
        for (product, NodeFactors { rank_offset, rank_scale, spread, .. }) in block.iter_mut().zip(factors) {
            let distance =
                self.constant + rank_offset - rank_scale * (self.prepared.byte_step * *product as f32);
            let score = order.score(distance, *spread);
            *product = score.to_bits() as i32;
        }
        bytemuck::cast_slice(block)
    }
}
