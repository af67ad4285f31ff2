#!/bin/sh
# Installs what the tests need and passes them. The GPU tests run on any Vulkan driver; where there
# is none, Mesa's software one is installed.
set -eu
cd "$(dirname "$0")/.."

has_vulkan() {
    ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json >/dev/null 2>&1 && ldconfig -p | grep -q libvulkan.so.1
}

if [ "$(uname -s)" = Linux ] && ! has_vulkan; then
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        mesa-vulkan-drivers libvulkan1
fi

# Without it, Mesa prints a line on stderr for every start.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    XDG_RUNTIME_DIR="$(mktemp -d)"
    export XDG_RUNTIME_DIR
fi

# The library without its default features first: it must build and work alone.
cargo test --no-default-features --test fixtures
cargo test --workspace
# Benchmarks run once each, as tests.
cargo test --workspace --benches
