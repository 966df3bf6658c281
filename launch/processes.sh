#!/usr/bin/env bash
# One experiment in several processes on this machine, one per GPU (or as many as asked for).
#   bash launch/processes.sh NUMBER --config=configs/cifar10_lt.py:imb=100,ipc=10 [FLAGS ...]
# The first process alone writes results; what process k prints is in runs/process-k.log.
set -euo pipefail
number="${1:?usage: bash launch/processes.sh NUMBER FLAGS...}"
shift
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
port="${PORT:-12321}"
mkdir -p runs
processes=()
trap 'kill -TERM "${processes[@]}" 2> /dev/null || true' TERM
trap '' INT  # a terminal sends Ctrl-C to the processes itself
for ((k = 0; k < number; k++)); do
  # Each process sees one GPU; without GPUs the variable changes nothing.
  CUDA_VISIBLE_DEVICES="$k" "$python" -m csdm_jax.main --distributed \
    --coordinator="127.0.0.1:$port" --num_processes="$number" --process_id="$k" "$@" \
    > "runs/process-$k.log" 2>&1 &
  processes+=("$!")
done
status=0
for process in "${processes[@]}"; do
  while kill -0 "$process" 2> /dev/null; do wait "$process" || status=$?; done
done
tail -n 20 runs/process-0.log
exit "$status"
