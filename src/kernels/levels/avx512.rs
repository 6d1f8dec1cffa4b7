//! 64 bytes of a code at a time: `VPDPBUSD` adds the products of unsigned levels and signed query, four to a lane,
//! exactly. Codes of eight bits go the same way, from `dot_i8`.
//!
//! A level is not shifted to the bottom of its byte: a field under its mask is a level times 4, 16 or 64, at most
//! 240, whose products are added up apart and divided once a row, without a remainder. The query is brought into the
//! order of the fields once a call, into memory that begins where cache lines do. Rows are read one after the other,
//! as the hardware's prefetch likes it, and summed across four at a time.

use std::arch::x86_64::*;

use super::GROUP;
use crate::kernels::gather::Gather;
use crate::kernels::vector::avx512::*;

/// Rows that are summed across together.
const TILE: usize = 4;

/// Bytes of a register.
const CHUNK: usize = 64;

/// Dimensions that are multiplied in one go over the rows.
const SLAB: usize = 1024;

/// Registers of a slab's query.
const SLAB_REGISTERS: usize = SLAB / CHUNK;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn two(codes: &[u8], query: &[i8], out: &mut [i32]) {
    block::<2, 4>(codes, query, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn two_rows(list: Gather, query: &[i8], out: &mut [i32]) {
    listed::<2, 4>(list, query, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn four(codes: &[u8], query: &[i8], out: &mut [i32]) {
    block::<4, 2>(codes, query, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn four_rows(list: Gather, query: &[i8], out: &mut [i32]) {
    listed::<4, 2>(list, query, out);
}

/// Writes the inner products of rows that lie one after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn block<const BITS: usize, const FIELDS: usize>(
    codes: &[u8],
    query: &[i8],
    out: &mut [i32],
) {
    let row_bytes = query.len() * BITS / 8;
    assert!(codes.len() == out.len() * row_bytes);
    for (i, slab) in query.chunks(SLAB).enumerate() {
        let start = i * SLAB * BITS / 8;
        // SAFETY: each is the slab of a row.
        let place = |r: usize| unsafe { codes.as_ptr().add(r * row_bytes + start) };
        // SAFETY: as said.
        unsafe { slab_of_rows::<BITS, FIELDS>(place, slab, i == 0, out) };
    }
}

/// Writes the inner products of listed rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn listed<const BITS: usize, const FIELDS: usize>(
    list: Gather,
    query: &[i8],
    out: &mut [i32],
) {
    assert!(list.len() == out.len() && list.row_bytes() == query.len() * BITS / 8);
    list.ask_first();
    for (i, slab) in query.chunks(SLAB).enumerate() {
        let start = i * SLAB * BITS / 8;
        // SAFETY: each is the slab of a row.
        let place = |r: usize| unsafe { list.next(r).as_ptr().add(start) };
        // SAFETY: as said.
        unsafe { slab_of_rows::<BITS, FIELDS>(place, slab, i == 0, out) };
    }
}

/// Writes (`first`) or adds the inner products of a slab of rows.
///
/// # Safety
/// `place` points to `query.len() * BITS / 8` bytes, for each place in `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn slab_of_rows<const BITS: usize, const FIELDS: usize>(
    place: impl Fn(usize) -> *const u8,
    query: &[i8],
    first: bool,
    out: &mut [i32],
) {
    let bytes = query.len() * BITS / 8;
    let mut fields = [_mm512_setzero_si512(); SLAB_REGISTERS];
    let (chunks, _) = fields.as_chunks_mut::<FIELDS>();
    for (fields, query) in chunks.iter_mut().zip(query.chunks(CHUNK * FIELDS)) {
        *fields = in_order_of_fields::<FIELDS>(query);
    }
    if query.len() == SLAB {
        let fields = fields;
        let query = fields.as_chunks::<FIELDS>().0;
        // SAFETY: as promised by the caller.
        sum_rows(|r| unsafe { products::<BITS, FIELDS>(place(r), SLAB * BITS / 8, query) }, first, out);
    } else {
        let query = &fields.as_chunks::<FIELDS>().0[..bytes.div_ceil(CHUNK)];
        // SAFETY: as promised by the caller.
        sum_rows(|r| unsafe { products::<BITS, FIELDS>(place(r), bytes, query) }, first, out);
    }
}

/// Writes (`first`) or adds the sum of the lanes of `row(r)` for each place in `out`.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_rows(row: impl Fn(usize) -> __m512i, first: bool, out: &mut [i32]) {
    let (tiles, rest) = out.as_chunks_mut::<TILE>();
    let mut r = 0;
    for out in tiles {
        let mut sums = [_mm512_setzero_si512(); TILE];
        for sum in &mut sums {
            *sum = row(r);
            r += 1;
        }
        let sums = sum_across(sums);
        for i in 0..TILE {
            out[i] = if first { sums[i] } else { out[i].wrapping_add(sums[i]) };
        }
    }
    for out in rest {
        let sum = _mm512_reduce_add_epi32(row(r));
        *out = if first { sum } else { out.wrapping_add(sum) };
        r += 1;
    }
}

/// The query of a chunk of codes: register `f` meets field `f`. What the query does not have is zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn in_order_of_fields<const FIELDS: usize>(query: &[i8]) -> [__m512i; FIELDS] {
    let mut x = [_mm512_setzero_si512(); FIELDS];
    for (x, group) in x.iter_mut().zip(query.chunks(GROUP)) {
        *x = load_i8_rest(group);
    }
    // Field f of a group is its part f, and the groups of a chunk lie one after the other: a transposition of parts.
    let mut y = x;
    if FIELDS == 2 {
        y[0] = _mm512_shuffle_i64x2::<0b01_00_01_00>(x[0], x[1]);
        y[1] = _mm512_shuffle_i64x2::<0b11_10_11_10>(x[0], x[1]);
    } else if FIELDS == 4 {
        let a = _mm512_shuffle_i64x2::<0b01_00_01_00>(x[0], x[1]);
        let b = _mm512_shuffle_i64x2::<0b01_00_01_00>(x[2], x[3]);
        let c = _mm512_shuffle_i64x2::<0b11_10_11_10>(x[0], x[1]);
        let d = _mm512_shuffle_i64x2::<0b11_10_11_10>(x[2], x[3]);
        y[0] = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
        y[1] = _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
        y[2] = _mm512_shuffle_i64x2::<0b10_00_10_00>(c, d);
        y[3] = _mm512_shuffle_i64x2::<0b11_01_11_01>(c, d);
    }
    y
}

/// The inner product of one row, to be added across.
///
/// # Safety
/// `bytes` bytes are readable at `row`, as many chunks as `query` has.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn products<const BITS: usize, const FIELDS: usize>(
    row: *const u8,
    bytes: usize,
    query: &[[__m512i; FIELDS]],
) -> __m512i {
    let mut sums = [_mm512_setzero_si512(); FIELDS];
    let whole = bytes / CHUNK;
    for (c, query) in query[..whole].iter().enumerate() {
        // SAFETY: as promised by the caller.
        let code = unsafe { _mm512_loadu_si512(row.add(c * CHUNK).cast()) };
        for f in 0..FIELDS {
            sums[f] = _mm512_dpbusd_epi32(sums[f], field::<BITS>(code, f), query[f]);
        }
    }
    if let Some(query) = query.get(whole) {
        // SAFETY: as promised by the caller.
        let rest = unsafe { std::slice::from_raw_parts(row.add(whole * CHUNK), bytes % CHUNK) };
        let code = load_parts(rest);
        for f in 0..FIELDS {
            sums[f] = _mm512_dpbusd_epi32(sums[f], field::<BITS>(code, f), query[f]);
        }
    }
    let mut total = sums[FIELDS - 1];
    for f in (0..FIELDS - 1).rev() {
        total = _mm512_add_epi32(sums[f], _mm512_sra_epi32(total, _mm_cvtsi64_si128(BITS as i64)));
    }
    total
}

/// Less than a chunk, and zeros. Quarters of one, as codes have them, without a load under a mask, which would wait for
/// the line behind, too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_parts(bytes: &[u8]) -> __m512i {
    const PART: usize = CHUNK / 4;
    const HALF: usize = 2 * PART;
    const THREE_PARTS: usize = 3 * PART;
    let place = bytes.as_ptr();
    // SAFETY: each load is of bytes that the slice has; none asks for alignment.
    unsafe {
        let part = |place: *const u8| _mm_loadu_si128(place.cast());
        let half = |place: *const u8| _mm256_loadu_si256(place.cast());
        match bytes.len() {
            PART => _mm512_zextsi128_si512(part(place)),
            HALF => _mm512_zextsi256_si512(half(place)),
            THREE_PARTS => {
                _mm512_inserti32x4::<2>(_mm512_zextsi256_si512(half(place)), part(place.add(HALF)))
            }
            _ => load_bytes_rest(bytes),
        }
    }
}

/// Field `f` of each byte where it stands, worth `2^(BITS * f)`; of 8 bits the byte, made unsigned by adding 128.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn field<const BITS: usize>(code: __m512i, f: usize) -> __m512i {
    match BITS {
        8 => _mm512_xor_si512(code, _mm512_set1_epi8(-128)),
        4 if f == 1 => _mm512_andnot_si512(_mm512_set1_epi8(15), code),
        4 => _mm512_and_si512(code, _mm512_set1_epi8(15)),
        _ => _mm512_and_si512(code, _mm512_set1_epi8(3 << (2 * f))),
    }
}

/// The scalar loops, compiled with more of the CPU.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn unpack(codes: &[u8], odd: &mut [i8]) {
    super::scalar::unpack(codes, odd);
}
