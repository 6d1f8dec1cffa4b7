//! The weighted Hamming distance by `CNT`, which counts the bits of each byte.
//!
//! Without `dotprod` the counts of each query plane are added up in bytes, widened before they overflow, and
//! weighted once a row. With it, `UDOT` multiplies each count by the weight of its plane and adds it to a 32-bit lane
//! in one step.

use std::arch::aarch64::*;

use super::Shape;
use crate::kernels::gather::Gather;
use crate::kernels::prefetch::{ask_ahead, ask_first};
use crate::kernels::vector::neon::udot;

/// Rows that are taken together, so that the block is asked for in steps.
const TILE: usize = 16;

/// Bytes of a register.
const CHUNK: usize = 16;

/// Chunks whose counts fit a byte: each adds at most 8.
const CHUNKS_A_SUM: usize = 31;

/// The kernel for blocks of rows, made with a function for one plane of one row.
macro_rules! kernel {
    ($estimate:ident, $estimate_rows:ident, $rows:ident, $features:literal, $plane:ident) => {
        #[target_feature(enable = $features)]
        pub(in crate::kernels) fn $estimate(codes: &[u8], shape: Shape, query: &[u8], out: &mut [u32]) {
            let row_bytes = shape.row_bytes();
            assert!(codes.len() == out.len() * row_bytes);
            ask_first(codes);
            for (i, out) in out.chunks_mut(TILE).enumerate() {
                let start = i * TILE * row_bytes;
                ask_ahead(codes, start, TILE * row_bytes);
                let codes = &codes[start..];
                // SAFETY: the codes of `out.len()` rows are left.
                unsafe { $rows(|r| codes.as_ptr().add(r * row_bytes), shape, query, out) };
            }
        }

        #[target_feature(enable = $features)]
        pub(in crate::kernels) fn $estimate_rows(list: Gather, shape: Shape, query: &[u8], out: &mut [u32]) {
            assert!(list.len() == out.len() && list.row_bytes() == shape.row_bytes());
            list.ask_first();
            // SAFETY: each is the code of a row.
            unsafe { $rows(|r| list.next(r).as_ptr(), shape, query, out) };
        }

        /// Writes the sums of rows.
        ///
        /// # Safety
        /// `rows` points to the code of a row, for each place in `out`.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $rows(rows: impl Fn(usize) -> *const u8, shape: Shape, query: &[u8], out: &mut [u32]) {
            let plane_bytes = shape.plane_bytes;
            assert!(query.len() == shape.query_bytes());
            for (r, out) in out.iter_mut().enumerate() {
                let row = rows(r);
                let mut sum = vdupq_n_u32(0);
                for b in 0..shape.code_planes {
                    // SAFETY: as promised by the caller; plane `b` lies in the row.
                    let plane = unsafe {
                        let code = row.add(b * plane_bytes);
                        match shape.query_planes {
                            1 => $plane::<1>(code, query, plane_bytes),
                            2 => $plane::<2>(code, query, plane_bytes),
                            3 => $plane::<3>(code, query, plane_bytes),
                            4 => $plane::<4>(code, query, plane_bytes),
                            5 => $plane::<5>(code, query, plane_bytes),
                            6 => $plane::<6>(code, query, plane_bytes),
                            7 => $plane::<7>(code, query, plane_bytes),
                            _ => $plane::<8>(code, query, plane_bytes),
                        }
                    };
                    sum = vaddq_u32(sum, vshlq_u32(plane, vdupq_n_s32(b as i32)));
                }
                *out = vaddvq_u32(sum);
            }
        }
    };
}

kernel!(estimate, estimate_rows, rows, "neon", plane);
kernel!(estimate_by_udot, estimate_rows_by_udot, rows_by_udot, "neon,dotprod", plane_by_udot);

/// The sums of one plane of a row against the `J` planes of the query, to be added across.
///
/// # Safety
/// `plane_bytes` bytes are readable at `code`, and `query` is `J * plane_bytes` long.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn plane<const J: usize>(code: *const u8, query: &[u8], plane_bytes: usize) -> uint32x4_t {
    let mut sums = [vdupq_n_u32(0); J];
    let chunks = plane_bytes.div_ceil(CHUNK);
    for start in (0..chunks).step_by(CHUNKS_A_SUM) {
        let mut counts = [vdupq_n_u8(0); J];
        for c in start..chunks.min(start + CHUNKS_A_SUM) {
            // SAFETY: as promised by the caller; plane `j` lies in the query.
            unsafe {
                let code = load_chunk(code, plane_bytes, c);
                for j in 0..J {
                    let plane = load_chunk(query.as_ptr().add(j * plane_bytes), plane_bytes, c);
                    counts[j] = vaddq_u8(counts[j], vcntq_u8(veorq_u8(code, plane)));
                }
            }
        }
        for j in 0..J {
            sums[j] = vpadalq_u16(sums[j], vpaddlq_u8(counts[j]));
        }
    }
    let mut sum = sums[J - 1];
    for j in (0..J - 1).rev() {
        sum = vaddq_u32(vaddq_u32(sum, sum), sums[j]);
    }
    sum
}

/// The same by `UDOT`.
///
/// # Safety
/// As [`plane`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn plane_by_udot<const J: usize>(code: *const u8, query: &[u8], plane_bytes: usize) -> uint32x4_t {
    let mut sums = [vdupq_n_u32(0); J];
    for c in 0..plane_bytes.div_ceil(CHUNK) {
        // SAFETY: as promised by the caller; plane `j` lies in the query.
        unsafe {
            let code = load_chunk(code, plane_bytes, c);
            for j in 0..J {
                let plane = load_chunk(query.as_ptr().add(j * plane_bytes), plane_bytes, c);
                sums[j] = udot(sums[j], vcntq_u8(veorq_u8(code, plane)), vdupq_n_u8(1 << j));
            }
        }
    }
    let mut sum = sums[0];
    for j in 1..J {
        sum = vaddq_u32(sum, sums[j]);
    }
    sum
}

/// Chunk `c` of a plane that begins at `plane`; its last half may be missing and is zero then.
///
/// # Safety
/// `plane_bytes` bytes, a multiple of 8, are readable at `plane`, and chunk `c` begins before their end.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_chunk(plane: *const u8, plane_bytes: usize, c: usize) -> uint8x16_t {
    // SAFETY: as promised by the caller.
    unsafe {
        let start = plane.add(c * CHUNK);
        if plane_bytes - c * CHUNK >= CHUNK {
            vld1q_u8(start)
        } else {
            vcombine_u8(vld1_u8(start), vdup_n_u8(0))
        }
    }
}
