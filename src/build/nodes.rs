//! The arrays of the tree, from the levels of pass 1 and the leaves of pass 2.
//!
//! Nodes are numbered breadth first: root, the levels above the cells, cells, leaves. Every cell has at least one leaf
//! below it, so all leaves are on the last level, in the order of positions.

use crate::build::encode::Encoded;
use crate::build::layout::BuildLayout;
use crate::build::partition::Partition;
use crate::build::transform::Transform;
use crate::build::Work;
use crate::index::tree::{Node, NodeFactors, TreeParts};
use crate::kernels::lanes::{self, nearest_i8};
use crate::memory::{try_collect, try_vec, try_with_capacity, AlignedBytes};
use crate::quantize::encode::{metric_weights, Encoder};
use crate::types::{Metric, Result};

/// The arrays of a tree, and the exact rotated centroid of every node in their order.
pub struct Nodes {
    /// What is searched.
    pub parts: TreeParts,
    /// `padded` floats a node.
    pub centroids: AlignedBytes,
}

/// Makes the arrays. O(nodes * dim log dim).
///
/// # Errors
/// `VDB_OUT_OF_MEMORY`.
pub fn nodes(
    work: &Work<'_>,
    layout: &BuildLayout,
    partition: &Partition,
    transform: &Transform,
    encoded: &Encoded,
) -> Result<Nodes> {
    let nodes = number(layout, partition, encoded)?;
    let padded = layout.shape.padded;
    let mut centroids = AlignedBytes::zeroed(nodes.len() * padded * 4)?;
    fill_centroids(work, partition, transform, encoded, padded, centroids.as_mut_slice());
    let mut parts = TreeParts {
        nodes: AlignedBytes::zeroed(nodes.len() * std::mem::size_of::<Node>())?,
        factors: AlignedBytes::zeroed(nodes.len() * std::mem::size_of::<NodeFactors>())?,
        bytes: AlignedBytes::zeroed(nodes.len() * padded)?,
        codes: AlignedBytes::zeroed(nodes.len() * layout.shape.row_bytes())?,
        centres: AlignedBytes::zeroed(transform.centres.len() * 4)?,
    };
    parts.nodes.as_mut_slice::<Node>().copy_from_slice(&nodes);
    parts.centres.as_mut_slice::<f32>().copy_from_slice(&transform.centres);
    let (weight, unit) = metric_weights(work.metric);
    let norms = mean_norms(&nodes, encoded)?;
    let mut encoder = Encoder::new(work.kernels, layout.shape, work.metric, &transform.mean)?;
    let mut shifted = try_vec(padded, 0.0f32)?;
    let code_bytes = layout.shape.row_bytes();
    for (number, node) in nodes.iter().enumerate() {
        let centroid = &centroids.as_slice::<f32>()[number * padded..][..padded];
        shifted.iter_mut().zip(centroid).zip(&transform.mean).for_each(|((s, c), g)| *s = c - g);
        let norm_sq = work.kernels.dot_f32(&shifted, &shifted);
        let step = to_bytes(&shifted, &mut parts.bytes[number * padded..][..padded]);
        let centre = &transform.centres[node.centre as usize * padded..][..padded];
        let (code, _) =
            encoder.encode(centroid, centre, &mut parts.codes[number * code_bytes..][..code_bytes]);
        let residual_sq = (norms[number] as f32 - work.kernels.dot_f32(centroid, centroid)).max(0.0);
        let (rank_offset, spread) = match work.metric {
            Metric::InnerProduct => (0.0, (residual_sq / layout.dim as f32).sqrt()),
            _ => (unit * norm_sq, unit * residual_sq),
        };
        parts.factors.as_mut_slice::<NodeFactors>()[number] =
            NodeFactors { code, rank_offset, rank_scale: weight * step, spread };
    }
    Ok(Nodes { parts, centroids })
}

/// Mean squared length of the rows below each node.
fn mean_norms(nodes: &[Node], encoded: &Encoded) -> Result<Vec<f64>> {
    let mut sums = try_vec(nodes.len(), 0.0f64)?;
    for (number, node) in nodes.iter().enumerate().rev() {
        if node.is_leaf() {
            let leaf = encoded.leaves.get(node.first_leaf as usize);
            sums[number] = leaf.map_or(0.0, |leaf| leaf.mean_norm_sq * f64::from(leaf.rows));
        }
        if number > 0 {
            sums[node.parent as usize] += sums[number];
        }
    }
    sums.iter_mut().zip(nodes).for_each(|(sum, node)| *sum /= f64::from(node.row_count.max(1)));
    Ok(sums)
}

/// 8-bit form of a vector; returns the step between two levels.
fn to_bytes(vector: &[f32], out: &mut [u8]) -> f32 {
    let largest = lanes::largest(vector);
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    for (byte, x) in out.iter_mut().zip(vector) {
        *byte = nearest_i8(x * inverse) as u8;
    }
    largest / 127.0
}

fn fill_centroids(
    work: &Work<'_>,
    partition: &Partition,
    transform: &Transform,
    encoded: &Encoded,
    padded: usize,
    out: &mut [f32],
) {
    let mut slots = out.chunks_exact_mut(padded);
    let upper = partition.levels.iter().flatten().map(|node| &node.centroid);
    for centroid in std::iter::once(&partition.mean).chain(upper) {
        if let Some(slot) = slots.next() {
            transform.rotation.apply(work.kernels, centroid, slot);
        }
    }
    for (leaf, slot) in encoded.leaves.iter().zip(slots) {
        slot.copy_from_slice(&leaf.centroid);
    }
}

/// Numbers, ranges, parents and centres of all nodes.
fn number(layout: &BuildLayout, partition: &Partition, encoded: &Encoded) -> Result<Vec<Node>> {
    let root = Node {
        row_count: layout.rows as u32,
        leaf_count: encoded.leaves.len().max(1) as u32,
        parent: u32::MAX,
        ..Node::default()
    };
    let counts = || partition.levels.iter().map(Vec::len).chain([encoded.leaves.len()]);
    let mut nodes = try_with_capacity(1 + counts().sum::<usize>())?;
    nodes.push(root);
    if layout.flat {
        return Ok(nodes);
    }
    let starts: Vec<u32> = try_collect(counts().scan(1u32, |next, count| {
        let start = *next;
        *next += count as u32;
        Some(start)
    }))?;
    nodes[0].first_child = 1;
    nodes[0].child_count = starts[1] - starts[0];
    for (level, upper) in partition.levels.iter().enumerate() {
        let cells = level + 1 == partition.levels.len();
        let mut next_leaf = 0;
        for (nth, node) in upper.iter().enumerate() {
            let (first, count) = if cells {
                let first = next_leaf;
                next_leaf += encoded.cell_leaves[nth];
                (first, encoded.cell_leaves[nth])
            } else {
                (node.first_child, node.child_count)
            };
            nodes.push(Node {
                first_child: starts[level + 1] + first,
                child_count: count,
                ..Node::default()
            });
        }
    }
    let mut first_row = 0;
    for (number, leaf) in encoded.leaves.iter().enumerate() {
        let first_leaf = number as u32;
        nodes.push(Node { first_row, row_count: leaf.rows, first_leaf, leaf_count: 1, ..Node::default() });
        first_row += leaf.rows;
    }
    link(&mut nodes);
    Ok(nodes)
}

/// Fills ranges from below, parents and centres from above.
fn link(nodes: &mut [Node]) {
    for number in (1..nodes.len()).rev() {
        let node = nodes[number];
        if node.is_leaf() {
            continue;
        }
        let children = node.first_child as usize..(node.first_child + node.child_count) as usize;
        let (first_row, first_leaf) = (nodes[children.start].first_row, nodes[children.start].first_leaf);
        let rows = nodes[children.clone()].iter().map(|child| child.row_count).sum();
        let leaves = nodes[children].iter().map(|child| child.leaf_count).sum();
        let node = &mut nodes[number];
        (node.first_row, node.row_count, node.first_leaf, node.leaf_count) =
            (first_row, rows, first_leaf, leaves);
    }
    for number in 0..nodes.len() {
        let node = nodes[number];
        for (nth, child) in (node.first_child..node.first_child + node.child_count).enumerate() {
            let child = &mut nodes[child as usize];
            child.parent = number as u32;
            child.centre = if number == 0 { nth as u32 } else { node.centre };
        }
    }
}
