//! 64 bytes of codes at a time, four rows side by side: `VPDPBUSD` adds the products of unsigned levels and signed
//! query, four to a lane, exactly.
//!
//! A level is not shifted to the bottom of its byte: a field under its mask is a level times 4, 16 or 64, at most
//! 240, whose products are added up apart and divided once a row, without a remainder. The query is brought into the
//! order of the fields as it is loaded, once for four rows.

use std::arch::x86_64::*;

use super::GROUP;
use crate::kernels::gather::Gather;
use crate::kernels::vector::avx512::*;

/// Rows that share a load of the query.
const TILE: usize = 4;

/// Bytes of a register.
const CHUNK: usize = 64;

/// The kernels for codes of some bits, made with the function for the sums of `N` rows.
macro_rules! kernels {
    ($block:ident, $list:ident, $rows:ident, $sums:ident, $bits:literal) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        pub(super) fn $block(codes: &[u8], query: &[i8], out: &mut [i32]) {
            let row_bytes = query.len() * $bits / 8;
            assert!(codes.len() == out.len() * row_bytes);
            // SAFETY: each is the code of a row.
            unsafe { $rows(|r| codes.as_ptr().add(r * row_bytes), query, out) }
        }

        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        pub(super) fn $list(list: Gather, query: &[i8], out: &mut [i32]) {
            assert!(list.len() == out.len() && list.row_bytes() == query.len() * $bits / 8);
            list.ask_first();
            // SAFETY: each is the code of a row.
            unsafe { $rows(|r| list.next(r).as_ptr(), query, out) }
        }

        /// Writes the inner products of rows.
        ///
        /// # Safety
        /// `place` points to the code of a row, for each place in `out`.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn $rows(place: impl Fn(usize) -> *const u8, query: &[i8], out: &mut [i32]) {
            let (tiles, rest) = out.as_chunks_mut::<TILE>();
            for (i, out) in tiles.iter_mut().enumerate() {
                let r = i * TILE;
                // SAFETY: as promised by the caller.
                let sums = unsafe { $sums([place(r), place(r + 1), place(r + 2), place(r + 3)], query) };
                *out = sum_across(sums);
            }
            for (i, out) in rest.iter_mut().enumerate() {
                // SAFETY: as promised by the caller.
                let [sum] = unsafe { $sums([place(tiles.len() * TILE + i)], query) };
                *out = _mm512_reduce_add_epi32(sum);
            }
        }
    };
}

kernels!(two, two_rows, two_of, two_sums, 2);
kernels!(four, four_rows, four_of, four_sums, 4);

/// The inner products of `N` rows of 4-bit levels, to be added across.
///
/// # Safety
/// `rows` point to `query.len() / 2` bytes each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn four_sums<const N: usize>(rows: [*const u8; N], query: &[i8]) -> [__m512i; N] {
    let mask = _mm512_set1_epi8(0x0f);
    let (mut low, mut high) = ([_mm512_setzero_si512(); N], [_mm512_setzero_si512(); N]);
    let (pairs, last) = query.as_chunks::<{ 2 * GROUP }>();
    for (c, pair) in pairs.iter().enumerate() {
        let [a, b] = [0, 1].map(|group| &pair.as_chunks::<GROUP>().0[group]);
        let (a, b) = (load_i8(a), load_i8(b));
        let query =
            (_mm512_shuffle_i64x2::<0b01_00_01_00>(a, b), _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b));
        for r in 0..N {
            // SAFETY: as promised by the caller: a chunk of codes is two groups.
            let code = unsafe { _mm512_loadu_si512(rows[r].add(c * CHUNK).cast()) };
            low[r] = _mm512_dpbusd_epi32(low[r], _mm512_and_si512(code, mask), query.0);
            high[r] = _mm512_dpbusd_epi32(high[r], _mm512_andnot_si512(mask, code), query.1);
        }
    }
    if let Some(last) = last.first_chunk::<GROUP>() {
        let query = load_i8(last);
        let upper = _mm512_shuffle_i64x2::<0b11_10_11_10>(query, query);
        for r in 0..N {
            // SAFETY: as promised by the caller; bytes that the mask leaves out, half of them, are not accessed.
            let code = unsafe { _mm512_maskz_loadu_epi64(0x0f, rows[r].add(pairs.len() * CHUNK).cast()) };
            low[r] = _mm512_dpbusd_epi32(low[r], _mm512_and_si512(code, mask), query);
            high[r] = _mm512_dpbusd_epi32(high[r], _mm512_andnot_si512(mask, code), upper);
        }
    }
    for r in 0..N {
        low[r] = _mm512_add_epi32(low[r], _mm512_srai_epi32::<4>(high[r]));
    }
    low
}

/// The inner products of `N` rows of 2-bit levels, to be added across.
///
/// # Safety
/// `rows` point to `query.len() / 4` bytes each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn two_sums<const N: usize>(rows: [*const u8; N], query: &[i8]) -> [__m512i; N] {
    let mask = _mm512_set1_epi8(0x03);
    let masks =
        [mask, _mm512_slli_epi16::<2>(mask), _mm512_slli_epi16::<4>(mask), _mm512_slli_epi16::<6>(mask)];
    let mut sums = [[_mm512_setzero_si512(); 4]; N];
    for (c, groups) in query.chunks(4 * GROUP).enumerate() {
        // A quarter of a code's register is a group; quarters behind the last one are zero.
        let quarters = groups.len() / GROUP;
        let mut loaded = [_mm512_setzero_si512(); 4];
        for (loaded, group) in loaded.iter_mut().zip(groups.as_chunks::<GROUP>().0) {
            *loaded = load_i8(group);
        }
        let query = transpose_quarters(loaded);
        let words = ((1u32 << (2 * quarters)) - 1) as u8;
        for r in 0..N {
            // SAFETY: as promised by the caller; words that the mask leaves out are not accessed.
            let code = unsafe { _mm512_maskz_loadu_epi64(words, rows[r].add(c * CHUNK).cast()) };
            for field in 0..4 {
                let levels = _mm512_and_si512(code, masks[field]);
                sums[r][field] = _mm512_dpbusd_epi32(sums[r][field], levels, query[field]);
            }
        }
    }
    let mut total = [_mm512_setzero_si512(); N];
    for r in 0..N {
        let low = _mm512_add_epi32(sums[r][0], _mm512_srai_epi32::<2>(sums[r][1]));
        let high = _mm512_add_epi32(sums[r][2], _mm512_srai_epi32::<2>(sums[r][3]));
        total[r] = _mm512_add_epi32(low, _mm512_srai_epi32::<4>(high));
    }
    total
}

/// Quarter `i` of register `j` becomes quarter `j` of register `i`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_quarters(x: [__m512i; 4]) -> [__m512i; 4] {
    let (a, b) = (
        _mm512_shuffle_i64x2::<0b01_00_01_00>(x[0], x[1]),
        _mm512_shuffle_i64x2::<0b01_00_01_00>(x[2], x[3]),
    );
    let (c, d) = (
        _mm512_shuffle_i64x2::<0b11_10_11_10>(x[0], x[1]),
        _mm512_shuffle_i64x2::<0b11_10_11_10>(x[2], x[3]),
    );
    [
        _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b),
        _mm512_shuffle_i64x2::<0b10_00_10_00>(c, d),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(c, d),
    ]
}
