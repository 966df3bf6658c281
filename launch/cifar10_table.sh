#!/usr/bin/env bash
# The table of results/cifar10_lt: six methods, two distillation seeds, three networks each, at
# the cpu preset of configs/cifar10_lt.py. About an hour and a half on two cores.
#   bash launch/cifar10_table.sh DATA_DIR [WORKDIR]
set -euo pipefail
data_dir="$(realpath "${1:?usage: bash launch/cifar10_table.sh DATA_DIR [WORKDIR]}")"
workdir="$(realpath -m "${2:-runs/cifar10_table}")"
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
mkdir -p "$workdir"

run() {  # WORKDIR FLAGS...: one process on the shared pool
  local folder="$workdir/$1"
  ${pin:-} "$python" -m csdm_jax.main --config=configs/cifar10_lt.py:imb=100,ipc=10,cpu \
    --data_dir="$data_dir" --config.extractors.pool_dir="$workdir/pool" --workdir="$folder" \
    "${@:2}" 2>> "$workdir/$1.log"
}

one_seed() {  # SEED
  local method pin=""
  ! command -v taskset > /dev/null || pin="taskset -c $1"  # two processes, a core each
  for method in random csdm dm dm_weighted csdm_single ncfm; do
    run "$method-seed$1" --config.method="$method" --config.distill.seeds="($1,)"
  done
}

run extractors --stage=extractors
one_seed 0 &
first=$!
one_seed 1 &
wait "$!"
wait "$first"
"$python" -m csdm_jax.report "$workdir"/*-seed? | tee "$workdir/table.md"
