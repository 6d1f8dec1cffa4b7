//! Inner products of signed bytes by `VPDPBUSD`, which adds four products of unsigned and signed bytes to a 32-bit
//! lane. The row becomes unsigned by adding 128 (one XOR), which adds 128 times the sum of the query; that is taken
//! off at the end. Products of 255 * 128 and sums of four are exact, so no value saturates; sums of more wrap, and
//! wrap back. The loop is that of `levels`, with codes of eight bits.

use std::arch::x86_64::*;

use crate::kernels::gather::Gather;
use crate::kernels::levels::avx512::{block, listed};
use crate::kernels::vector::avx512::*;

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn dot(rows: &[i8], query: &[i8], out: &mut [i32]) {
    block::<8, 1>(bytemuck::cast_slice(rows), query, out);
    take_off(excess(query), out);
}

/// The same for listed rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn dot_rows(list: Gather, query: &[i8], out: &mut [i32]) {
    listed::<8, 1>(list, query, out);
    take_off(excess(query), out);
}

/// 128 times the sum of the query.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn excess(query: &[i8]) -> i32 {
    let (blocks, tail) = query.as_chunks::<64>();
    let all_128 = _mm512_set1_epi8(-128);
    let mut sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), all_128, load_i8_rest(tail));
    for block in blocks {
        sum = _mm512_dpbusd_epi32(sum, all_128, load_i8(block));
    }
    _mm512_reduce_add_epi32(sum)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn take_off(excess: i32, out: &mut [i32]) {
    out.iter_mut().for_each(|out| *out = out.wrapping_sub(excess));
}

/// Rows, and others, whose products are summed side by side: a register that is loaded serves four products.
const TILE: usize = 4;

/// Others that stay in the first-level cache while rows pass, at most, and their bytes.
const PANEL: usize = 64;
const PANEL_BYTES: usize = 16 << 10;

/// Products of all pairs, tile by tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::kernels) fn products(rows: &[i8], others: &[i8], dim: usize, out: &mut [i32]) {
    let count = others.len() / dim;
    let width = (PANEL_BYTES / dim / TILE * TILE).clamp(TILE, PANEL);
    for (nth, panel) in others.chunks(width * dim).enumerate() {
        let first = nth * width;
        let mut excesses = [0; PANEL];
        for (kept, other) in excesses.iter_mut().zip(panel.chunks_exact(dim)) {
            *kept = excess(other);
        }
        for (rows, out) in rows.chunks(TILE * dim).zip(out.chunks_mut(TILE * count)) {
            if rows.len() == TILE * dim {
                strip::<TILE>(rows, panel, dim, &excesses, &mut out[first..], count);
            } else {
                for (row, out) in rows.chunks_exact(dim).zip(out.chunks_mut(count)) {
                    strip::<1>(row, panel, dim, &excesses, &mut out[first..], count);
                }
            }
        }
    }
}

/// Writes the products of `R` rows and a panel; from row to row there are `count` places in `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn strip<const R: usize>(
    rows: &[i8],
    panel: &[i8],
    dim: usize,
    excesses: &[i32],
    out: &mut [i32],
    count: usize,
) {
    let mut at = 0;
    for others in panel.chunks(TILE * dim) {
        if others.len() == TILE * dim {
            let sums = tile::<R, TILE>(rows, others, dim);
            for r in 0..R {
                let sums = sum_across(sums[r]);
                for o in 0..TILE {
                    out[r * count + at + o] = sums[o].wrapping_sub(excesses[at + o]);
                }
            }
            at += TILE;
        } else {
            for other in others.chunks_exact(dim) {
                let sums = tile::<R, 1>(rows, other, dim);
                for r in 0..R {
                    out[r * count + at] = _mm512_reduce_add_epi32(sums[r][0]).wrapping_sub(excesses[at]);
                }
                at += 1;
            }
        }
    }
}

/// The products of `R` rows, 128 added to each of their bytes, and `C` others, to be added across.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const R: usize, const C: usize>(rows: &[i8], others: &[i8], dim: usize) -> [[__m512i; C]; R] {
    assert!(rows.len() == R * dim && others.len() == C * dim);
    let high = _mm512_set1_epi8(-128);
    let mut sums = [[_mm512_setzero_si512(); C]; R];
    let whole = dim - dim % 64;
    for i in (0..whole).step_by(64) {
        // SAFETY: 64 bytes from there on are of one row, whose place is below the lengths asserted above.
        let load =
            |bytes: &[i8], r: usize| unsafe { _mm512_loadu_si512(bytes.as_ptr().add(r * dim + i).cast()) };
        let mut b = [_mm512_setzero_si512(); C];
        for c in 0..C {
            b[c] = load(others, c);
        }
        for r in 0..R {
            let a = _mm512_xor_si512(load(rows, r), high);
            for c in 0..C {
                sums[r][c] = _mm512_dpbusd_epi32(sums[r][c], a, b[c]);
            }
        }
    }
    if whole < dim {
        let rest = |bytes: &[i8], r: usize| load_i8_rest(&bytes[r * dim + whole..(r + 1) * dim]);
        for r in 0..R {
            let a = _mm512_xor_si512(rest(rows, r), high);
            for c in 0..C {
                sums[r][c] = _mm512_dpbusd_epi32(sums[r][c], a, rest(others, c));
            }
        }
    }
    sums
}
