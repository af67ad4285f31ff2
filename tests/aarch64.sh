#!/bin/sh
# Runs the kernels' tests on AArch64 under qemu, on a machine of another kind: with a CPU of plain NEON, one
# with dotprod, and one with all that qemu knows. Needs Debian; installs what is missing.
set -eu
cd "$(dirname "$0")/.."

if ! [ -x /usr/bin/qemu-aarch64-static ] || ! [ -x /usr/bin/aarch64-linux-gnu-gcc ] ||
    ! [ -d /usr/lib/rustlib/aarch64-unknown-linux-gnu ]; then
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    $as_root dpkg --add-architecture arm64
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static rustc-web cargo-web libstd-rust-web-dev:arm64
fi

# Debian's compiler has the library for the other architecture.
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="timeout 600 qemu-aarch64-static"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/aarch64"
for cpu in cortex-a53:neon neoverse-n1:neon-dotprod max:neon-i8mm; do
    echo "== $cpu"
    QEMU_CPU=${cpu%:*} TASKVEC_EXPECTED_ISA=${cpu#*:} /usr/bin/cargo test -q -p taskvec-kernels --tests --target aarch64-unknown-linux-gnu
done
