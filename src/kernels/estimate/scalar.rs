//! The weighted Hamming distance as the formula says it: the oracle.

use super::Shape;
use crate::kernels::gather::Gather;
use crate::kernels::hamming::scalar::hamming;

pub(in crate::kernels) fn estimate(codes: &[u8], shape: Shape, query: &[u8], out: &mut [u32]) {
    for (code, out) in codes.chunks_exact(shape.row_bytes()).zip(out) {
        *out = 0;
        for (b, plane) in code.chunks_exact(shape.plane_bytes).enumerate() {
            for (j, query_plane) in query.chunks_exact(shape.plane_bytes).enumerate() {
                *out += (hamming(plane, query_plane) as u32) << (b + j);
            }
        }
    }
}

pub(in crate::kernels) fn estimate_rows(rows: Gather, shape: Shape, query: &[u8], out: &mut [u32]) {
    rows.each(out, |code, out| estimate(code, shape, query, out));
}
