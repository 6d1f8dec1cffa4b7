//! The tree of one segment: nodes level by level, with exact positions, 8-bit centroids and codes.
//!
//! Nodes are numbered breadth first, the root being 0, so that the children of a node stand side by side in every
//! array and a stage ranks them as one block. Leaves are numbered in the order of their rows. The rows below any
//! node are a contiguous range of positions.
//!
//! The children of the root are the *centres* of the codes: each row's code is relative to the centre above it.
//! A tree whose root is a leaf (a flat segment) has one centre, the root.

use bytemuck::{Pod, Zeroable};

use crate::index::centres::RowCentres;
use crate::memory::{try_collect, try_vec, try_with_capacity, AlignedBytes};
use crate::quantize::encode::{CodeShape, Factors};
use crate::types::{Error, Result};

/// Deepest tree that is accepted.
pub const LEVELS_MAX: usize = 16;

/// One node, as it is stored. 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Node {
    /// Number of the first child; 0 for a leaf.
    pub first_child: u32,
    /// Children; 0 for a leaf.
    pub child_count: u32,
    /// Position of the first row below.
    pub first_row: u32,
    /// Rows below.
    pub row_count: u32,
    /// Number of the first leaf below, in the order of rows.
    pub first_leaf: u32,
    /// Leaves below; 1 for a leaf.
    pub leaf_count: u32,
    /// The centre above: 0 to centres - 1. 0 for the root.
    pub centre: u32,
    /// Number of the parent; `u32::MAX` for the root.
    pub parent: u32,
}

impl Node {
    /// Positions of the rows below.
    #[inline]
    pub fn rows(&self) -> std::ops::Range<u32> {
        self.first_row..self.first_row + self.row_count
    }

    /// True for a node with rows of its own.
    #[inline]
    pub fn is_leaf(&self) -> bool {
        self.child_count == 0
    }
}

/// What ranks a node: by its code, and by its 8-bit centroid. 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct NodeFactors {
    /// The centroid's code, encoded as a row is.
    pub code: Factors,
    /// Distance to a query is `rank_offset - rank_scale * <bytes, query bytes>`, up to a constant of the query.
    pub rank_offset: f32,
    /// See `rank_offset`; to be multiplied by the query's own step.
    pub rank_scale: f32,
    /// How far the rows below lie from the centroid: their mean squared residual in the metric's distance, or under
    /// inner product the root of it over the root of the dimension. A search adds it in the proportion that the build
    /// found best: rows of a wide leaf are farther than its centroid is.
    pub spread: f32,
}

/// The arrays of a tree as they come from a file or a build.
pub struct TreeParts {
    /// [`Node`] records.
    pub nodes: AlignedBytes,
    /// [`NodeFactors`] records.
    pub factors: AlignedBytes,
    /// `padded` bytes a node: the centroid less the mean, in 8 bits.
    pub bytes: AlignedBytes,
    /// One code a node.
    pub codes: AlignedBytes,
    /// `padded` floats a centre: the exact rotated centroids of the root's children.
    pub centres: AlignedBytes,
}

/// A tree that has been checked.
pub struct Tree {
    parts: TreeParts,
    shape: CodeShape,
    leaf_nodes: Vec<u32>,
    level_starts: Vec<u32>,
    /// What a descent reads of the factors, in arrays of their own.
    code_factors: Vec<Factors>,
    spreads: Vec<f32>,
    centre_of: RowCentres,
}

impl Tree {
    /// Checks that the arrays form a tree over exactly `rows` rows. O(nodes).
    ///
    /// # Errors
    /// `VDB_CORRUPT`, with the first thing that is wrong.
    pub fn new(parts: TreeParts, shape: CodeShape, rows: u64) -> Result<Self> {
        let nodes = parts.nodes.as_slice::<Node>();
        let count = nodes.len();
        let sizes_agree = count > 0
            && count < u32::MAX as usize
            && std::mem::size_of_val(nodes) == parts.nodes.len()
            && parts.factors.len() == count * std::mem::size_of::<NodeFactors>()
            && Some(parts.bytes.len()) == count.checked_mul(shape.padded)
            && Some(parts.codes.len()) == count.checked_mul(shape.row_bytes());
        if !sizes_agree {
            return Err(Error::corrupt("tree: its arrays have different numbers of nodes"));
        }
        let level_starts = check_shape(nodes, rows)?;
        let root = nodes[0];
        let centres = root.child_count.max(1) as usize;
        if parts.centres.len() != centres * shape.padded * 4 {
            return Err(Error::corrupt("tree: the exact centroids of the root's children are missing"));
        }
        let finite = parts.centres.as_slice::<f32>().iter().all(|x| x.is_finite())
            && parts.factors.as_slice::<f32>().iter().all(|x| x.is_finite());
        if !finite {
            return Err(Error::corrupt("tree: a centroid or factor is not a finite number"));
        }
        let mut leaf_nodes = try_vec(root.leaf_count as usize, 0u32)?;
        for (number, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_leaf()) {
            leaf_nodes[node.first_leaf as usize] = number as u32;
        }
        let factors = parts.factors.as_slice::<NodeFactors>();
        let code_factors = try_collect(factors.iter().map(|factors| factors.code))?;
        let spreads = try_collect(factors.iter().map(|factors| factors.spread))?;
        let children = &nodes[root.first_child as usize..][..root.child_count as usize];
        let ends = children.iter().map(|child| child.first_row + child.row_count);
        let ends = if children.is_empty() { try_vec(1, root.row_count)? } else { try_collect(ends)? };
        let centre_of = RowCentres::new(ends)?;
        Ok(Tree { parts, shape, leaf_nodes, level_starts, code_factors, spreads, centre_of })
    }

    /// All nodes, the root first.
    #[inline]
    pub fn nodes(&self) -> &[Node] {
        self.parts.nodes.as_slice()
    }

    /// What ranks the nodes.
    #[inline]
    pub fn factors(&self) -> &[NodeFactors] {
        self.parts.factors.as_slice()
    }

    /// The factors of the nodes' codes.
    #[inline]
    pub fn code_factors(&self) -> &[Factors] {
        &self.code_factors
    }

    /// See [`NodeFactors::spread`].
    #[inline]
    pub fn spreads(&self) -> &[f32] {
        &self.spreads
    }

    /// The centre that the code of a row is relative to.
    #[inline]
    pub fn centre_of(&self, position: u32) -> u32 {
        self.centre_of.of(position)
    }

    /// The codes of `count` nodes from `first` on.
    #[inline]
    pub fn codes(&self, first: u32, count: u32) -> &[u8] {
        let bytes = self.shape.row_bytes();
        &self.parts.codes[first as usize * bytes..][..count as usize * bytes]
    }

    /// The 8-bit centroids of `count` nodes from `first` on.
    #[inline]
    pub fn bytes_of(&self, first: u32, count: u32) -> &[i8] {
        let padded = self.shape.padded;
        bytemuck::cast_slice(&self.parts.bytes[first as usize * padded..][..count as usize * padded])
    }

    /// The exact rotated centres of the codes, `padded` floats each.
    pub fn centres(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.parts.centres.as_slice::<f32>().chunks_exact(self.shape.padded)
    }

    /// One of the centres.
    #[inline]
    pub fn centre(&self, centre: u32) -> &[f32] {
        &self.parts.centres.as_slice::<f32>()[centre as usize * self.shape.padded..][..self.shape.padded]
    }

    /// Number of the root's children, or 1 if the root is a leaf.
    pub fn centre_count(&self) -> usize {
        self.nodes()[0].child_count.max(1) as usize
    }

    /// Leaves.
    #[inline]
    pub fn leaf_count(&self) -> u32 {
        self.leaf_nodes.len() as u32
    }

    /// The node of a leaf.
    #[inline]
    pub fn leaf(&self, leaf: u32) -> &Node {
        &self.nodes()[self.leaf_nodes[leaf as usize] as usize]
    }

    /// The node number of a leaf.
    #[inline]
    pub fn leaf_node(&self, leaf: u32) -> u32 {
        self.leaf_nodes[leaf as usize]
    }

    /// The leaf that holds a position. O(log leaves).
    pub fn leaf_of(&self, position: u32) -> u32 {
        self.leaf_nodes.partition_point(|node| self.nodes()[*node as usize].first_row <= position) as u32 - 1
    }

    /// Number of the first node of each level, and the number of nodes at the end.
    pub fn level_starts(&self) -> &[u32] {
        &self.level_starts
    }

    /// True if the root is the only leaf.
    pub fn is_flat(&self) -> bool {
        self.nodes()[0].is_leaf()
    }

    /// Bytes of the arrays, as they are stored.
    pub fn stored_bytes(&self) -> u64 {
        let p = &self.parts;
        (p.nodes.len() + p.factors.len() + p.bytes.len() + p.codes.len() + p.centres.len()) as u64
    }

    /// Bytes of the arrays that are made from the factors of so many nodes.
    pub const fn derived_bytes(nodes: u64) -> u64 {
        nodes.saturating_mul((std::mem::size_of::<Factors>() + std::mem::size_of::<f32>()) as u64)
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        let lists = self.leaf_nodes.len() + self.level_starts.len();
        let factors = Self::derived_bytes(self.nodes().len() as u64);
        self.stored_bytes() + 4 * lists as u64 + factors + self.centre_of.memory_bytes()
    }
}

/// Checks parents, children, leaves and rows: breadth-first numbers, every child range after its parent, the ranges of
/// the children partition those of the parent, leaves are not empty. Returns where each level starts.
fn check_shape(nodes: &[Node], rows: u64) -> Result<Vec<u32>> {
    let wrong = |number: usize, what: &str| Err(Error::corrupt(format_args!("tree: node {number}: {what}")));
    let root = nodes[0];
    if root.parent != u32::MAX
        || root.first_row != 0
        || u64::from(root.row_count) != rows
        || root.first_leaf != 0
    {
        return wrong(0, "the root does not cover all rows");
    }
    if root.centre != 0 {
        return wrong(0, "the root has a centre above it");
    }
    let mut next_child = 1u64;
    for (number, node) in nodes.iter().enumerate() {
        if node.is_leaf() {
            if node.leaf_count != 1 || node.first_child != 0 {
                return wrong(number, "a leaf with leaves or children below it");
            }
            continue;
        }
        if u64::from(node.first_child) != next_child || next_child <= number as u64 {
            return wrong(number, "its children are not numbered breadth first");
        }
        next_child += u64::from(node.child_count);
        if next_child > nodes.len() as u64 {
            return wrong(number, "its children lie beyond the last node");
        }
        let (mut row, mut leaf) = (u64::from(node.first_row), u64::from(node.first_leaf));
        let first = node.first_child as usize;
        for (nth, child) in nodes[first..first + node.child_count as usize].iter().enumerate() {
            let centre = if number == 0 { nth as u32 } else { node.centre };
            if child.parent as usize != number || child.centre != centre {
                return wrong(first + nth, "its parent or centre is another node");
            }
            if u64::from(child.first_row) != row
                || u64::from(child.first_leaf) != leaf
                || child.row_count == 0
            {
                return wrong(first + nth, "its rows or leaves do not follow those of its elder");
            }
            row += u64::from(child.row_count);
            leaf += u64::from(child.leaf_count);
        }
        if row != u64::from(node.first_row) + u64::from(node.row_count)
            || leaf != u64::from(node.first_leaf) + u64::from(node.leaf_count)
        {
            return wrong(number, "its children do not cover its rows and leaves");
        }
    }
    if next_child != nodes.len() as u64 {
        return Err(Error::corrupt("tree: some nodes have no parent"));
    }
    levels(nodes)
}

fn levels(nodes: &[Node]) -> Result<Vec<u32>> {
    let mut starts = try_with_capacity(LEVELS_MAX + 1)?;
    starts.push(0u32);
    let (mut first, mut end) = (0usize, 1usize);
    loop {
        let below: usize = nodes[first..end].iter().map(|node| node.child_count as usize).sum();
        starts.push(end as u32);
        if below == 0 {
            return Ok(starts);
        }
        if starts.len() > LEVELS_MAX {
            return Err(Error::corrupt(format_args!("tree: deeper than {LEVELS_MAX} levels")));
        }
        (first, end) = (end, end + below);
    }
}
