//! The weighted Hamming distance, plane by plane.

use super::Shape;
use crate::kernels::hamming::avx2::hamming;

#[target_feature(enable = "avx2,popcnt")]
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
