//! Sixteen bytes of codes at a time: shift, mask, and the products of signed bytes of `dot_i8`, since levels of up
//! to 15 are signed bytes as well.

use std::arch::aarch64::*;

use super::GROUP;
use crate::kernels::dot_i8::neon::widen_and_add;
use crate::kernels::vector::neon::{load_bytes, load_i8, sdot};

/// Both kernels, made with a function that adds the products of sixteen bytes to four lanes.
macro_rules! kernels {
    ($two:ident, $four:ident, $features:literal, $add_products:ident) => {
        #[target_feature(enable = $features)]
        pub(super) fn $four(codes: &[u8], query: &[i8], out: &mut [i32]) {
            let (query, _) = query.as_chunks::<GROUP>();
            for (code, out) in codes.chunks_exact(query.len() * GROUP / 2).zip(out) {
                let mut sum = vdupq_n_s32(0);
                for (group, query) in code.as_chunks::<{ GROUP / 2 }>().0.iter().zip(query) {
                    let (group, query) = (group.as_chunks::<16>().0, query.as_chunks::<16>().0);
                    for half in 0..2 {
                        let levels = load_bytes(&group[half]);
                        let low = vreinterpretq_s8_u8(vandq_u8(levels, vdupq_n_u8(0x0f)));
                        let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(levels));
                        sum = $add_products(sum, low, load_i8(&query[half]));
                        sum = $add_products(sum, high, load_i8(&query[2 + half]));
                    }
                }
                *out = vaddvq_s32(sum);
            }
        }

        #[target_feature(enable = $features)]
        pub(super) fn $two(codes: &[u8], query: &[i8], out: &mut [i32]) {
            let (query, _) = query.as_chunks::<GROUP>();
            for (code, out) in codes.chunks_exact(query.len() * GROUP / 4).zip(out) {
                let mut sum = vdupq_n_s32(0);
                for (group, query) in code.as_chunks::<{ GROUP / 4 }>().0.iter().zip(query) {
                    let mut levels = load_bytes(group);
                    for query in query.as_chunks::<16>().0 {
                        let field = vreinterpretq_s8_u8(vandq_u8(levels, vdupq_n_u8(0x03)));
                        sum = $add_products(sum, field, load_i8(query));
                        levels = vshrq_n_u8::<2>(levels);
                    }
                }
                *out = vaddvq_s32(sum);
            }
        }
    };
}

kernels!(two, four, "neon", widen_and_add);
kernels!(two_by_sdot, four_by_sdot, "neon,dotprod", sdot);
