#!/usr/bin/env bash
# Measures the merge engine over 50,000 contacts with 200,000 children, as a table: medians of processor time, and peaks of memory.
#
#   benches/sync.sh        five rounds of each scenario
#   benches/sync.sh 3      three
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build -q --release -p cabled-benches --bin bench_sync
for scenario in first one-sided fast fast-full; do
    "${CARGO_TARGET_DIR:-target}/release/bench_sync" "$scenario" "${1:-5}"
done
