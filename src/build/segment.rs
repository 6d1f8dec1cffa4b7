//! One segment from its rows to its finished file.

use std::sync::Arc;
use std::time::Instant;

use crate::build::encode::{self, Encoded};
use crate::build::fine::FineCodes;
use crate::build::layout::BuildLayout;
use crate::build::links;
use crate::build::nodes::{self, Nodes};
use crate::build::partition::partition;
use crate::build::transform::Transform;
use crate::build::truth::Truth;
use crate::build::tune::tune;
use crate::build::Work;
use crate::cluster;
use crate::format::layout::SectionKind;
use crate::format::{SectionSlot, SectionSpec, SegmentWriter};
use crate::index::codes::Codes;
use crate::index::ids::Ids;
use crate::index::links::{Links, LINKS_A_ROW};
use crate::index::recall_table::{EffortRecord, RecallTable};
use crate::index::segment::{Quantiser, QuantiserHead, SegmentIndex};
use crate::index::tree::{Node, NodeFactors, Tree};
use crate::input::Rows;
use crate::memory::{try_arc, try_collect, try_vec, try_with_capacity, AlignedBytes};
use crate::quantize::encode::Factors;
use crate::search::{Segment, Snapshot};
use crate::store::cache::VectorCache;
use crate::store::centroids::Centroids;
use crate::store::vectors::{row_stride, Vectors};
use crate::types::{Error, Result, Status};
use crate::vfs::VfsFile;

/// Says how long each phase took.
pub type Phases = Vec<(&'static str, u64)>;

/// Phases there are.
const PHASES: usize = 5;

/// Builds the segment of `source` into `writer` and leaves the last sections for it to finish. `ids[i]` is the id of
/// source row `i`; without, `first_id + i`.
///
/// # Errors
/// What reading and writing give, `VDB_INVALID_ARGUMENT` with the row of a bad vector or an id that is there twice,
/// `VDB_OUT_OF_MEMORY`, `VDB_CANCELLED`, `VDB_TIMEOUT`.
pub fn build(
    work: &Work<'_>,
    layout: &BuildLayout,
    source: &dyn Rows,
    ids: Option<&[u64]>,
    first_id: u64,
    writer: &mut SegmentWriter,
) -> Result<Phases> {
    let mut phases = try_with_capacity(PHASES)?;
    let mut clock = Instant::now();
    let mut lap = |phase: &'static str| {
        phases.push((phase, clock.elapsed().as_nanos() as u64));
        clock = Instant::now();
    };
    let held_out = cluster::sample_rows(layout.rows, layout.held_out, work.seed ^ 0x6865_6c64)?;
    let partition = partition(work, layout, source, &held_out)?;
    lap("partition");
    let transform = Transform::new(work, layout, &partition)?;
    let mut held_vectors = try_vec(held_out.len() * layout.dim, 0.0f32)?;
    work.gather_block(source, &held_out, &mut held_vectors)?;
    let mut truth = Truth::new(work.kernels, work.metric, layout.dim, held_out, held_vectors)?;

    let stride = row_stride(layout.dim * layout.element.bytes());
    let vectors = reserve(writer, SectionKind::VECTORS, layout.rows, stride)?;
    let mut append = |bytes: &[u8]| writer.append(vectors, bytes);
    let mut encoded = encode::encode(work, layout, source, &partition, &transform, &mut truth, &mut append)?;
    lap("encode");
    let nodes = nodes::nodes(work, layout, &partition, &transform, &encoded)?;
    drop(partition);
    let quantiser = quantiser_section(layout, work.seed, &encoded, &transform.mean)?;
    let (id_bytes, id_width) = id_section(&encoded, ids, first_id)?;
    let by_id = by_id_section(&id_bytes, id_width, layout.rows as usize, ids.is_none().then_some(first_id))?;
    let written = write_arrays(writer, &nodes, &encoded, &quantiser, &id_bytes, id_width, &by_id)?;
    drop(nodes.centroids);
    encoded.leaves = Vec::new();
    let positions = positions(&encoded.source_rows)?;
    let mut index = SegmentIndex {
        quantiser: Quantiser::new(work.metric, layout.dim, &quantiser)?,
        tree: Tree::new(nodes.parts, layout.shape, layout.rows)?,
        codes: Codes::new(layout.shape, encoded.codes, encoded.factors, layout.rows)?,
        links: None,
        ids: Ids::new(layout.rows as u32, id_width, id_bytes, by_id)?,
        recall_table: RecallTable::default(),
    };
    lap("write");
    let offsets = (writer.offset(vectors)?, written.centroids);
    let mut held: Vec<u32> = try_collect(truth.rows().iter().map(|row| positions[*row as usize]))?;
    held.sort_unstable();
    if let Some(fine) = &encoded.fine {
        // Links are made without the codes: finer ones take their room.
        index.codes = Codes::new(layout.shape, AlignedBytes::empty(), AlignedBytes::empty(), 0)?;
        let links = links::links(work, &index, fine, &transform.middle, &held)?;
        index.codes = read_codes(layout, &*writer.file(), &written)?;
        index.links = Some(Links::new(layout.rows as u32, links)?);
        lap("link");
    }
    let (table, links) = measure(work, layout, index, writer.file(), offsets, &truth, &positions)?;
    write_table(writer, &table, layout.links)?;
    if let (Some(links), Some(fine)) = (links, encoded.fine) {
        write_links(work, writer, links, &fine, &held)?;
        if layout.finer() {
            write_array(writer, SectionKind::FINER_CODES, fine.all(), layout.fine_shape().row_bytes())?;
            write_array(writer, SectionKind::FINER_FACTORS, fine.all_factors(), size_of::<Factors>())?;
        }
    }
    lap("tune");
    Ok(phases)
}

/// Where each source row went.
fn positions(source_rows: &[u32]) -> Result<Vec<u32>> {
    let mut positions = try_vec(source_rows.len(), 0u32)?;
    for (position, row) in source_rows.iter().enumerate() {
        positions[*row as usize] = position as u32;
    }
    Ok(positions)
}

/// The links, once the rows that were held out have joined them.
fn write_links(
    work: &Work<'_>,
    writer: &mut SegmentWriter,
    links: Links,
    fine: &FineCodes,
    held: &[u32],
) -> Result<()> {
    let mut links = links.into_array();
    links::join(work, fine, held, &mut links)?;
    write_array(writer, SectionKind::LINKS, &links, LINKS_A_ROW * 4).map(|_| ())
}

fn write_table(writer: &mut SegmentWriter, table: &RecallTable, linked: bool) -> Result<()> {
    let (records, lists) = table.records()?;
    let bytes = bytemuck::cast_slice(&records);
    write_array(writer, SectionKind::RECALL_TABLE, bytes, size_of::<EffortRecord>())?;
    if linked {
        write_array(writer, SectionKind::WALK_LISTS, bytemuck::cast_slice(&lists), 4)?;
    }
    Ok(())
}

/// Searches the segment as it will be searched, from the file as it stands. By reads: a disk that fails now is an error
/// of the build, and no signal. Gives the links back. `offsets` are those of the vectors and of the centroids.
fn measure(
    work: &Work<'_>,
    layout: &BuildLayout,
    index: SegmentIndex,
    file: Arc<dyn VfsFile>,
    offsets: (u64, u64),
    truth: &Truth,
    positions: &[u32],
) -> Result<(RecallTable, Option<Links>)> {
    let bytes = layout.rows * row_stride(layout.dim * layout.element.bytes()) as u64;
    let rows = layout.rows as u32;
    let centroids = centroids_of(layout, &index, Arc::clone(&file), offsets.1)?;
    let vectors = Vectors::new(file, offsets.0, bytes, None, rows, layout.dim, layout.element, 0)?;
    let mut segments = try_with_capacity(1)?;
    segments.push(try_arc(Segment { number: 0, index, centroids, finer: None, finer_bytes: 0, vectors })?);
    let snapshot =
        Snapshot { generation: 0, metric: work.metric, element: layout.element, dim: layout.dim, segments };
    // In the room of the second pass, which is over.
    let room = layout.cell_memory_bytes().saturating_mul(work.threads as u64);
    let cache = VectorCache::new(usize::try_from(room).unwrap_or(usize::MAX));
    let table = tune(work, &snapshot, truth, positions, &cache)?;
    let segment = snapshot.segments.into_iter().next().and_then(Arc::into_inner);
    let segment = segment
        .ok_or_else(|| Error::new(Status::Internal, "a search of the build still holds its segment"))?;
    Ok((table, segment.index.links))
}

/// The centroids of a file that is being written.
fn centroids_of(
    layout: &BuildLayout,
    index: &SegmentIndex,
    file: Arc<dyn VfsFile>,
    offset: u64,
) -> Result<Centroids> {
    let (nodes, padded) = (index.tree.nodes().len() as u32, layout.shape.padded);
    Centroids::new(file, offset, u64::from(nodes) * padded as u64 * 4, nodes, padded)
}

fn reserve(writer: &mut SegmentWriter, kind: SectionKind, count: u64, stride: usize) -> Result<SectionSlot> {
    let stride = u32::try_from(stride).map_err(|_| Error::invalid("a record of more than 4 GiB"))?;
    writer.reserve(SectionSpec::array(kind, count, stride)?)
}

fn write_array(
    writer: &mut SegmentWriter,
    kind: SectionKind,
    bytes: &[u8],
    stride: usize,
) -> Result<SectionSlot> {
    let slot = reserve(writer, kind, (bytes.len() / stride.max(1)) as u64, stride)?;
    writer.append(slot, bytes)?;
    Ok(slot)
}

/// Where some of the arrays are in the file.
struct Written {
    centroids: u64,
    codes: u64,
    factors: u64,
}

/// The codes that were written.
fn read_codes(layout: &BuildLayout, file: &dyn VfsFile, written: &Written) -> Result<Codes> {
    let read = |bytes: usize, offset: u64| {
        let mut array = AlignedBytes::zeroed(layout.rows as usize * bytes)?;
        file.read_exact_at(&mut array, offset)
            .map_err(|error| Error::io("reading back the codes of a new segment", &error))?;
        Ok(array)
    };
    let codes = read(layout.shape.row_bytes(), written.codes)?;
    Codes::new(layout.shape, codes, read(size_of::<Factors>(), written.factors)?, layout.rows)
}

/// Writes all arrays but the vectors; returns where those are that are read again.
fn write_arrays(
    writer: &mut SegmentWriter,
    nodes: &Nodes,
    encoded: &Encoded,
    quantiser: &AlignedBytes,
    ids: &AlignedBytes,
    id_width: usize,
    by_id: &AlignedBytes,
) -> Result<Written> {
    let count = nodes.parts.nodes.len() / std::mem::size_of::<Node>();
    let rows = encoded.source_rows.len();
    let arrays: [(SectionKind, &[u8], usize); 11] = [
        (SectionKind::QUANTISER, quantiser, quantiser.len()),
        (SectionKind::TREE_NODES, &nodes.parts.nodes, std::mem::size_of::<Node>()),
        (SectionKind::CENTRES, &nodes.parts.centres, nodes.centroids.len() / count),
        (SectionKind::CENTROIDS, &nodes.centroids, nodes.centroids.len() / count),
        (SectionKind::NODE_BYTES, &nodes.parts.bytes, nodes.parts.bytes.len() / count),
        (SectionKind::NODE_CODES, &nodes.parts.codes, nodes.parts.codes.len() / count),
        (SectionKind::NODE_FACTORS, &nodes.parts.factors, std::mem::size_of::<NodeFactors>()),
        (SectionKind::CODES, &encoded.codes, encoded.codes.len() / rows.max(1)),
        (SectionKind::FACTORS, &encoded.factors, std::mem::size_of::<Factors>()),
        (SectionKind::IDS, ids, id_width),
        (SectionKind::ID_ORDER, by_id, 4),
    ];
    let mut written = Written { centroids: 0, codes: 0, factors: 0 };
    for (kind, bytes, stride) in arrays {
        let slot = write_array(writer, kind, bytes, stride)?;
        let offset = writer.offset(slot)?;
        match kind {
            SectionKind::CENTROIDS => written.centroids = offset,
            SectionKind::CODES => written.codes = offset,
            SectionKind::FACTORS => written.factors = offset,
            _ => {}
        }
    }
    Ok(written)
}

fn quantiser_section(
    layout: &BuildLayout,
    seed: u64,
    encoded: &Encoded,
    mean: &[f32],
) -> Result<AlignedBytes> {
    let head = QuantiserHead {
        rotation_seed: seed,
        dim: layout.dim as u32,
        padded: layout.shape.padded as u32,
        bits: layout.shape.bits as u32,
        error_width: encoded.error_width,
        finer_error_width: if layout.finer() { encoded.fine_error_width } else { 0.0 },
        ..QuantiserHead::default()
    };
    let head = bytemuck::bytes_of(&head);
    let mut section = AlignedBytes::zeroed(head.len() + mean.len() * 4)?;
    section[..head.len()].copy_from_slice(head);
    section[head.len()..].copy_from_slice(bytemuck::cast_slice(mean));
    Ok(section)
}

/// Ids in the order of positions, in 4 bytes each if they fit.
fn id_section(encoded: &Encoded, ids: Option<&[u64]>, first_id: u64) -> Result<(AlignedBytes, usize)> {
    let rows = encoded.source_rows.len();
    let id = |row: u32| ids.map_or(first_id + u64::from(row), |ids| ids[row as usize]);
    let largest = encoded.source_rows.iter().map(|row| id(*row)).max().unwrap_or(0);
    let width = if largest < u64::from(u32::MAX) { 4 } else { 8 };
    let mut section = AlignedBytes::zeroed(rows * width)?;
    if width == 4 {
        for (slot, row) in section.as_mut_slice::<u32>().iter_mut().zip(&encoded.source_rows) {
            *slot = id(*row) as u32;
        }
    } else {
        for (slot, row) in section.as_mut_slice::<u64>().iter_mut().zip(&encoded.source_rows) {
            *slot = id(*row);
        }
    }
    Ok((section, width))
}

/// Positions in the order of their ids. Ids that were not given are a run from `run_start` on: no sort.
fn by_id_section(
    ids: &AlignedBytes,
    width: usize,
    rows: usize,
    run_start: Option<u64>,
) -> Result<AlignedBytes> {
    let id = |position: u32| match width {
        4 => u64::from(ids.as_slice::<u32>()[position as usize]),
        _ => ids.as_slice::<u64>()[position as usize],
    };
    let mut section = AlignedBytes::zeroed(rows * 4)?;
    let order = section.as_mut_slice::<u32>();
    match run_start {
        Some(start) => {
            (0..rows as u32).for_each(|position| order[(id(position) - start) as usize] = position)
        }
        None => {
            (0..rows as u32).zip(order.iter_mut()).for_each(|(position, slot)| *slot = position);
            order.sort_unstable_by_key(|position| id(*position));
        }
    }
    Ok(section)
}
