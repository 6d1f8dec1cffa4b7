#!/bin/sh
# Compiles the kernels for AArch64 and runs their tests: here, or under QEMU on a machine of another kind, once as a
# CPU without the extension dotprod and once as one with it.
#
#   tests/neon.sh               a missing tool is a line "SKIPPED: ..." that says what to install (exit 0)
#   tests/neon.sh --require     a missing tool is an error (exit 1)
#   tests/neon.sh --install     first installs what is missing (rustup, apt-get; root); then as --require
#
# On Debian: rustup target add aarch64-unknown-linux-gnu; dpkg --add-architecture arm64; apt-get update;
# apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross libc6:arm64 libgcc-s1:arm64
#
# libc6:arm64 puts the loader where programs look for it. QEMU's option -L must not be used beside it: loader and libc
# of two builds then meet in one process, and its first thread never starts. Hence also the time limit.
set -eu
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
limit_s=${NEON_LIMIT_S:-1200}
mode=${1:-}

missing() {
    if [ -z "$mode" ]; then
        echo "SKIPPED: NEON kernels: $1"
        exit 0
    fi
    echo "tests/neon.sh: $1" >&2
    exit 1
}

if [ "$(uname -m)" = aarch64 ]; then
    exec cargo test --lib kernels::
fi

if [ "$mode" = --install ]; then
    command -v rustup >/dev/null && rustup target add $target
    if ! command -v qemu-aarch64 >/dev/null || ! command -v aarch64-linux-gnu-gcc >/dev/null ||
        [ ! -e /lib/ld-linux-aarch64.so.1 ]; then
        dpkg --add-architecture arm64
        apt-get update
        apt-get install -y --no-install-recommends qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
            libc6:arm64 libgcc-s1:arm64
    fi
fi

[ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] ||
    missing "no Rust library for AArch64: rustup target add $target"
command -v aarch64-linux-gnu-gcc >/dev/null || missing "no linker: apt-get install gcc-aarch64-linux-gnu"
command -v qemu-aarch64 >/dev/null || missing "no emulator: apt-get install qemu-user"
[ -e /lib/ld-linux-aarch64.so.1 ] ||
    missing "no C library: dpkg --add-architecture arm64, apt-get update, apt-get install libc6:arm64 libgcc-s1:arm64"

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc

# cortex-a53 has no dotprod and must do with the table "neon"; "max" has all that QEMU knows.
for cpu in cortex-a53:neon max:neon-dotprod; do
    echo "== NEON kernels on ${cpu%:*}, expecting the table \"${cpu#*:}\""
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="timeout $limit_s qemu-aarch64 -cpu ${cpu%:*}" \
        VDB_TEST_REQUIRE_ISA=${cpu#*:} cargo test --lib --target $target kernels::
done
