#!/usr/bin/env bash
# Why: the best peers are not all written in Rust. The C++ ones are built from the distribution's packages, which most
# machines do not have, so they are a feature; this installs what they need, builds them, and holds them to what every
# other adapter is held to. A package that the distribution does not have is one peer less, and is named.
#
# Usage: ci/cpp-peers.sh            installs what is missing, as root or by sudo, and tests the adapters
#        ci/cpp-peers.sh --no-install
# PERF_CPP_INCLUDE names folders of headers that are elsewhere: a Boost newer than the distribution's, say.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
'' | --no-install) ;;
*)
    echo "usage: ci/cpp-peers.sh [--no-install]" >&2
    exit 2
    ;;
esac

if [[ ${1:-} != --no-install ]] && command -v apt-get >/dev/null; then
    root=()
    [[ $(id -u) == 0 ]] || root=(sudo -n)
    "${root[@]}" apt-get update -qq || echo "cpp-peers: the lists of packages could not be updated"
    for package in g++ pkg-config liburcu-dev libtbb-dev libboost-dev; do
        dpkg -s "$package" >/dev/null 2>&1 || "${root[@]}" apt-get install -y -qq "$package" ||
            echo "cpp-peers: SKIPPED $package, which could not be installed"
    done
fi

# Which are missing is a warning of the build, and what the program says when it starts.
cargo test -p perf --features cpp-peers conform
