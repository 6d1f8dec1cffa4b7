//! The weighted Hamming distance on 256-bit registers, in two ways.
//!
//! **By popcount**, for a few rows or an unprepared query: `VPSHUFB` counts the bits of nibbles, with a table worth
//! 2^j for query plane j, so that the counts of four planes add up in one byte.
//!
//! **By columns**, for blocks of a prepared query. What the nibble at place p of a code adds to the sum depends on
//! the query and on 16 values of that nibble: one `VPSHUFB` looks it up for every row that stands in a register,
//! whatever the number of planes. Rows lie one after the other, so sixteen of them are transposed on the way, 16
//! columns of bytes a lane; that costs as much as the look-ups and still leaves half of the popcount's time:
//!
//! ```text
//! a chunk: 16 rows x 32 bytes     64 unpacks: a register holds byte c of rows 0..16 and byte c + 16 of rows 0..16
//!                                 32 look-ups: low and high nibble of 16 columns, each lane with its own table
//! sums:    bytes (two columns, at most 4 * 60) -> u16 (at most 512 columns) -> u32
//! ```
//!
//! A table entry must stay below 64 for that, hence four query planes a table; a query of 5 to 8 planes has two.

use std::arch::x86_64::*;

use super::Shape;
use crate::kernels::gather::Gather;
use crate::kernels::hamming::avx2::nibble_counts;
use crate::kernels::prefetch::{ask_ahead, ask_first};
use crate::kernels::vector::avx2::*;

/// Rows that are transposed together: one for each byte of a lane.
const TILE: usize = 16;

/// Fewer rows are cheaper by popcount than as a part of a tile.
const TILE_ROWS_MIN: usize = 9;

/// Bytes of a row that a register holds of each row in a tile.
const CHUNK: usize = 32;

/// The tables of one chunk: for each of 16 columns c the low and the high nibble's, each with byte c in the lower
/// and byte c + 16 in the upper lane.
const CHUNK_TABLES: usize = 16 * 2 * 32;

/// Chunks whose sums fit 16 bits: 16 * 32 * 2 nibbles of at most 60.
const CHUNKS_A_SUM: usize = 16;

/// Bytes of a row of one plane and 1024 dimensions, which has a kernel of its own.
const ROW_1024: usize = 128;

/// Query planes in a table.
const PLANES_A_TABLE: usize = 4;

/// Bytes of the query's planes with the tables behind them; a single plane is faster without.
pub(in crate::kernels) fn prepared_bytes(shape: Shape) -> usize {
    if shape.query_planes == 1 {
        return shape.query_bytes();
    }
    let tables = shape.query_planes.div_ceil(PLANES_A_TABLE) * shape.plane_bytes.div_ceil(CHUNK);
    shape.query_bytes() + tables * CHUNK_TABLES
}

/// `[byte][n]`: bits that differ between `n` and the byte's low nibble, then between `n` and its high nibble.
static NIBBLE_DISTANCES: [[u8; 32]; 256] = {
    let mut table = [[0; 32]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut n = 0;
        while n < 16 {
            table[byte][n] = ((byte & 15) ^ n).count_ones() as u8;
            table[byte][16 + n] = ((byte >> 4) ^ n).count_ones() as u8;
            n += 1;
        }
        byte += 1;
    }
    table
};

/// Writes the tables behind the planes. They lie as they are read: chunk by chunk, in it table by table.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn prepare(shape: Shape, query: &mut [u8]) {
    let (planes, tables) = query.split_at_mut(shape.query_bytes());
    let (tables, _) = tables.as_chunks_mut::<CHUNK_TABLES>();
    let groups = shape.query_planes.div_ceil(PLANES_A_TABLE);
    for (i, tables) in tables.iter_mut().enumerate() {
        let (chunk, j) = (i / groups, i % groups * PLANES_A_TABLE);
        let planes = &planes[j * shape.plane_bytes..];
        match shape.query_planes - j {
            1 => chunk_tables::<1>(planes, shape.plane_bytes, chunk, tables),
            2 => chunk_tables::<2>(planes, shape.plane_bytes, chunk, tables),
            3 => chunk_tables::<3>(planes, shape.plane_bytes, chunk, tables),
            _ => chunk_tables::<4>(planes, shape.plane_bytes, chunk, tables),
        }
    }
}

/// Writes the tables of one chunk for the first `J` of the query's planes.
#[inline]
#[target_feature(enable = "avx2")]
fn chunk_tables<const J: usize>(
    planes: &[u8],
    plane_bytes: usize,
    chunk: usize,
    tables: &mut [u8; CHUNK_TABLES],
) {
    // Zeros behind the end, where rows are padded with zeros too.
    let mut bytes = [[0; CHUNK]; J];
    let left = CHUNK.min(plane_bytes - chunk * CHUNK);
    for (j, bytes) in bytes.iter_mut().enumerate() {
        bytes[..left].copy_from_slice(&planes[j * plane_bytes + chunk * CHUNK..][..left]);
    }
    for (c, pair) in tables.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let (lower, upper) = (both_nibbles(&bytes, c), both_nibbles(&bytes, 16 + c));
        let (low, high) = pair.split_at_mut(32);
        store_bytes(low, _mm256_permute2x128_si256::<0x20>(lower, upper));
        store_bytes(high, _mm256_permute2x128_si256::<0x31>(lower, upper));
    }
}

/// The tables of both nibbles of byte `c`.
#[inline]
#[target_feature(enable = "avx2")]
fn both_nibbles<const J: usize>(bytes: &[[u8; CHUNK]; J], c: usize) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    for j in (0..J).rev() {
        let distances = load_bytes(&NIBBLE_DISTANCES[usize::from(bytes[j][c])]);
        sum = _mm256_add_epi8(_mm256_add_epi8(sum, sum), distances);
    }
    sum
}

#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn estimate(codes: &[u8], shape: Shape, query: &[u8], out: &mut [u32]) {
    let (planes, tables) = query.split_at(shape.query_bytes());
    let row_bytes = shape.row_bytes();
    assert!(codes.len() == out.len() * row_bytes);
    if tables.is_empty() || out.len() < TILE_ROWS_MIN {
        // A few rows at a time, since each group of planes passes over them.
        for (i, out) in out.chunks_mut(TILE).enumerate() {
            let codes = &codes[i * TILE * row_bytes..];
            // SAFETY: the codes of `out.len()` rows are left.
            unsafe { by_popcount(|r| codes.as_ptr().add(r * row_bytes), shape, planes, out) };
        }
        return;
    }
    let tile_bytes = TILE * row_bytes;
    ask_first(codes);
    for (i, out) in out.chunks_mut(TILE).enumerate() {
        ask_ahead(codes, i * tile_bytes, tile_bytes);
        let codes = &codes[i * tile_bytes..];
        if row_bytes == ROW_1024 && out.len() == TILE {
            // SAFETY: the codes of sixteen rows are left. A known distance spares the kernel sixteen pointers.
            unsafe { by_columns(|r| codes.as_ptr().add(r * ROW_1024), shape, tables, out) };
            continue;
        }
        let mut rows = [codes.as_ptr(); TILE];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = row.wrapping_add(r.min(out.len() - 1) * row_bytes);
        }
        // SAFETY: the codes of `out.len()` rows are left, and no row's place is above that.
        unsafe { by_columns(|r| rows[r], shape, tables, out) };
    }
}

/// The same for listed rows.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn estimate_rows(rows: Gather, shape: Shape, query: &[u8], out: &mut [u32]) {
    let (planes, tables) = query.split_at(shape.query_bytes());
    assert!(rows.len() == out.len() && rows.row_bytes() == shape.row_bytes());
    rows.ask_first();
    for (i, out) in out.chunks_mut(TILE).enumerate() {
        let mut places = [std::ptr::null(); TILE];
        for (r, place) in places.iter_mut().enumerate() {
            *place = rows.next(i * TILE + r.min(out.len() - 1)).as_ptr();
        }
        // SAFETY: each place is that of a row of `row_bytes`.
        unsafe {
            if tables.is_empty() || out.len() < TILE_ROWS_MIN {
                by_popcount(|r| places[r], shape, planes, out);
            } else {
                by_columns(|r| places[r], shape, tables, out);
            }
        }
    }
}

/// Writes the sums of rows.
///
/// # Safety
/// `rows` points to the code of a row, for each place in `out`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn by_popcount(rows: impl Fn(usize) -> *const u8, shape: Shape, planes: &[u8], out: &mut [u32]) {
    assert!(planes.len() == shape.query_bytes());
    out.fill(0);
    for b in 0..shape.code_planes {
        for j in (0..shape.query_planes).step_by(PLANES_A_TABLE) {
            let planes = &planes[j * shape.plane_bytes..];
            // SAFETY: as promised by the caller.
            unsafe {
                match shape.query_planes - j {
                    1 => add_by_popcount::<1>(&rows, b, planes, shape.plane_bytes, b + j, out),
                    2 => add_by_popcount::<2>(&rows, b, planes, shape.plane_bytes, b + j, out),
                    3 => add_by_popcount::<3>(&rows, b, planes, shape.plane_bytes, b + j, out),
                    _ => add_by_popcount::<4>(&rows, b, planes, shape.plane_bytes, b + j, out),
                }
            }
        }
    }
}

/// Adds the sums, times `2^weight`, of plane `b` of the rows against the first `J` of the query's planes.
///
/// # Safety
/// `rows` points to the code of a row, for each place in `out`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_by_popcount<const J: usize>(
    rows: &impl Fn(usize) -> *const u8,
    b: usize,
    planes: &[u8],
    plane_bytes: usize,
    weight: usize,
    out: &mut [u32],
) {
    assert!(planes.len() >= J * plane_bytes);
    let mut counts = [nibble_counts(); J];
    for j in 1..J {
        counts[j] = _mm256_add_epi8(counts[j - 1], counts[j - 1]);
    }
    let (whole, left) = (plane_bytes / CHUNK, plane_bytes % CHUNK);
    let mut query = [_mm256_setzero_si256(); J];
    for (r, out) in out.iter_mut().enumerate() {
        // SAFETY: the row has a plane `b` of `plane_bytes`.
        let code = unsafe { std::slice::from_raw_parts(rows(r).add(b * plane_bytes), plane_bytes) };
        let mut sum = _mm256_setzero_si256();
        // At most 2 * 4 * 15 in a byte.
        let mut add = |code: __m256i, query: [__m256i; J]| {
            let mut bytes = _mm256_setzero_si256();
            for j in 0..J {
                bytes = _mm256_add_epi8(bytes, weigh(_mm256_xor_si256(code, query[j]), counts[j]));
            }
            sum = _mm256_add_epi64(sum, _mm256_sad_epu8(bytes, _mm256_setzero_si256()));
        };
        for chunk in 0..whole {
            // SAFETY: each plane has `whole` chunks, the row's and the query's by the assertion.
            unsafe {
                for j in 0..J {
                    let plane = planes.as_ptr().add(j * plane_bytes + chunk * CHUNK);
                    query[j] = _mm256_loadu_si256(plane.cast());
                }
                add(_mm256_loadu_si256(code.as_ptr().add(chunk * CHUNK).cast()), query);
            }
        }
        if left > 0 {
            let tail = whole * CHUNK;
            for j in 0..J {
                query[j] = load_words(&planes[j * plane_bytes + tail..][..left]);
            }
            add(load_words(&code[tail..]), query);
        }
        *out += (sum_u64(sum) as u32) << weight;
    }
}

/// Each byte's bits, counted with a table of a nibble's weighted bits.
#[inline]
#[target_feature(enable = "avx2")]
fn weigh(bits: __m256i, counts: __m256i) -> __m256i {
    let nibble = _mm256_set1_epi8(15);
    let low = _mm256_shuffle_epi8(counts, _mm256_and_si256(bits, nibble));
    let high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16::<4>(bits), nibble));
    _mm256_add_epi8(low, high)
}

/// Writes the sums of up to sixteen rows.
///
/// # Safety
/// `rows` points to the code of a row, for each of 0 to 15.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn by_columns(rows: impl Fn(usize) -> *const u8, shape: Shape, tables: &[u8], out: &mut [u32]) {
    let (tables, _) = tables.as_chunks::<CHUNK_TABLES>();
    let mut sums = [0; TILE];
    let sums = out.first_chunk_mut().unwrap_or(&mut sums);
    // SAFETY: as promised by the caller.
    unsafe {
        match shape.query_planes {
            0..=PLANES_A_TABLE => tile::<1>(&rows, shape, tables, sums),
            _ => tile::<2>(&rows, shape, tables, sums),
        }
    }
    let sums = *sums;
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
}

/// Writes the sums of sixteen rows, with `G` tables a chunk.
///
/// # Safety
/// `rows` points to the code of a row, for each of 0 to 15.
#[target_feature(enable = "avx2")]
unsafe fn tile<const G: usize>(
    rows: impl Fn(usize) -> *const u8,
    shape: Shape,
    tables: &[[u8; CHUNK_TABLES]],
    out: &mut [u32; TILE],
) {
    let plane_bytes = shape.plane_bytes;
    let (whole, chunks) = (plane_bytes / CHUNK, plane_bytes.div_ceil(CHUNK));
    assert!(tables.len() == G * chunks);
    let mut sums = [_mm256_setzero_si256(); 2];
    for b in 0..shape.code_planes {
        let plane = b * plane_bytes;
        for start in (0..whole).step_by(CHUNKS_A_SUM) {
            let mut columns = [Columns::zero(); G];
            for chunk in start..whole.min(start + CHUNKS_A_SUM) {
                // SAFETY: the plane has `whole` chunks.
                let load = |r| unsafe { _mm256_loadu_si256(rows(r).add(plane + chunk * CHUNK).cast()) };
                look_up(load, &tables[chunk * G..][..G], &mut columns);
            }
            add_weighted(&mut sums, &columns, b);
        }
        if whole < chunks {
            let mut columns = [Columns::zero(); G];
            let left = plane_bytes - whole * CHUNK;
            let load = |r| {
                // SAFETY: `left` bytes of the plane follow its whole chunks.
                load_words(unsafe { std::slice::from_raw_parts(rows(r).add(plane + whole * CHUNK), left) })
            };
            look_up(load, &tables[whole * G..][..G], &mut columns);
            add_weighted(&mut sums, &columns, b);
        }
    }
    let (low, high) = out.split_at_mut(8);
    store_u32(low, sums[0]);
    store_u32(high, sums[1]);
}

/// Adds the sums of plane `b` against each group of the query's planes.
#[inline]
#[target_feature(enable = "avx2")]
fn add_weighted<const G: usize>(sums: &mut [__m256i; 2], columns: &[Columns; G], b: usize) {
    for (g, columns) in columns.iter().enumerate() {
        let weight = _mm_cvtsi64_si128((b + g * PLANES_A_TABLE) as i64);
        let rows = columns.sums();
        sums[0] = _mm256_add_epi32(sums[0], _mm256_sll_epi32(rows[0], weight));
        sums[1] = _mm256_add_epi32(sums[1], _mm256_sll_epi32(rows[1], weight));
    }
}

/// Sums of looked-up bytes, sixteen rows in each lane. Even rows are in `all` too, under the odd ones' overflow.
#[derive(Clone, Copy)]
struct Columns {
    all: __m256i,
    odd: __m256i,
}

impl Columns {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn zero() -> Columns {
        Columns { all: _mm256_setzero_si256(), odd: _mm256_setzero_si256() }
    }

    /// Adds bytes of at most 255.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(&mut self, bytes: __m256i) {
        self.all = _mm256_add_epi16(self.all, bytes);
        self.odd = _mm256_add_epi16(self.odd, _mm256_srli_epi16::<8>(bytes));
    }

    /// The sums of rows 0 to 7 and 8 to 15.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn sums(&self) -> [__m256i; 2] {
        let even = _mm256_sub_epi16(self.all, _mm256_slli_epi16::<8>(self.odd));
        let even = _mm_add_epi16(_mm256_castsi256_si128(even), _mm256_extracti128_si256::<1>(even));
        let odd = _mm_add_epi16(_mm256_castsi256_si128(self.odd), _mm256_extracti128_si256::<1>(self.odd));
        [
            _mm256_cvtepu16_epi32(_mm_unpacklo_epi16(even, odd)),
            _mm256_cvtepu16_epi32(_mm_unpackhi_epi16(even, odd)),
        ]
    }
}

/// Looks up a chunk of sixteen rows, which `load` loads, in its `G` tables.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up<const G: usize>(
    load: impl Fn(usize) -> __m256i,
    tables: &[[u8; CHUNK_TABLES]],
    columns: &mut [Columns; G],
) {
    let nibble = _mm256_set1_epi8(15);
    for half in 0..2 {
        let bytes = eight_columns(&load, half);
        for pair in 0..4 {
            for g in 0..G {
                let (tables, _) = tables[g].as_chunks::<32>();
                let mut sum = _mm256_setzero_si256();
                for c in [2 * pair, 2 * pair + 1] {
                    let (low, high) = (&tables[2 * (8 * half + c)], &tables[2 * (8 * half + c) + 1]);
                    let low = _mm256_shuffle_epi8(load_bytes(low), _mm256_and_si256(bytes[c], nibble));
                    let shifted = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes[c]), nibble);
                    let high = _mm256_shuffle_epi8(load_bytes(high), shifted);
                    sum = _mm256_add_epi8(sum, _mm256_add_epi8(low, high));
                }
                columns[g].add(sum);
            }
        }
    }
}

/// Columns 0 to 7 (`half` 0) or 8 to 15 (`half` 1) of sixteen rows, in each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn eight_columns(load: impl Fn(usize) -> __m256i, half: usize) -> [__m256i; 8] {
    let mut by_8 = [_mm256_setzero_si256(); 8];
    for r in 0..8 {
        let (a, b) = (load(r), load(r + 8));
        by_8[r] = if half == 0 { _mm256_unpacklo_epi8(a, b) } else { _mm256_unpackhi_epi8(a, b) };
    }
    // Each step interleaves the bytes of two registers: rows r, r + 4, r + 8, r + 12 of four columns; every other
    // row of two columns; all rows of one.
    let mut by_4 = by_8;
    for r in 0..4 {
        by_4[r] = _mm256_unpacklo_epi8(by_8[r], by_8[r + 4]);
        by_4[4 + r] = _mm256_unpackhi_epi8(by_8[r], by_8[r + 4]);
    }
    let mut by_2 = by_4;
    for i in [0, 1, 4, 5] {
        by_2[i] = _mm256_unpacklo_epi8(by_4[i], by_4[i + 2]);
        by_2[i + 2] = _mm256_unpackhi_epi8(by_4[i], by_4[i + 2]);
    }
    let mut by_1 = by_2;
    for i in [0, 2, 4, 6] {
        by_1[i] = _mm256_unpacklo_epi8(by_2[i], by_2[i + 1]);
        by_1[i + 1] = _mm256_unpackhi_epi8(by_2[i], by_2[i + 1]);
    }
    by_1
}
