//! Everything that can be looked at: what the index is, its tree and codes, vectors by id, memory by part.
//!
//! Reads the handle's snapshot; none of it is on the path of a search.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::PoisonError;

use crate::database::cursor::CURSORS;
use crate::database::handle::Database;
use crate::database::open::{to_usize, CURSOR_BYTES_MIN};
use crate::database::options::{Advice, CacheKind, Job, Part};
use crate::database::report::{CacheReport, Info, MemoryReport, NodeReport, SegmentReport, Totals};
use crate::database::throttle::Throttle;
use crate::format::layout::FORMAT_MAJOR;
use crate::index::links::Links;
use crate::index::tree::Node;
use crate::kernels::Kernels;
use crate::memory::AlignedBytes;
use crate::pool::cancel::Stop;
use crate::quantize::encode::{CodeShape, Encoder};
use crate::quantize::query::normalise;
use crate::search::scratch::MORE_SEARCHES;
use crate::search::Segment;
use crate::store::vectors::ReadCost;
use crate::types::{ElementType, Error, Metric, Result, Status};
use crate::vfs;

/// Bytes of vectors that are read at a time to warm them.
const WARM_BYTES: usize = 1 << 20;

impl Database {
    /// What the index is.
    pub fn info(&self) -> Info {
        let inner = &*self.inner;
        let snapshot = &inner.snapshot;
        let shape = snapshot.segments.first().map(|s| s.index.quantiser.shape);
        Info {
            generation: snapshot.generation,
            rows: snapshot.rows(),
            dim: snapshot.dim,
            metric: snapshot.metric,
            element: snapshot.element,
            segments: snapshot.segments.len() as u32,
            code_bytes: shape.map_or(0, |s| s.row_bytes() as u32),
            code_bits: shape.map_or(0, |s| s.bits as u32),
            format_version: u32::from(FORMAT_MAJOR),
            flat: snapshot.segments.iter().all(|s| s.index.tree.is_flat()),
            links: snapshot.segments.iter().any(|s| s.index.links.is_some()),
            mapped: inner.mapped,
            disk_bytes: inner.disk_bytes,
            kernels: inner.kernels.name,
            open_ns: inner.open_ns,
        }
    }

    /// What happened since the handle was opened.
    pub fn totals(&self) -> Totals {
        let failures = &self.inner.failures;
        let total = self.inner.totals.sum();
        Totals {
            searches: total.searches,
            batches: failures.batches.load(Relaxed),
            batch_queries: failures.batch_queries.load(Relaxed),
            errors: failures.errors.load(Relaxed),
            timeouts: failures.timeouts.load(Relaxed),
            cancels: failures.cancels.load(Relaxed),
            search_ns: self.inner.totals.search_ns(),
            work: total.sums,
        }
    }

    /// Bytes in memory, by part.
    pub fn memory(&self) -> MemoryReport {
        let inner = &*self.inner;
        let mut report = MemoryReport { limit_bytes: inner.budget.limit_bytes(), ..MemoryReport::default() };
        for segment in &inner.snapshot.segments {
            report.tree_bytes += segment.index.tree.memory_bytes() + segment.index.quantiser.memory_bytes();
            report.code_bytes += segment.index.codes.memory_bytes();
            if let Some(finer) = &segment.finer {
                report.second_tier_bytes += finer.memory_bytes();
                report.mapped_bytes += finer.mapped_bytes();
            }
            report.id_bytes += segment.index.ids.memory_bytes();
            report.link_bytes += segment.index.links.as_ref().map_or(0, Links::memory_bytes);
            report.mapped_bytes += segment.vectors.mapped().map_or(0, |mapped| mapped.len() as u64);
        }
        report.vector_cache_bytes = inner.vector_cache.info().used_bytes;
        report.answer_cache_bytes = inner.answers.report().used_bytes;
        report.scratch_bytes = inner.scratches.memory_bytes();
        let others = [CURSORS, MORE_SEARCHES].map(|what| inner.budget.part(what));
        report.other_bytes = others.iter().map(|part| part.used_bytes).sum();
        let codes = report.code_bytes + report.second_tier_bytes;
        let unchanging = report.tree_bytes + codes + report.id_bytes + report.link_bytes;
        let caches = report.vector_cache_bytes + report.answer_cache_bytes;
        report.total_bytes = unchanging + caches + report.scratch_bytes + report.other_bytes;
        let caches = inner.vector_cache.peak_bytes() + inner.answers.peak_bytes();
        let others: u64 = others.iter().map(|part| part.peak_bytes).sum();
        report.peak_bytes = unchanging + caches + inner.scratches.peak_bytes() + others;
        report
    }

    /// Copies vectors out as floats: `out` is `ids.len()` x dim. Without `found` an unknown id fails; with
    /// it, its flag is 0 and its row zeros.
    ///
    /// # Errors
    /// `VDB_INVALID_ARGUMENT`, `VDB_NOT_FOUND`, `VDB_IO`, `VDB_CORRUPT`.
    pub fn get(&self, ids: &[u64], out: &mut [f32], mut found: Option<&mut [u8]>) -> Result<()> {
        let dim = self.dim();
        let room = ids.len().checked_mul(dim).is_some_and(|needed| out.len() >= needed);
        if !room || found.as_ref().is_some_and(|f| f.len() < ids.len()) {
            return Err(Error::invalid(format_args!(
                "{} vectors of {dim} dimensions do not fit the buffers",
                ids.len()
            )));
        }
        self.inner.pool.check()?;
        let mut buffer = AlignedBytes::empty();
        for (nth, (id, out)) in ids.iter().zip(out.chunks_exact_mut(dim)).enumerate() {
            let place = self.locate(*id);
            if let Some(found) = found.as_deref_mut() {
                found[nth] = u8::from(place.is_some());
            }
            match place {
                Some((segment, position)) => self.copy_row(segment, position, &mut buffer, out)?,
                None if found.is_some() => out.fill(0.0),
                None => {
                    return Err(Error::new(Status::NotFound, format_args!("no row has the id {id}"))
                        .with_row(nth as u64))
                }
            }
        }
        Ok(())
    }

    fn copy_row(
        &self,
        segment: &Segment,
        position: u32,
        buffer: &mut AlignedBytes,
        out: &mut [f32],
    ) -> Result<()> {
        buffer.grow(segment.vectors.row_bytes())?;
        let cache = (!self.inner.mapped).then_some(&self.inner.vector_cache);
        let row = segment.vectors.row(position, cache, buffer, &mut ReadCost::default())?;
        match segment.vectors.element() {
            ElementType::F32 => out.copy_from_slice(bytemuck::cast_slice(row.bytes())),
            ElementType::F16 => self.inner.kernels.f16_to_f32(bytemuck::cast_slice(row.bytes()), out),
            ElementType::U8 => self.inner.kernels.u8_to_f32(row.bytes(), out),
        }
        Ok(())
    }

    /// The vector in place, in the type that it is stored in: no copy; valid as long as the handle.
    ///
    /// # Errors
    /// `VDB_NOT_FOUND`; `VDB_UNSUPPORTED` where vectors are read and not mapped.
    pub fn borrow(&self, id: u64) -> Result<(&[u8], ElementType)> {
        self.inner.pool.check()?;
        let (segment, position) = self.require(id)?;
        let row = segment.vectors.borrow(position).ok_or_else(|| {
            Error::new(
                Status::Unsupported,
                "vectors are read, not mapped, by this handle; copy them out instead",
            )
        })?;
        Ok((row, segment.vectors.element()))
    }

    /// One segment and its tree.
    ///
    /// # Errors
    /// `VDB_NOT_FOUND`.
    pub fn segment(&self, segment: u32) -> Result<SegmentReport> {
        let segment = self.segment_at(segment)?;
        let tree = &segment.index.tree;
        let mut sizes: Vec<u64> =
            (0..tree.leaf_count()).map(|leaf| u64::from(tree.leaf(leaf).row_count)).collect();
        sizes.sort_unstable();
        let size = |at: usize| sizes.get(at).copied().unwrap_or(0);
        let nodes = tree.nodes().len() as u64;
        let exact_bytes = nodes * segment.index.quantiser.shape.padded as u64 * 4;
        let vectors = &segment.vectors;
        Ok(SegmentReport {
            number: segment.number,
            rows: u64::from(segment.index.rows()),
            tree_bytes: tree.stored_bytes() + exact_bytes,
            code_bytes: segment.index.codes.memory_bytes() + segment.finer_bytes,
            id_bytes: segment.index.ids.memory_bytes(),
            link_bytes: segment.index.links.as_ref().map_or(0, Links::stored_bytes),
            vector_bytes: u64::from(vectors.rows()) * vectors.stride() as u64,
            file_bytes: vectors.file_bytes()?,
            nodes,
            leaves: u64::from(tree.leaf_count()),
            leaf_rows_min: size(0),
            leaf_rows_median: size(sizes.len() / 2),
            leaf_rows_max: size(sizes.len().saturating_sub(1)),
            level_nodes: tree.level_starts().windows(2).map(|pair| u64::from(pair[1] - pair[0])).collect(),
            efforts: segment.index.recall_table.efforts().to_vec(),
        })
    }

    /// One node of a segment's tree.
    ///
    /// # Errors
    /// `VDB_NOT_FOUND`.
    pub fn node(&self, segment: u32, node: u64) -> Result<NodeReport> {
        let (segment, number, node) = self.node_at(segment, node)?;
        let starts = segment.index.tree.level_starts();
        Ok(NodeReport {
            parent: (node.parent != u32::MAX).then_some(u64::from(node.parent)),
            first_child: u64::from(node.first_child),
            children: u64::from(node.child_count),
            rows: u64::from(node.row_count),
            level: starts.partition_point(|start| *start <= number) as u32 - 1,
        })
    }

    /// The exact centroid of a node, `dim` floats: the mean of the rows below it, save those that the build
    /// held out to measure recall; under cosine of unit vectors.
    ///
    /// # Errors
    /// `VDB_NOT_FOUND`, `VDB_INVALID_ARGUMENT`, `VDB_IO`, `VDB_CORRUPT`.
    pub fn node_centroid(&self, segment: u32, node: u64, out: &mut [f32]) -> Result<()> {
        let (segment, number, _) = self.node_at(segment, node)?;
        if out.len() != self.dim() {
            return Err(Error::invalid(format_args!(
                "a centroid has {} elements, not {}",
                self.dim(),
                out.len()
            )));
        }
        let padded = segment.index.quantiser.shape.padded;
        let mut rotated = AlignedBytes::zeroed(padded * 4)?;
        segment.centroids.read(number, &mut rotated)?;
        segment.index.quantiser.rotation.invert(self.inner.kernels, rotated.as_slice(), out);
        Ok(())
    }

    /// The code of a node's centroid.
    ///
    /// # Errors
    /// `VDB_NOT_FOUND`, `VDB_INVALID_ARGUMENT`.
    pub fn node_code(&self, segment: u32, node: u64, code: &mut [u8]) -> Result<()> {
        let (segment, number, _) = self.node_at(segment, node)?;
        check_code(segment.index.quantiser.shape, code)?;
        code.copy_from_slice(segment.index.tree.codes(number, 1));
        Ok(())
    }

    /// Ids of the rows below a node, from the `first` on, as many as fit; how many were written.
    ///
    /// # Errors
    /// `VDB_NOT_FOUND`.
    pub fn node_members(&self, segment: u32, node: u64, first: u64, out: &mut [u64]) -> Result<u64> {
        let (segment, _, node) = self.node_at(segment, node)?;
        let skipped = u32::try_from(first).unwrap_or(u32::MAX).min(node.row_count);
        let positions = node.first_row + skipped..node.first_row + node.row_count;
        let mut written = 0;
        for (slot, position) in out.iter_mut().zip(positions) {
            *slot = segment.index.ids.id(position);
            written += 1;
        }
        Ok(written)
    }

    /// The code that a vector has relative to a node's centroid; without a node relative to nothing: plain signs
    /// after rotation (of the first segment).
    ///
    /// # Errors
    /// `VDB_NOT_FOUND`, `VDB_INVALID_ARGUMENT`, `VDB_IO`, `VDB_CORRUPT`.
    pub fn encode(&self, vector: &[f32], node: Option<(u32, u64)>, code: &mut [u8]) -> Result<()> {
        self.check_query(vector, 0)?;
        if node.is_none() && self.inner.snapshot.segments.is_empty() {
            let what = "the index has no rows, and so no rotation to encode by; build it from some";
            return Err(Error::new(Status::NotFound, what));
        }
        let segment = self.segment_at(node.map_or(0, |(segment, _)| segment))?;
        let quantiser = &segment.index.quantiser;
        let shape = quantiser.shape;
        check_code(shape, code)?;
        let mut unit = vector.to_vec();
        if self.metric() == Metric::Cosine {
            normalise(self.inner.kernels, vector, &mut unit);
        }
        let mut rotated = AlignedBytes::zeroed(shape.padded * 4)?;
        quantiser.rotation.apply(self.inner.kernels, &unit, rotated.as_mut_slice());
        let mut centre = AlignedBytes::zeroed(shape.padded * 4)?;
        if let Some((segment, node)) = node {
            let (segment, number, _) = self.node_at(segment, node)?;
            segment.centroids.read(number, &mut centre)?;
        }
        let kernels = Kernels::detect();
        let mut encoder = Encoder::new(kernels, shape, self.metric(), quantiser.mean())?;
        encoder.encode(rotated.as_slice(), centre.as_slice(), code);
        Ok(())
    }

    /// The code that a row has; returns the segment that it is in, and the node that is its leaf.
    ///
    /// # Errors
    /// `VDB_NOT_FOUND`, `VDB_INVALID_ARGUMENT`.
    pub fn code(&self, id: u64, code: &mut [u8]) -> Result<(u32, u64)> {
        let (segment, position) = self.require(id)?;
        let segments = &self.inner.snapshot.segments;
        let place = segments.iter().position(|other| std::ptr::eq(&**other, segment)).unwrap_or(0);
        check_code(segment.index.quantiser.shape, code)?;
        code.copy_from_slice(segment.index.codes.codes(position, 1));
        let tree = &segment.index.tree;
        Ok((place as u32, u64::from(tree.leaf_node(tree.leaf_of(position)))))
    }

    /// A cache, as it is now.
    pub fn cache(&self, kind: CacheKind) -> CacheReport {
        match kind {
            CacheKind::Answers => self.inner.answers.report(),
            CacheKind::Vectors => {
                let info = self.inner.vector_cache.info();
                CacheReport {
                    capacity_bytes: info.capacity_bytes,
                    used_bytes: info.used_bytes,
                    entries: info.entries,
                    hits: info.hits,
                    misses: info.misses,
                    evictions: info.evictions,
                }
            }
        }
    }

    /// Gives a cache a new size at once; 0 turns it off. Never more than the memory limit leaves
    /// when the first cursors have their room.
    ///
    /// # Errors
    /// `VDB_FORKED`.
    pub fn cache_resize(&self, kind: CacheKind, bytes: u64) -> Result<()> {
        self.inner.pool.check()?;
        let mut caches = self.inner.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let share = match kind {
            CacheKind::Answers => &mut caches.answers,
            CacheKind::Vectors => &mut caches.vectors,
        };
        let for_cursors = CURSOR_BYTES_MIN.saturating_sub(self.inner.budget.part(CURSORS).used_bytes);
        let left = self.inner.budget.left_bytes().saturating_sub(for_cursors);
        share.resize_up_to(bytes.min(share.bytes().saturating_add(left)))?;
        let bytes = to_usize(share.bytes());
        match kind {
            CacheKind::Answers => self.inner.answers.resize(bytes),
            CacheKind::Vectors => self.inner.vector_cache.resize(bytes),
        }
        Ok(())
    }

    /// Forgets the entries of a cache; keeps its size and counts.
    pub fn cache_clear(&self, kind: CacheKind) {
        match kind {
            CacheKind::Answers => self.inner.answers.clear(),
            CacheKind::Vectors => self.inner.vector_cache.clear(),
        }
    }

    /// Says how a part will be used. Tree and codes are in memory always: for them this does nothing.
    ///
    /// # Errors
    /// `VDB_CANCELLED`, `VDB_TIMEOUT`, and of [`Advice::Warm`] `VDB_IO`, `VDB_CORRUPT` (a shortened file) and
    /// `VDB_OUT_OF_MEMORY`.
    pub fn advise(&self, part: Part, advice: Advice, job: &Job<'_>) -> Result<()> {
        self.inner.pool.check()?;
        let stop = job.stop();
        stop.check()?;
        if part != Part::Vectors {
            return Ok(());
        }
        let advice = match advice {
            Advice::Warm => return self.warm(job, &stop),
            Advice::Cold => vfs::Advice::DontNeed,
            Advice::Random => vfs::Advice::Random,
            Advice::Scan => vfs::Advice::Sequential,
        };
        self.inner.snapshot.segments.iter().for_each(|segment| segment.vectors.advise(advice));
        Ok(())
    }

    /// Reads all vectors once, which leaves them in the system's page cache: by system calls, so that a failing disk
    /// is an error here and no signal, also where they are mapped.
    fn warm(&self, job: &Job<'_>, stop: &Stop<'_>) -> Result<()> {
        let (throttle, total) = (Throttle::new(job.progress), self.rows());
        let mut buffer = AlignedBytes::empty();
        let mut done = 0;
        for segment in &self.inner.snapshot.segments {
            let vectors = &segment.vectors;
            let rows_a_read = (WARM_BYTES / vectors.stride()).max(1) as u32;
            buffer.grow(rows_a_read as usize * vectors.stride())?;
            for first in (0..vectors.rows()).step_by(rows_a_read as usize) {
                stop.check()?;
                throttle.check("warm", done, total)?;
                let rows = rows_a_read.min(vectors.rows() - first);
                let block = &mut buffer[..rows as usize * vectors.stride()];
                vectors.read_strides(first, block, &mut ReadCost::default())?;
                done += u64::from(rows);
            }
        }
        Ok(())
    }

    fn locate(&self, id: u64) -> Option<(&Segment, u32)> {
        let segments = &self.inner.snapshot.segments;
        segments.iter().rev().find_map(|segment| Some((&**segment, segment.index.ids.position(id)?)))
    }

    fn require(&self, id: u64) -> Result<(&Segment, u32)> {
        self.locate(id).ok_or_else(|| Error::new(Status::NotFound, format_args!("no row has the id {id}")))
    }

    fn segment_at(&self, segment: u32) -> Result<&Segment> {
        let segments = &self.inner.snapshot.segments;
        segments.get(segment as usize).map(|segment| &**segment).ok_or_else(|| {
            Error::new(
                Status::NotFound,
                format_args!("segment {segment} is asked for, the index has {}", segments.len()),
            )
        })
    }

    fn node_at(&self, segment: u32, node: u64) -> Result<(&Segment, u32, &Node)> {
        let segment = self.segment_at(segment)?;
        let nodes = segment.index.tree.nodes();
        let found = usize::try_from(node).ok().and_then(|number| nodes.get(number));
        let found = found.ok_or_else(|| {
            Error::new(
                Status::NotFound,
                format_args!("node {node} is asked for, the tree has {}", nodes.len()),
            )
        })?;
        Ok((segment, node as u32, found))
    }
}

/// How many bits differ between two codes of the same length.
pub fn hamming(a: &[u8], b: &[u8]) -> u64 {
    let bytes = a.len().min(b.len());
    Kernels::detect().hamming(&a[..bytes], &b[..bytes])
}

fn check_code(shape: CodeShape, code: &[u8]) -> Result<()> {
    if code.len() == shape.row_bytes() {
        return Ok(());
    }
    Err(Error::invalid(format_args!("a code has {} bytes, not {}", shape.row_bytes(), code.len())))
}
