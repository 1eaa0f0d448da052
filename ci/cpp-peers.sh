#!/usr/bin/env bash
# Why: some of the best peers are written in C++. They are built from the distribution's packages, which most machines do not
# have, so they are a feature. This installs what they need, builds them, and runs the tests that all adapters must pass. If the
# distribution has no package of a peer, the peer is left out, and named.
#
# Usage: ci/cpp-peers.sh            installs missing packages, as root or by sudo, and tests the adapters
#        ci/cpp-peers.sh --no-install
# PERF_CPP_INCLUDE names other folders of headers, such as those of a Boost newer than the distribution's.
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

# The build warns about missing peers, and the program names them when it starts.
cargo test -p perf --features cpp-peers conform
