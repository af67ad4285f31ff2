#!/bin/sh
# The kernels' plain Rust, and the threads that share work, interpreted by Miri: it sees undefined behaviour and
# data races that tests pass over. It has no SIMD to speak of, so the other instruction sets are not reached.
# Needs a nightly toolchain; installs Miri into it.
set -eu
cd "$(dirname "$0")/.."

rustup component add --toolchain nightly miri rust-src
export MIRIFLAGS="-Zmiri-disable-isolation"
cargo +nightly miri test -p taskvec-kernels --lib --test oracle --test attention --test dot
