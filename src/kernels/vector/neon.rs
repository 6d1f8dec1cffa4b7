//! 128-bit loads, stores and sums, and the instructions that stable Rust has no intrinsics for.
//!
//! NEON is part of AArch64, so these functions need no check; `udot` and `sdot` need the extension `dotprod`.

use std::arch::aarch64::*;
use std::arch::asm;

use super::padded;

#[inline(always)]
pub(in crate::kernels) fn load_bytes(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference is to 16 readable bytes; the load asks for no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline(always)]
pub(in crate::kernels) fn load_i8(bytes: &[i8; 16]) -> int8x16_t {
    // SAFETY: the reference is to 16 readable bytes; the load asks for no alignment.
    unsafe { vld1q_s8(bytes.as_ptr()) }
}

/// Eight floats, as the other tables' kernels are written for; two registers here.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Eight(pub float32x4_t, pub float32x4_t);

impl Eight {
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn splat(value: f32) -> Eight {
        Eight(vdupq_n_f32(value), vdupq_n_f32(value))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    pub fn add(self, other: Eight) -> Eight {
        Eight(vaddq_f32(self.0, other.0), vaddq_f32(self.1, other.1))
    }

    /// The same, or +0 whatever it was.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn or_zero(self, keep: bool) -> Eight {
        let mask = vdupq_n_u32(u32::from(keep).wrapping_neg());
        let masked = |value| vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(value), mask));
        Eight(masked(self.0), masked(self.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    pub fn sub(self, other: Eight) -> Eight {
        Eight(vsubq_f32(self.0, other.0), vsubq_f32(self.1, other.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    pub fn mul(self, other: Eight) -> Eight {
        Eight(vmulq_f32(self.0, other.0), vmulq_f32(self.1, other.1))
    }
}

#[inline(always)]
pub(in crate::kernels) fn load_f32(lanes: &[f32; 8]) -> Eight {
    // SAFETY: the reference is to 8 readable f32; the loads ask for no alignment.
    unsafe { Eight(vld1q_f32(lanes.as_ptr()), vld1q_f32(lanes.as_ptr().add(4))) }
}

#[inline(always)]
pub(in crate::kernels) fn store_f32(lanes: &mut [f32; 8], value: Eight) {
    // SAFETY: the reference is to 8 writable f32; the stores ask for no alignment.
    unsafe {
        vst1q_f32(lanes.as_mut_ptr(), value.0);
        vst1q_f32(lanes.as_mut_ptr().add(4), value.1);
    }
}

/// Eight f16 bit patterns, widened.
#[inline(always)]
pub(in crate::kernels) fn load_f16(lanes: &[u16; 8]) -> Eight {
    let (low, high): (float32x4_t, float32x4_t);
    // SAFETY: the reference is to 16 readable bytes; FCVTL is part of AArch64 and writes its operands,
    // and exception flags of FPSR, which are not promised to be kept.
    unsafe {
        let halves = vld1q_u16(lanes.as_ptr());
        asm!(
            "fcvtl {low:v}.4s, {halves:v}.4h",
            "fcvtl2 {high:v}.4s, {halves:v}.8h",
            low = out(vreg) low,
            high = lateout(vreg) high,
            halves = in(vreg) halves,
            options(pure, nomem, nostack)
        );
    }
    Eight(low, high)
}

/// Eight bytes, widened.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) fn load_u8(lanes: &[u8; 8]) -> Eight {
    // SAFETY: the reference is to 8 readable bytes; the load asks for no alignment.
    let wide = vmovl_u8(unsafe { vld1_u8(lanes.as_ptr()) });
    Eight(vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))), vcvtq_f32_u32(vmovl_high_u16(wide)))
}

/// Fewer than eight floats, and zeros.
#[inline(always)]
pub(in crate::kernels) fn load_f32_rest(lanes: &[f32]) -> Eight {
    load_f32(&padded(lanes))
}

/// Fewer than eight f16 bit patterns, and zeros, widened.
#[inline(always)]
pub(in crate::kernels) fn load_f16_rest(lanes: &[u16]) -> Eight {
    load_f16(&padded(lanes))
}

/// Fewer than eight bytes, and zeros, widened.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) fn load_u8_rest(lanes: &[u8]) -> Eight {
    load_u8(&padded(lanes))
}

/// `sum` plus the products of unsigned bytes, four to a lane.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(in crate::kernels) fn udot(mut sum: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
    // SAFETY: the function has the feature that UDOT needs; it touches its operands only.
    unsafe {
        asm!(
            "udot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack)
        );
    }
    sum
}

/// `sum` plus the products of signed bytes, four to a lane.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(in crate::kernels) fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the function has the feature that SDOT needs; it touches its operands only.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack)
        );
    }
    sum
}
