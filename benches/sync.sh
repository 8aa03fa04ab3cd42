#!/usr/bin/env bash
# Measures the merge engine, and whole syncs, over 50,000 contacts, as a table: medians of processor time, and peaks of memory.
#
#   benches/sync.sh              the engine alone, 200,000 children, five rounds of each scenario
#   benches/sync.sh 3            three
#   benches/sync.sh pair [3]     whole syncs with a virtual phone in another process; the computer's side in memory and in a folder
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}/release"
if [[ "${1:-}" == pair ]]; then
    cargo build -q --release -p cabled-benches --bin bench_sync_pair
    echo "| computer, phone's records: session | wall | our processor time | our peak |"
    echo "|---|---|---|---|"
    for place in memory folder; do
        "$target/bench_sync_pair" "$place" "${2:-3}"
    done
    exit
fi
cargo build -q --release -p cabled-benches --bin bench_sync
for scenario in first one-sided fast fast-full; do
    "$target/bench_sync" "$scenario" "${1:-5}"
done
