#!/usr/bin/env bash
# Backs up a phone of 100,000 small files and one of 4 GiB in large ones over loopback, phone and host in a process each,
# and fails if the host's resident memory goes over 64 MiB. Needs about 5 GB in the temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build -q --release --example backup --example virtual_phone
programs="${CARGO_TARGET_DIR:-target}/release/examples"
folder=$(mktemp -d)
phone=""
trap '[ -z "$phone" ] || kill "$phone" 2>/dev/null || true; rm -rf "$folder"' EXIT
back_up() {
  "$programs/virtual_phone" --listen 127.0.0.1:0 "$@" </dev/null >"$folder/phone" 2>&1 &
  phone=$!
  for _ in $(seq 120); do grep -q '^listening' "$folder/phone" && break; sleep 0.5; done
  address=$(sed -n 's/^listening at \([0-9.:]*\).*/\1/p' "$folder/phone")
  head -n 1 "$folder/phone"
  "$programs/backup" --socket "$address" --dir "$folder/backups" | tee "$folder/host"
  peak=$(sed -n 's/^peak memory of this process: \([0-9]*\).*MB$/\1/p' "$folder/host")
  kill "$phone"
  phone=""
  rm -rf "$folder/backups"
  if [ -z "$peak" ] || [ "$peak" -ge 64 ]; then
    echo "the host used ${peak:-an unknown number of} MB"
    exit 1
  fi
}
back_up --files 100000 --size 250MB
back_up --files 150 --size 4GiB
