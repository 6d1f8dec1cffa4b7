//! The weighted Hamming distance by `VPOPCNTQ`: each plane of the query is met by XOR and counted in 64-bit lanes,
//! then the planes' counts are weighted by doubling, highest plane first, and eight rows are summed across at once.
//! Queries of four planes and up to 2048 dimensions stay in registers for a whole block.
//!
//! Rows in order are not asked for ahead: the hardware does it better (`docs/experiments.md`). The last load of a row
//! ends where the row ends: one under a mask would wait for the line behind it, which nobody asked for.

use std::arch::x86_64::*;

use super::Shape;
use crate::kernels::gather::Gather;

/// Rows that are summed across together: one for each lane.
const TILE: usize = 8;

/// Bytes of a register.
const CHUNK: usize = 64;

/// Registers that hold a query at most: half of all.
const QUERY_REGISTERS: usize = 16;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
pub(in crate::kernels) fn estimate(codes: &[u8], shape: Shape, query: &[u8], out: &mut [u32]) {
    let row_bytes = shape.row_bytes();
    assert!(codes.len() == out.len() * row_bytes);
    // SAFETY: each is the code of a row.
    unsafe { rows(|r| codes.as_ptr().add(r * row_bytes), shape, query, out) };
}

/// The same for listed rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
pub(in crate::kernels) fn estimate_rows(list: Gather, shape: Shape, query: &[u8], out: &mut [u32]) {
    assert!(list.len() == out.len() && list.row_bytes() == shape.row_bytes());
    list.ask_first();
    // SAFETY: each is the code of a row.
    unsafe { rows(|r| list.next(r).as_ptr(), shape, query, out) };
}

/// Writes the sums of rows.
///
/// # Safety
/// `rows` points to the code of a row, for each place in `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
unsafe fn rows(rows: impl Fn(usize) -> *const u8, shape: Shape, query: &[u8], out: &mut [u32]) {
    // SAFETY: as promised by the caller.
    unsafe {
        match shape.query_planes {
            1 => rows_of::<1>(rows, shape, query, out),
            2 => rows_of::<2>(rows, shape, query, out),
            3 => rows_of::<3>(rows, shape, query, out),
            4 => rows_of::<4>(rows, shape, query, out),
            5 => rows_of::<5>(rows, shape, query, out),
            6 => rows_of::<6>(rows, shape, query, out),
            7 => rows_of::<7>(rows, shape, query, out),
            _ => rows_of::<8>(rows, shape, query, out),
        }
    }
}

/// The same for a query of `J` planes.
///
/// # Safety
/// As [`rows`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
unsafe fn rows_of<const J: usize>(
    rows: impl Fn(usize) -> *const u8,
    shape: Shape,
    query: &[u8],
    out: &mut [u32],
) {
    let plane_bytes = shape.plane_bytes;
    assert!(query.len() == J * plane_bytes);
    // SAFETY: as promised by the caller.
    unsafe {
        match plane_bytes.div_ceil(CHUNK) {
            1 if shape.code_planes == 1 => rows_in_registers::<J, 1>(rows, plane_bytes, query, out),
            2 if shape.code_planes == 1 => rows_in_registers::<J, 2>(rows, plane_bytes, query, out),
            3 if shape.code_planes == 1 && 3 * J <= QUERY_REGISTERS => {
                rows_in_registers::<J, 3>(rows, plane_bytes, query, out)
            }
            4 if shape.code_planes == 1 && 4 * J <= QUERY_REGISTERS => {
                rows_in_registers::<J, 4>(rows, plane_bytes, query, out)
            }
            _ => rows_of_any_length::<J>(rows, shape, query, out),
        }
    }
}

/// The same for codes of one plane of `C` registers, the query in `J * C` registers.
///
/// # Safety
/// As [`rows`]; `query` is `J * plane_bytes` long, and `plane_bytes.div_ceil(CHUNK)` is `C`: all chunks of a plane but
/// the last are whole, and where there are several, the last [`CHUNK`] bytes of a plane lie inside it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
unsafe fn rows_in_registers<const J: usize, const C: usize>(
    rows: impl Fn(usize) -> *const u8,
    plane_bytes: usize,
    query: &[u8],
    out: &mut [u32],
) {
    debug_assert_eq!(plane_bytes.div_ceil(CHUNK), C);
    let mut planes = [[_mm512_setzero_si512(); C]; J];
    for j in 0..J {
        for c in 0..C - 1 {
            // SAFETY: plane `j` lies in the query, as promised.
            planes[j][c] = unsafe { load_chunk(query.as_ptr().add(j * plane_bytes), plane_bytes, c) };
        }
    }
    // The last chunk is read so that it ends where the row ends: what lies behind is on a line that nobody asked for.
    let (last, end) = if C > 1 {
        // Words that the chunk before has, too, are not wanted again.
        (u8::MAX << ((C * CHUNK - plane_bytes) / 8), plane_bytes - CHUNK)
    } else {
        (mask_of_chunk(plane_bytes, 0), 0)
    };
    for j in 0..J {
        // SAFETY: the last bytes of plane `j`, or all of them where they are no more than a register holds.
        planes[j][C - 1] =
            unsafe { _mm512_maskz_loadu_epi64(last, query.as_ptr().add(j * plane_bytes + end).cast()) };
    }
    let row = |r: usize| {
        let place = rows(r);
        let mut counts = [_mm512_setzero_si512(); J];
        for c in 0..C {
            // SAFETY: as promised by the caller; all chunks but the last are whole.
            let code = unsafe {
                if c + 1 < C {
                    _mm512_loadu_epi64(place.add(c * CHUNK).cast())
                } else {
                    _mm512_maskz_loadu_epi64(last, place.add(end).cast())
                }
            };
            for j in 0..J {
                let count = differing(code, planes[j][c]);
                counts[j] = if c == 0 { count } else { _mm512_add_epi64(counts[j], count) };
            }
        }
        weighted(counts)
    };
    sum_rows(row, out);
}

/// The same for codes of any shape.
///
/// # Safety
/// As [`rows`]; `query` is `J * shape.plane_bytes` long.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
unsafe fn rows_of_any_length<const J: usize>(
    rows: impl Fn(usize) -> *const u8,
    shape: Shape,
    query: &[u8],
    out: &mut [u32],
) {
    let plane_bytes = shape.plane_bytes;
    let row = |r: usize| {
        let place = rows(r);
        let mut sum = _mm512_setzero_si512();
        for b in 0..shape.code_planes {
            let mut counts = [_mm512_setzero_si512(); J];
            for c in 0..plane_bytes.div_ceil(CHUNK) {
                // SAFETY: as promised by the caller; plane `b` lies in the row, plane `j` in the query.
                unsafe {
                    let code = load_chunk(place.add(b * plane_bytes), plane_bytes, c);
                    for j in 0..J {
                        let plane = load_chunk(query.as_ptr().add(j * plane_bytes), plane_bytes, c);
                        counts[j] = _mm512_add_epi64(counts[j], differing(code, plane));
                    }
                }
            }
            let shift = _mm_cvtsi64_si128(b as i64);
            sum = _mm512_add_epi64(sum, _mm512_sll_epi64(weighted(counts), shift));
        }
        sum
    };
    sum_rows(row, out);
}

/// The words of chunk `c` that a plane has.
#[inline(always)]
fn mask_of_chunk(plane_bytes: usize, c: usize) -> u8 {
    let words = plane_bytes.saturating_sub(c * CHUNK).min(CHUNK) / 8;
    ((1u32 << words) - 1) as u8
}

/// Chunk `c` of a plane that begins at `plane`, zeros behind its end.
///
/// # Safety
/// `plane_bytes` bytes are readable at `plane`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_chunk(plane: *const u8, plane_bytes: usize, c: usize) -> __m512i {
    let mask = mask_of_chunk(plane_bytes, c);
    // SAFETY: the words under the mask are inside the plane; others are not accessed.
    unsafe { _mm512_maskz_loadu_epi64(mask, plane.wrapping_add(c * CHUNK).cast()) }
}

/// The bits that differ, counted in each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn differing(a: __m512i, b: __m512i) -> __m512i {
    _mm512_popcnt_epi64(_mm512_xor_si512(a, b))
}

/// The sum of `2^j * counts[j]`.
#[inline]
#[target_feature(enable = "avx512f")]
fn weighted<const J: usize>(counts: [__m512i; J]) -> __m512i {
    let mut sum = counts[J - 1];
    for j in (0..J - 1).rev() {
        sum = _mm512_add_epi64(_mm512_add_epi64(sum, sum), counts[j]);
    }
    sum
}

/// Writes the sum of the lanes of `row(r)` for each place in `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn sum_rows(row: impl Fn(usize) -> __m512i, out: &mut [u32]) {
    let (tiles, rest) = out.as_chunks_mut::<TILE>();
    for (i, out) in tiles.iter_mut().enumerate() {
        let mut sums = [_mm512_setzero_si512(); TILE];
        for r in 0..TILE {
            sums[r] = row(i * TILE + r);
        }
        let sums = _mm512_cvtepi64_epi32(sum_across(sums));
        // SAFETY: the reference is to 8 writable u32; the store asks for no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) };
    }
    for (r, out) in rest.iter_mut().enumerate() {
        *out = _mm512_reduce_add_epi64(row(tiles.len() * TILE + r)) as u32;
    }
}

/// The sum of the lanes of each register, register r's in lane r.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_across(rows: [__m512i; TILE]) -> __m512i {
    // Two rows: even lanes become those of the first, odd ones those of the second.
    let pair = |a, b| _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    // Quarters 0 and 2 of both, plus quarters 1 and 3.
    let halve = |a, b| {
        let even = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
        _mm512_add_epi64(even, _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b))
    };
    let low = halve(pair(rows[0], rows[1]), pair(rows[2], rows[3]));
    let high = halve(pair(rows[4], rows[5]), pair(rows[6], rows[7]));
    halve(low, high)
}
