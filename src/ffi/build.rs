//! Builds: from arrays and files to an index directory; and what a build would take.

use std::ffi::{c_char, c_void};
use std::slice;

use super::arg::{self, Output, SizedStruct};
use super::error::{vdb_error_t, vdb_status_t};
use super::guard::guard;
use super::job::{self, vdb_job_t};
use super::open::check_flags;
use crate::database::{self, ArrayRows, BuildReport, GivenIds, Job};
use crate::types::params::{BuildParams, LinkMode};
use crate::types::{ElementType, Error, Metric, Result};

/// How distance is measured. Smaller is closer under each. VDB_METRIC_...
pub type vdb_metric_t = u32;

/// Squared Euclidean distance.
pub const VDB_METRIC_L2: vdb_metric_t = 1;
/// The negated inner product.
pub const VDB_METRIC_IP: vdb_metric_t = 2;
/// 1 - cosine; vectors are stored as given.
pub const VDB_METRIC_COSINE: vdb_metric_t = 3;

/// Type of the elements of a vector. VDB_TYPE_...
pub type vdb_type_t = u32;

/// IEEE 754, 32 bit.
pub const VDB_TYPE_F32: vdb_type_t = 1;
/// IEEE 754, 16 bit.
pub const VDB_TYPE_F16: vdb_type_t = 2;
/// Bytes, 0 to 255.
pub const VDB_TYPE_U8: vdb_type_t = 3;

/// Where vectors come from: an array (data) or a file (path).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_source_t {
    /// sizeof(vdb_source_t)
    pub struct_size: usize,
    /// Array: rows x dim elements at any address, none beyond 1e15. NULL: a file, or no rows.
    pub data: *const c_void,
    /// Array: from one row to the next. 0: packed.
    pub stride_bytes: usize,
    /// Array: how many. 0 makes an empty index.
    pub rows: u64,
    /// Array: 1 to 65536.
    pub dim: usize,
    /// Array: 0: VDB_TYPE_F32.
    pub r#type: vdb_type_t,
    /// 0
    pub reserved: u32,
    /// Array: one for each row, no two alike, none VDB_NO_ID. NULL: 0 to rows - 1.
    pub ids: *const u64,
    /// File: .npy .fvecs .bvecs .fbin or .u8bin, as its name says.
    pub path: *const c_char,
    /// File: the ids, .npy or .u64bin (nothing but 8 bytes each, little endian). NULL: 0 to rows - 1.
    pub ids_path: *const c_char,
}

// SAFETY: words, pointers and two halves of a word; all zero is NULL and 0.
unsafe impl SizedStruct for vdb_source_t {
    const NAME: &'static str = "vdb_source_t";
    const FIRST_BYTES: usize = 72;
}

/// Phases that a build report has room for.
pub const VDB_PHASES_MAX: usize = 16;
/// Room for the name of one, its NUL included.
pub const VDB_PHASE_NAME_MAX: usize = 24;

/// A phase of a build.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_phase_t {
    /// One word, as vdb_progress_fn gets it.
    pub name: [c_char; VDB_PHASE_NAME_MAX],
    /// How long it took.
    pub ns: u64,
}

/// What a build did.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_build_report_t {
    /// sizeof(vdb_build_report_t)
    pub struct_size: usize,
    /// Number of the commit.
    pub generation: u64,
    /// Rows of the index.
    pub rows: u64,
    /// Bytes of the finished index.
    pub disk_bytes: u64,
    /// Memory that it allowed itself for data; it took no more.
    pub peak_bytes: u64,
    /// Length of phases.
    pub phase_count: u64,
    /// What it did, in order; of several segments the sums.
    pub phases: [vdb_phase_t; VDB_PHASES_MAX],
}

// SAFETY: words and bytes, 32 of them a phase.
unsafe impl SizedStruct for vdb_build_report_t {
    const NAME: &'static str = "vdb_build_report_t";
    const FIRST_BYTES: usize = 560;
}

/// No tree: scan all codes. Chosen by itself for few rows.
pub const VDB_BUILD_FLAT: u32 = 1 << 0;
/// If an index is at the path, replace it, in one rename when all is done. A file MANIFEST that is none of an
/// index is replaced, too: give an index a directory of its own.
pub const VDB_BUILD_REPLACE: u32 = 1 << 1;

/// Whether rows that lie near each other are linked: 136 bytes a row in memory, fewer codes scanned and fewer
/// rows read for the same recall. Rows of 449 dimensions and more, but under inner product, keep the finer
/// codes that links are made with: half a byte a dimension on disk. An index without a tree has no links.
/// VDB_LINKS_...
pub type vdb_links_t = u32;

/// If the memory limit has room for making them; else without, and a line of log says so.
pub const VDB_LINKS_AUTO: vdb_links_t = 0;
/// Always: without room the build fails before it starts, and VDB_DETAIL_NEEDED_BYTES says what would do.
pub const VDB_LINKS_ON: vdb_links_t = 1;
/// Never: a smaller index, built faster.
pub const VDB_LINKS_OFF: vdb_links_t = 2;

/// What to build. NULL, or all zero: squared L2, all else chosen.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_build_options_t {
    /// sizeof(vdb_build_options_t)
    pub struct_size: usize,
    /// Same source, options and seed: same bytes of vectors, codes and tree, on any number of threads (with
    /// VDB_LINKS_AUTO: where it decides alike); in an empty directory, same files.
    pub seed: u64,
    /// 0: VDB_METRIC_L2.
    pub metric: vdb_metric_t,
    /// VDB_BUILD_...
    pub flags: u32,
    /// Aim for the rows of a leaf. 0: 48.
    pub leaf_rows: u32,
    /// Most children of a node above the leaves' parents. 0: chosen.
    pub fanout: u32,
    /// Bits of a code for each dimension: 1, 2 or 4. 0: chosen from dim.
    pub code_bits: u32,
    /// VDB_LINKS_...
    pub links: vdb_links_t,
    /// Most rows of a segment. 0: as many as fit.
    pub segment_rows: u64,
    /// NULL: not wanted.
    pub report: *mut vdb_build_report_t,
}

// SAFETY: words, a pointer and pairs of halves of a word; all zero is NULL and 0.
unsafe impl SizedStruct for vdb_build_options_t {
    const NAME: &'static str = "vdb_build_options_t";
    const FIRST_BYTES: usize = 56;
}

/// What a build and an open take.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_estimate_t {
    /// sizeof(vdb_estimate_t)
    pub struct_size: usize,
    /// The least that a build works with; links left to VDB_LINKS_AUTO are not made.
    pub build_memory_bytes: u64,
    /// Beyond this, more does not help; links left to VDB_LINKS_AUTO are made.
    pub build_memory_best_bytes: u64,
    /// At its peak, the finished index included.
    pub build_disk_bytes: u64,
    /// Tree, codes, ids, links, and the working memory of one search.
    pub open_memory_bytes: u64,
    /// The finished index.
    pub index_disk_bytes: u64,
}

// SAFETY: words.
unsafe impl SizedStruct for vdb_estimate_t {
    const NAME: &'static str = "vdb_estimate_t";
    const FIRST_BYTES: usize = 48;
}

/// Builds an index in a directory, and commits it.
///
///   path      the directory; made if it is not there, but not those above it
///   source    where the vectors come from; elements are stored as they are given
///   options   NULL: squared L2, all else chosen
///   job       NULL: quietly, to the end, with all threads
///
/// Reads the source twice, and keeps to memory_limit_bytes of the job; if that cannot be, it says so before
/// any work. Nothing can be opened at path before the last step, one rename: a build that fails, is
/// cancelled or killed leaves what was there before, and at most files that the next build sweeps away. The
/// directory is made with mode 0700, files with 0600.
///
/// Errors: VDB_INVALID_ARGUMENT (VDB_DETAIL_ROW says which row has NaN, an element beyond 1e15, no direction
/// under VDB_METRIC_COSINE, or an id twice), VDB_NOT_FOUND, VDB_EXISTS, VDB_FORMAT and VDB_CORRUPT (of a
/// source file), VDB_IO, VDB_DISK_FULL, VDB_OUT_OF_MEMORY, VDB_CANCELLED, VDB_TIMEOUT, VDB_BUSY,
/// VDB_UNSUPPORTED. Threads: any. Time: about rows x dim x the square root of rows.
///
/// ```c
/// vdb_source_t source = {0};
/// source.struct_size = sizeof source;
/// source.data = vectors;
/// source.rows = 20000;
/// source.dim = 100;
/// vdb_build_options_t options = {0};
/// options.struct_size = sizeof options;
/// options.metric = VDB_METRIC_COSINE;
/// status = vdb_build("words.vdb", &source, &options, NULL, &error);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_build(
    path: *const c_char,
    source: *const vdb_source_t,
    options: *const vdb_build_options_t,
    job: *const vdb_job_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || Output::optional("report", arg::peek(options)?.report),
            |report| {
                let path = arg::path("path", path)?;
                let options = arg::read(options)?;
                let source = Source::new(source)?;
                let job = arg::read(job)?;
                let mut params = build_params(&options)?;
                params.memory_limit_bytes = job.memory_limit_bytes;
                params.threads = job.threads;
                let built = job::run(&job, |job| source.build(path, &params, job))?;
                if let Some(report) = report {
                    report.put(&vdb_build_report_t::from(&built));
                }
                Ok(())
            },
        )
    }
}

/// Says beforehand what vdb_build and vdb_open will need. Of a file it reads the header, of an array nothing.
///
///   source     as for vdb_build; data may be NULL
///   options    as for vdb_build
///   estimate   is filled
///
/// Errors: VDB_INVALID_ARGUMENT, and of a file VDB_NOT_FOUND, VDB_FORMAT, VDB_CORRUPT, VDB_IO,
/// VDB_UNSUPPORTED. Threads: any.
#[no_mangle]
pub unsafe extern "C" fn vdb_estimate(
    source: *const vdb_source_t,
    options: *const vdb_build_options_t,
    estimate: *mut vdb_estimate_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || Output::new("estimate", estimate),
            |to| {
                let params = build_params(&arg::read(options)?)?;
                let (rows, dim, element, ids) = shape(source)?;
                let estimate = database::estimate(rows, dim, element, ids, &params)?;
                to.put(&vdb_estimate_t {
                    struct_size: size_of::<vdb_estimate_t>(),
                    build_memory_bytes: estimate.build_memory_bytes,
                    build_memory_best_bytes: estimate.build_memory_best_bytes,
                    build_disk_bytes: estimate.build_disk_bytes,
                    open_memory_bytes: estimate.open_memory_bytes,
                    index_disk_bytes: estimate.index_disk_bytes,
                });
                Ok(())
            },
        )
    }
}

/// A checked source.
enum Source<'a> {
    Array(ArrayRows<'a>, Option<arg::Input<'a, u64>>),
    File(&'a std::path::Path, Option<&'a std::path::Path>),
}

impl<'a> Source<'a> {
    /// # Safety
    /// `source` and the pointers in it are NULL or valid, for as long as `'a` is used.
    unsafe fn new(source: *const vdb_source_t) -> Result<Self> {
        // SAFETY: the caller's promise. `needed_bytes` is what rows, dim, type and stride say there is.
        unsafe {
            let source = read_source(source)?;
            if !source.path.is_null() {
                let ids = match source.ids_path.is_null() {
                    true => None,
                    false => Some(arg::path("vdb_source_t.ids_path", source.ids_path)?),
                };
                return Ok(Source::File(arg::path("vdb_source_t.path", source.path)?, ids));
            }
            let element = element_of(source.r#type)?;
            let bytes = ArrayRows::needed_bytes(source.rows, source.dim, element, source.stride_bytes)?;
            let bytes = match bytes {
                0 => &[],
                _ if source.data.is_null() => return Err(arg::null("vdb_source_t.data")),
                _ => slice::from_raw_parts(source.data.cast::<u8>(), bytes),
            };
            let rows = ArrayRows::new(bytes, source.rows, source.dim, element, source.stride_bytes)?;
            let ids = match source.ids.is_null() {
                true => None,
                false => Some(arg::input("vdb_source_t.ids", source.ids, rows_in_memory(source.rows)?)?),
            };
            Ok(Source::Array(rows, ids))
        }
    }

    fn build(&self, path: &std::path::Path, params: &BuildParams, job: &Job<'_>) -> Result<BuildReport> {
        match self {
            Source::Array(rows, ids) => database::build(path, rows, ids.as_deref(), params, job),
            Source::File(vectors, ids) => database::build_from_file(path, vectors, *ids, params, job),
        }
    }
}

/// A source whose fields do not contradict each other.
///
/// # Safety
/// `source` is NULL or valid.
unsafe fn read_source(source: *const vdb_source_t) -> Result<vdb_source_t> {
    if source.is_null() {
        return Err(arg::null("source"));
    }
    // SAFETY: the caller's promise.
    let source = unsafe { arg::read(source) }?;
    check_flags("vdb_source_t.reserved", source.reserved, 0)?;
    let of_file = !source.path.is_null();
    let of_array = !source.data.is_null() || !source.ids.is_null() || source.rows != 0 || source.dim != 0;
    if of_file && of_array {
        return Err(Error::invalid(
            "vdb_source_t has a path, and fields of an array as well; a file says its rows and dim itself, and \
             its ids come from ids_path",
        ));
    }
    if !of_file && !source.ids_path.is_null() {
        return Err(Error::invalid("vdb_source_t.ids_path goes with path; for an array set ids"));
    }
    Ok(source)
}

/// Rows, dim and element type of a source, and where its ids come from.
///
/// # Safety
/// `source` and its path are NULL or valid.
unsafe fn shape(source: *const vdb_source_t) -> Result<(u64, usize, ElementType, GivenIds)> {
    // SAFETY: the caller's promise.
    unsafe {
        let source = read_source(source)?;
        if source.path.is_null() {
            let element = element_of(source.r#type)?;
            ArrayRows::needed_bytes(source.rows, source.dim, element, source.stride_bytes)?;
            let ids = if source.ids.is_null() { GivenIds::None } else { GivenIds::Lent };
            return Ok((source.rows, source.dim, element, ids));
        }
        let rows = database::open_file(arg::path("vdb_source_t.path", source.path)?)?;
        let ids = if source.ids_path.is_null() { GivenIds::None } else { GivenIds::File };
        Ok((rows.rows(), rows.dim(), rows.element_type(), ids))
    }
}

fn rows_in_memory(rows: u64) -> Result<usize> {
    usize::try_from(rows)
        .map_err(|_| Error::invalid(format_args!("vdb_source_t.rows is {rows}, more than memory holds")))
}

/// Options in Rust's terms.
fn build_params(options: &vdb_build_options_t) -> Result<BuildParams> {
    check_flags("vdb_build_options_t.flags", options.flags, VDB_BUILD_FLAT | VDB_BUILD_REPLACE)?;
    let links = match options.links {
        VDB_LINKS_AUTO => LinkMode::Auto,
        VDB_LINKS_ON => LinkMode::On,
        VDB_LINKS_OFF => LinkMode::Off,
        number => {
            return Err(Error::invalid(format_args!(
                "vdb_build_options_t.links is {number}; use VDB_LINKS_AUTO, VDB_LINKS_ON or VDB_LINKS_OFF"
            )))
        }
    };
    let metric = match options.metric {
        0 => Some(Metric::L2),
        number => Metric::from_u32(number),
    };
    let Some(metric) = metric else {
        return Err(Error::invalid(format_args!(
            "vdb_build_options_t.metric is {}; use VDB_METRIC_L2, VDB_METRIC_IP or VDB_METRIC_COSINE",
            options.metric
        )));
    };
    Ok(BuildParams {
        metric,
        seed: options.seed,
        leaf_rows: options.leaf_rows,
        fanout: options.fanout,
        code_bits: options.code_bits,
        links,
        flat: options.flags & VDB_BUILD_FLAT != 0,
        replace: options.flags & VDB_BUILD_REPLACE != 0,
        segment_rows: options.segment_rows,
        ..BuildParams::default()
    })
}

fn element_of(number: vdb_type_t) -> Result<ElementType> {
    let element = match number {
        0 => Some(ElementType::F32),
        number => ElementType::from_u32(number),
    };
    element.ok_or_else(|| {
        Error::invalid(format_args!(
            "vdb_source_t.type is {number}; use VDB_TYPE_F32, VDB_TYPE_F16 or VDB_TYPE_U8"
        ))
    })
}

impl From<&BuildReport> for vdb_build_report_t {
    fn from(built: &BuildReport) -> Self {
        let mut phases = [vdb_phase_t { name: [0; VDB_PHASE_NAME_MAX], ns: 0 }; VDB_PHASES_MAX];
        for (phase, (name, ns)) in phases.iter_mut().zip(&built.phases) {
            // The last byte stays NUL.
            for (to, from) in phase.name[..VDB_PHASE_NAME_MAX - 1].iter_mut().zip(name.bytes()) {
                *to = c_char::from_ne_bytes([from]);
            }
            phase.ns = *ns;
        }
        vdb_build_report_t {
            struct_size: size_of::<Self>(),
            generation: built.generation,
            rows: built.rows,
            disk_bytes: built.disk_bytes,
            peak_bytes: built.peak_bytes,
            phase_count: built.phases.len().min(VDB_PHASES_MAX) as u64,
            phases,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_c_are_those_of_the_engine() {
        let metrics = [Metric::L2, Metric::InnerProduct, Metric::Cosine].map(|metric| metric as u32);
        assert_eq!(metrics, [VDB_METRIC_L2, VDB_METRIC_IP, VDB_METRIC_COSINE]);
        let types = [ElementType::F32, ElementType::F16, ElementType::U8].map(|element| element as u32);
        assert_eq!(types, [VDB_TYPE_F32, VDB_TYPE_F16, VDB_TYPE_U8]);
    }

    #[test]
    fn long_names_of_phases_end_in_nul() {
        let built =
            BuildReport { phases: vec![("a phase with a name beyond all reason", 3)], ..Default::default() };
        let report = vdb_build_report_t::from(&built);
        assert_eq!((report.phase_count, report.phases[0].ns), (1, 3));
        assert_eq!(report.phases[0].name[VDB_PHASE_NAME_MAX - 1], 0);
    }
}
