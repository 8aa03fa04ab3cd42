#!/usr/bin/env bash
# Measures the multiplexer's cores in memory, beside what can be driven of rusbmux without USB, as a table.
#
#   benches/mux.sh            seven rounds of 2 GB a figure: about two minutes on one core, after a build of some more
#   benches/mux.sh --quick    three rounds of 200 MB
#
# With --check, a missed target is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${CABLED_BENCH_CACHE:-$PWD/target/bench-mux}"
cargo build -q --release --manifest-path benches/mux/Cargo.toml --target-dir "$cache"
one_core=()
command -v taskset >/dev/null && one_core=(taskset -c 0)
exec "${one_core[@]}" "$cache/release/bench_mux" "$@"
