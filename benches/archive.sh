#!/usr/bin/env bash
# Measures reading backups at rest beside other programs: side by side, interleaved, five rounds, medians, as a table.
#
#   benches/archive.sh            4 GB backup, 1.3 million rows: about a quarter of an hour on two cores, 15 GB of disk
#   benches/archive.sh --quick    a tenth of it, two rounds
#
# What takes long to make (the backup, the index, other programs) is kept in `target/bench-archive` for the next time.
# With --check, a missed target is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${CABLED_BENCH_CACHE:-$PWD/target/bench-archive}"
mkdir -p "$cache"
built="${CARGO_TARGET_DIR:-target}/release"
cargo build -q --release -p cabled-benches
cargo build -q --release --manifest-path benches/crabapple/Cargo.toml --target-dir "$cache/crabapple"
if ! cmp -s benches/requirements.txt "$cache/venv/requirements.txt"; then
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install -q -r benches/requirements.txt
  cp benches/requirements.txt "$cache/venv/requirements.txt"
fi
command -v openssl >/dev/null || { echo "openssl is not installed"; exit 1; }
exec "$cache/venv/bin/python" benches/archive.py --cache "$cache" --ours "$built/bench_archive" \
  --crabapple "$cache/crabapple/release/crabapple-extract" "$@"
