//! One level at a time: the oracle.

use super::GROUP;

pub(super) fn two(codes: &[u8], query: &[i8], out: &mut [i32]) {
    rows::<2>(codes, query, out);
}

pub(super) fn four(codes: &[u8], query: &[i8], out: &mut [i32]) {
    rows::<4>(codes, query, out);
}

fn rows<const BITS: usize>(codes: &[u8], query: &[i8], out: &mut [i32]) {
    let group_bytes = GROUP * BITS / 8;
    for (code, out) in codes.chunks_exact(query.len() * BITS / 8).zip(out) {
        *out = 0;
        for (group, query) in code.chunks_exact(group_bytes).zip(query.chunks_exact(GROUP)) {
            for (field, query) in query.chunks_exact(group_bytes).enumerate() {
                for (byte, q) in group.iter().zip(query) {
                    *out += i32::from(byte >> (field * BITS) & ((1 << BITS) - 1)) * i32::from(*q);
                }
            }
        }
    }
}

/// Plain loops, which become vector code where the caller has more than the base set.
#[inline(always)]
pub(super) fn unpack(codes: &[u8], odd: &mut [i8]) {
    let (groups, _) = codes.as_chunks::<{ GROUP / 2 }>();
    let (integers, _) = odd.as_chunks_mut::<GROUP>();
    for (group, integers) in groups.iter().zip(integers) {
        let (low, high) = integers.split_at_mut(GROUP / 2);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(group) {
            *low = 2 * (byte & 15) as i8 - 15;
            *high = 2 * (byte >> 4) as i8 - 15;
        }
    }
}
