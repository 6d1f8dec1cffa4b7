//! The arithmetic that speed depends on: one table of functions for each kind of CPU.
//!
//! In and out: plain slices. The public functions are methods of [`Kernels`], one family a folder; each folder's
//! `mod.rs` states the contract, asserts the lengths and holds the table of costs, beside it lie `scalar.rs` (the
//! oracle) and one file for each instruction set. A method costs one indirect call, so the hot ones take whole
//! blocks of rows.
//!
//! **Why a table is safe.** The functions behind it need CPU features, hence `unsafe` pointers in private fields.
//! A [`Kernels`] is only handed out by [`Kernels::detect`] and [`Kernels::available`], which look at the CPU first:
//! whoever holds a table may call all of it.
//!
//! **Same bits everywhere.** Every function answers the same bits on every table: integers are exact, sums of
//! floats follow the one order that `distance` and `hadamard` fix. An index does not change its answers when it
//! moves to another machine. (NaN goes in, NaN comes out; its payload is not promised. The host must not have
//! switched on flush-to-zero where subnormal numbers matter.)
//!
//! | table | needs | chosen |
//! |---|---|---|
//! | `scalar` | nothing | where nothing below is found |
//! | `avx2` | AVX2, FMA, F16C, POPCNT | x86-64 since 2013 (Haswell) and 2017 (Zen) |
//! | `avx512` | also AVX-512 F, BW, VL, DQ, VNNI, VPOPCNTDQ | Ice Lake (2019), Zen 4 (2022) |
//! | `neon` | nothing | every AArch64 |
//! | `neon-dotprod` | the extension dotprod | most AArch64 since 2018; all Apple M |
//!
//! May import: `types`, `std::arch`. Never: allocates on a hot path, reads past a slice, fails.
#![allow(unsafe_code)]
// Loops over registers are written with the register's number.
#![allow(clippy::needless_range_loop)]

use std::sync::atomic::{AtomicUsize, Ordering};

pub mod convert;
pub mod distance;
pub mod dot_i8;
pub mod estimate;
mod gather;
pub mod hadamard;
pub mod hamming;
pub mod judge;
pub mod lanes;
pub mod levels;
mod prefetch;
pub mod quantise;
mod vector;

#[cfg(test)]
mod testing;

/// The functions for one kind of CPU; see the methods for what they compute.
pub struct Kernels {
    /// The table's name as printed in statistics: `scalar`, `avx2`, ...
    pub name: &'static str,
    hamming: hamming::Table,
    estimate: estimate::Table,
    dot_i8: dot_i8::Table,
    levels: levels::Table,
    distance: distance::Table,
    convert: convert::Table,
    hadamard: hadamard::Table,
    quantise: quantise::Table,
    judge: judge::Table,
}

static SCALAR: Kernels = Kernels {
    name: "scalar",
    hamming: hamming::SCALAR,
    estimate: estimate::SCALAR,
    dot_i8: dot_i8::SCALAR,
    levels: levels::SCALAR,
    distance: distance::SCALAR,
    convert: convert::SCALAR,
    hadamard: hadamard::SCALAR,
    quantise: quantise::SCALAR,
    judge: judge::SCALAR,
};

#[cfg(target_arch = "x86_64")]
static AVX2: Kernels = Kernels {
    name: "avx2",
    hamming: hamming::AVX2,
    estimate: estimate::AVX2,
    dot_i8: dot_i8::AVX2,
    levels: levels::AVX2,
    distance: distance::AVX2,
    convert: convert::AVX2,
    hadamard: hadamard::AVX2,
    quantise: quantise::AVX2,
    judge: judge::AVX2,
};

// Conversions are bound by their stores, so wider registers would gain nothing.
#[cfg(target_arch = "x86_64")]
static AVX512: Kernels = Kernels {
    name: "avx512",
    hamming: hamming::AVX512,
    estimate: estimate::AVX512,
    dot_i8: dot_i8::AVX512,
    levels: levels::AVX512,
    distance: distance::AVX512,
    convert: convert::AVX2,
    hadamard: hadamard::AVX512,
    quantise: quantise::AVX512,
    judge: judge::AVX512,
};

#[cfg(target_arch = "aarch64")]
static NEON: Kernels = Kernels {
    name: "neon",
    hamming: hamming::NEON,
    estimate: estimate::NEON,
    dot_i8: dot_i8::NEON,
    levels: levels::NEON,
    distance: distance::NEON,
    convert: convert::NEON,
    hadamard: hadamard::NEON,
    quantise: quantise::SCALAR,
    judge: judge::SCALAR,
};

#[cfg(target_arch = "aarch64")]
static NEON_DOTPROD: Kernels = Kernels {
    name: "neon-dotprod",
    hamming: hamming::NEON,
    estimate: estimate::NEON_DOTPROD,
    dot_i8: dot_i8::NEON_DOTPROD,
    levels: levels::NEON_DOTPROD,
    distance: distance::NEON,
    convert: convert::NEON,
    hadamard: hadamard::NEON,
    quantise: quantise::SCALAR,
    judge: judge::SCALAR,
};

/// One more than the place of the chosen table in [`TABLES`]; 0 before the first look at the CPU.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// Asks the CPU for all that a table needs.
type Usable = fn() -> bool;

/// Every table of this architecture with the test that makes it safe to use, slowest first.
static TABLES: &[(&Kernels, Usable)] = &[
    (&SCALAR, || true),
    #[cfg(target_arch = "x86_64")]
    (&AVX2, has_avx2),
    #[cfg(target_arch = "x86_64")]
    (&AVX512, has_avx512),
    #[cfg(target_arch = "aarch64")]
    (&NEON, || true),
    #[cfg(target_arch = "aarch64")]
    (&NEON_DOTPROD, || std::arch::is_aarch64_feature_detected!("dotprod")),
];

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("popcnt")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512vpopcntdq")
}

impl Kernels {
    /// The best table for this CPU. Looks once; later calls are one atomic load.
    #[inline]
    pub fn detect() -> &'static Kernels {
        match CHOSEN.load(Ordering::Relaxed) {
            0 => Self::choose(),
            place => TABLES[place - 1].0,
        }
    }

    /// Every table that this CPU can run, slowest first; the scalar one always.
    pub fn available() -> Vec<&'static Kernels> {
        TABLES.iter().filter(|(_, usable)| usable()).map(|&(table, _)| table).collect()
    }

    #[cold]
    fn choose() -> &'static Kernels {
        // Two threads may both come here; they find the same.
        let place = TABLES.iter().rposition(|(_, usable)| usable()).unwrap_or(0);
        CHOSEN.store(place + 1, Ordering::Relaxed);
        TABLES[place].0
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detect_answers_the_best_available_table_every_time() {
        let best = Kernels::available().pop().unwrap();
        for _ in 0..3 {
            assert_eq!(Kernels::detect().name, best.name);
        }
    }

    /// `VDB_TEST_REQUIRE_ISA=avx512` makes a machine without it fail instead of testing less than was meant.
    #[test]
    fn required_table_is_available() {
        let names: Vec<_> = Kernels::available().iter().map(|k| k.name).collect();
        assert_eq!(names[0], "scalar");
        println!("kernel tables tested here: {names:?}");
        if let Ok(required) = std::env::var("VDB_TEST_REQUIRE_ISA") {
            assert!(
                names.contains(&required.as_str()),
                "table {required} is required, this CPU has {names:?}"
            );
        }
    }
}
