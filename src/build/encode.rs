//! Pass 2: cell by cell, rows to leaves, codes and stored vectors.
//!
//! In: the rows of each cell. A thread loads a cell, divides it into leaves, encodes its rows in leaf order
//! and finds what of it belongs to the true neighbours of the held-out rows, while it is in cache. Outputs
//! are taken in the order of cells: vectors are appended to the file, the rest fills arrays that stay in
//! memory.

use crate::build::fine::FineCodes;
use crate::build::layout::BuildLayout;
use crate::build::partition::Partition;
use crate::build::rows::Loader;
use crate::build::transform::Transform;
use crate::build::truth::{Truth, TruthPart};
use crate::build::Work;
use crate::cluster::{self, LeafParams};
use crate::input::Rows;
use crate::memory::{
    try_collect, try_defaults, try_extend, try_hold, try_push, try_vec, try_with_capacity, AlignedBytes,
};
use crate::quantize::encode::{Encoder, Factors};
use crate::store::vectors::row_stride;
use crate::types::{Metric, Result};
use std::sync::{Mutex, PoisonError};

/// Rows of a cell that are divided into leaves at once.
const ROWS_AT_ONCE_MAX: usize = 4_096;

/// A leaf as pass 2 makes it.
pub struct Leaf {
    /// Rows.
    pub rows: u32,
    /// Mean of its rows but the held-out ones, rotated.
    pub centroid: Vec<f32>,
    /// Mean squared length of the same rows.
    pub mean_norm_sq: f64,
}

/// What pass 2 leaves behind, in the order of positions.
pub struct Encoded {
    /// Codes.
    pub codes: AlignedBytes,
    /// [`Factors`] records.
    pub factors: AlignedBytes,
    /// Source row of each position.
    pub source_rows: Vec<u32>,
    /// Leaves, in order.
    pub leaves: Vec<Leaf>,
    /// Leaves of each cell.
    pub cell_leaves: Vec<u32>,
    /// Mean error width of the codes.
    pub error_width: f32,
    /// The same of the finer codes.
    pub fine_error_width: f32,
    /// Finer codes, if links will be made.
    pub fine: Option<FineCodes>,
}

/// What a thread works in.
struct Workspace<'a> {
    loader: Loader<'a>,
    floats: AlignedBytes,
}

/// One cell, done. Its buffers serve the next cell.
#[derive(Default)]
struct Part {
    vectors: AlignedBytes,
    codes: Vec<u8>,
    factors: Vec<Factors>,
    fine_codes: Vec<u8>,
    fine_factors: Vec<Factors>,
    fine_width: f64,
    order: Vec<u32>,
    leaves: Vec<Leaf>,
    truth: Option<TruthPart>,
    width: f64,
}

/// A run of rows that one thread takes: a whole cell, or of a flat segment a block.
struct Piece {
    cell: usize,
    start: usize,
    end: usize,
}

/// Runs pass 2. Vectors go to `append`, in order.
///
/// # Errors
/// What reading and appending give, `VDB_OUT_OF_MEMORY`, `VDB_CANCELLED`, `VDB_TIMEOUT`.
pub fn encode(
    work: &Work<'_>,
    layout: &BuildLayout,
    source: &dyn Rows,
    partition: &Partition,
    transform: &Transform,
    truth: &mut Truth,
    append: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Encoded> {
    let rows = layout.rows as usize;
    let row_bytes = layout.shape.row_bytes();
    let stride = row_stride(layout.dim * layout.element.bytes());
    let mut encoded = Encoded {
        codes: AlignedBytes::zeroed(rows * row_bytes)?,
        factors: AlignedBytes::zeroed(rows * std::mem::size_of::<Factors>())?,
        source_rows: try_with_capacity(rows)?,
        leaves: Vec::new(),
        cell_leaves: try_with_capacity(partition.ends.len())?,
        error_width: 0.0,
        fine_error_width: 0.0,
        fine: if layout.links { Some(FineCodes::zeroed(rows, layout.shape.padded)?) } else { None },
    };
    let pieces = pieces(layout, partition)?;
    let (mut width, mut fine_width) = (0.0, 0.0);
    let workspace = |_| Workspace {
        loader: Loader::new(work.kernels, source, work.metric),
        floats: AlignedBytes::empty(),
    };
    let mut workspaces: Vec<Workspace<'_>> = try_collect((0..work.threads).map(workspace))?;
    // Two pieces a thread keep all busy while the outputs of a wave stay bounded.
    let parts: Vec<Mutex<Part>> = try_defaults(2 * workspaces.len())?;
    // A disk reads the rows of the next wave while this one is worked on.
    let mut waves = pieces.chunks(parts.len()).peekable();
    while let Some(wave) = waves.next() {
        let next = waves.peek().copied().unwrap_or_default();
        work.progress("encode", encoded.source_rows.len() as u64, rows as u64)?;
        let held = &*truth;
        work.pool.try_for_each_with(wave.len(), &mut workspaces, |workspace, nth| {
            work.stop.check()?;
            if let Some(piece) = next.get(nth).filter(|_| source.reads_ahead()) {
                source.announce(&piece.rows(partition)?);
            }
            let mut part = parts[nth].lock().unwrap_or_else(PoisonError::into_inner);
            encode_piece(work, layout, partition, transform, held, &wave[nth], workspace, &mut part)
        })?;
        for (piece, part) in wave.iter().zip(&parts) {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            let first = encoded.source_rows.len();
            append(&part.vectors[..part.order.len() * stride])?;
            encoded.put(first, row_bytes, &part);
            width += part.width;
            fine_width += part.fine_width;
            part.truth.take().into_iter().for_each(|part| truth.merge(part));
            if layout.flat {
                continue;
            }
            debug_assert_eq!(piece.cell, encoded.cell_leaves.len());
            encoded.cell_leaves.push(part.leaves.len() as u32);
            try_extend(&mut encoded.leaves, part.leaves.drain(..))?;
        }
    }
    let mean = |sum: f64| (sum / rows.max(1) as f64) as f32;
    (encoded.error_width, encoded.fine_error_width) = (mean(width), mean(fine_width));
    work.progress("encode", rows as u64, rows as u64)?;
    Ok(encoded)
}

impl Encoded {
    /// Takes over what was made of the rows from `first` on.
    fn put(&mut self, first: usize, row_bytes: usize, part: &Part) {
        self.codes[first * row_bytes..][..part.codes.len()].copy_from_slice(&part.codes);
        let factors = &mut self.factors.as_mut_slice::<Factors>()[first..][..part.factors.len()];
        factors.copy_from_slice(&part.factors);
        if let Some(fine) = &mut self.fine {
            fine.put(first, &part.fine_codes, &part.fine_factors);
        }
        self.source_rows.extend_from_slice(&part.order);
    }
}

impl Piece {
    /// Its source rows, ascending.
    fn rows(&self, partition: &Partition) -> Result<Vec<u64>> {
        try_collect(partition.order[self.start..self.end].iter().map(|row| u64::from(*row)))
    }
}

fn pieces(layout: &BuildLayout, partition: &Partition) -> Result<Vec<Piece>> {
    if layout.flat {
        let rows = partition.order.len();
        let blocks = (0..rows).step_by(layout.block_rows);
        return try_collect(blocks.map(|start| Piece {
            cell: 0,
            start,
            end: (start + layout.block_rows).min(rows),
        }));
    }
    let mut start = 0;
    let mut pieces = try_with_capacity(partition.ends.len())?;
    for (cell, end) in partition.ends.iter().enumerate() {
        pieces.push(Piece { cell, start, end: *end });
        start = *end;
    }
    Ok(pieces)
}

fn encode_piece(
    work: &Work<'_>,
    layout: &BuildLayout,
    partition: &Partition,
    transform: &Transform,
    truth: &Truth,
    piece: &Piece,
    workspace: &mut Workspace<'_>,
    part: &mut Part,
) -> Result<()> {
    let Workspace { loader, floats } = workspace;
    let numbers = piece.rows(partition)?;
    floats.grow(numbers.len() * layout.dim * 4)?;
    let floats = &mut floats.as_mut_slice::<f32>()[..numbers.len() * layout.dim];
    loader.gather(&numbers, floats)?;
    let (order, ends) = if layout.flat {
        (try_collect(0..numbers.len() as u32)?, try_vec(1, numbers.len() as u32)?)
    } else {
        let params = LeafParams {
            leaf_target: layout.leaf_rows,
            leaf_max: 0,
            at_once_max: ROWS_AT_ONCE_MAX,
            seed: work.seed ^ numbers[0],
            spherical: false,
        };
        let leaves = cluster::split_into_leaves(floats, layout.dim, &params, &work.stop)?;
        (leaves.order, leaves.ends)
    };
    let stride = row_stride(layout.dim * layout.element.bytes());
    part.vectors.grow(numbers.len() * stride)?;
    for (slot, nth) in part.vectors.chunks_exact_mut(stride).zip(&order) {
        let raw = loader.raw_row(*nth as usize);
        slot[..raw.len()].copy_from_slice(raw);
    }
    part.clear(numbers.len(), layout)?;
    part.order.extend(order.iter().map(|nth| numbers[*nth as usize] as u32));
    part.truth = Some(truth.part(floats, &numbers)?);
    encode_rows(work, layout, transform, floats, truth, piece.cell, &order, &ends, part)
}

impl Part {
    /// Empty but for the vectors, with room for all that is made of so many rows.
    fn clear(&mut self, rows: usize, layout: &BuildLayout) -> Result<()> {
        let fine_rows = if layout.links { rows } else { 0 };
        for (codes, bytes) in [
            (&mut self.codes, rows * layout.shape.row_bytes()),
            (&mut self.fine_codes, fine_rows * layout.fine_shape().row_bytes()),
        ] {
            try_hold(codes, bytes)?;
            codes.resize(bytes, 0);
        }
        self.factors.clear();
        try_hold(&mut self.factors, rows)?;
        self.fine_factors.clear();
        try_hold(&mut self.fine_factors, fine_rows)?;
        self.order.clear();
        try_hold(&mut self.order, rows)?;
        self.leaves.clear();
        (self.width, self.fine_width) = (0.0, 0.0);
        Ok(())
    }
}

/// Codes, factors and leaf means, in leaf order.
fn encode_rows(
    work: &Work<'_>,
    layout: &BuildLayout,
    transform: &Transform,
    floats: &[f32],
    truth: &Truth,
    cell: usize,
    order: &[u32],
    ends: &[u32],
    part: &mut Part,
) -> Result<()> {
    let (dim, padded) = (layout.dim, layout.shape.padded);
    let centre = &transform.centres[transform.cell_centres[cell] as usize * padded..][..padded];
    let mut encoder = Encoder::new(work.kernels, layout.shape, work.metric, &transform.mean)?;
    let fine_shape = layout.fine_shape();
    let mut fine_encoder = Encoder::new(work.kernels, fine_shape, Metric::L2, &transform.middle)?;
    let mut rotated = try_vec(padded, 0.0f32)?;
    let mut sums = try_vec(padded, 0.0f64)?;
    let mut fine_codes = part.fine_codes.chunks_exact_mut(fine_shape.row_bytes());
    let mut codes = part.codes.chunks_exact_mut(layout.shape.row_bytes());
    let mut start = 0;
    for end in ends {
        let members = &order[start as usize..*end as usize];
        sums.fill(0.0);
        let (mut counted, mut norm_sq) = (0u32, 0.0);
        // A leaf of held-out rows alone has no other rows to take a mean of.
        let all_held = part.order[start as usize..*end as usize].iter().all(|row| truth.is_held_out(*row));
        for (nth, member) in members.iter().enumerate() {
            transform.rotation.apply(work.kernels, &floats[*member as usize * dim..][..dim], &mut rotated);
            if let Some(code) = codes.next() {
                let (factors, width) = encoder.encode(&rotated, centre, code);
                part.factors.push(factors);
                part.width += f64::from(width);
            }
            if let Some(code) = fine_codes.next() {
                let (factors, width) = fine_encoder.encode(&rotated, &transform.middle, code);
                part.fine_factors.push(factors);
                part.fine_width += f64::from(width);
            }
            let source_row = part.order[start as usize + nth];
            if all_held || !truth.is_held_out(source_row) {
                work.kernels.add_to_f64(&rotated, &mut sums);
                norm_sq += f64::from(work.kernels.dot_f32(&rotated, &rotated));
                counted += 1;
            }
        }
        let centroid = try_collect(sums.iter().map(|sum| (sum / f64::from(counted.max(1))) as f32))?;
        let mean_norm_sq = norm_sq / f64::from(counted.max(1));
        try_push(&mut part.leaves, Leaf { rows: members.len() as u32, centroid, mean_norm_sq })?;
        start = *end;
    }
    Ok(())
}
