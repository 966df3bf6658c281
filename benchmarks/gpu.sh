#!/usr/bin/env bash
# What a GPU is measured by, in ten minutes: step, metric, extractors, evaluate, rate, end_to_end,
# convolution, as far as they get. Needs `pip install -e .[cuda,bench]`. Rows are written as they are
# measured: a benchmark that runs out of time keeps those it has.
#   bash benchmarks/gpu.sh [FOLDER FOR THE JSON FILES]
#   DATA_DIR=FOLDER bash benchmarks/gpu.sh ...   the cell by stage is CIFAR-10-LT's, not the digits'
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-benchmarks/out}"
mkdir -p "$out"
# JAX and PyTorch share the memory of the card.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
# A second call does not compile again what the first has compiled.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/csdm_jax/benchmarks"
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$cache}"
python - <<'PY'
import jax, torch
assert jax.default_backend() == "gpu", f"jax sees {jax.devices()}: install jax[cuda]"
assert torch.cuda.is_available(), "this PyTorch has no CUDA: install a CUDA build"
PY
# Runs a benchmark for so many seconds at most, and not beyond ten minutes in all.
run() {
  local limit=$(( $1 < 600 - SECONDS ? $1 : 600 - SECONDS ))
  echo "== $*"
  if (( limit < 10 )); then echo "no time left: $*"; return; fi
  timeout "$limit" python "${@:2}" || echo "failed or out of time: $*"
}
# The paper's setting: width 128, IPC 10, real batch 1024; float32, then bfloat16 features. A program
# of convolutions takes a minute to compile on an H100, so each benchmark has few of them.
run 150 benchmarks/step.py --width 128 --imbalance 100 --steps 10 --repeats 3 --out "$out/step.json"
run 60 benchmarks/metric.py --n 4096 16384 65536 --repeats 3 --out "$out/metric.json"
run 60 benchmarks/extractors.py --width 128 --images 8192 --repeats 3 --out "$out/extractors.json"
run 120 benchmarks/evaluate.py --width 128 --repeats 3 --out "$out/evaluate.json"
run 100 benchmarks/step.py --width 128 --imbalance 100 --steps 10 --repeats 3 --bfloat16 \
    --out "$out/step_bfloat16.json"
run 30 benchmarks/metric.py --n 16384 --only products ours --matmul_dtype bfloat16 --repeats 3 \
    --out "$out/metric_bfloat16.json"
run 80 benchmarks/rate.py --out "$out/rate.json"
# A cell by stage: CIFAR-10-LT's with a hundredth of its steps where DATA_DIR names CIFAR-10 (as
# --data_dir takes it; a whole cell's time follows from it), else the digits, which are in the package.
if [ -n "${DATA_DIR:-}" ]; then
  run 80 benchmarks/end_to_end.py --config configs/cifar10_lt.py:imb=100,ipc=10 \
    --out "$out/end_to_end.json" -- --data_dir="$DATA_DIR" --config.extractors.count=2 \
    --config.extractors.epochs=3 --config.distill.steps=100 --config.evaluate.count=1 \
    --config.evaluate.epochs=20 --config.evaluate.check_every=20
else
  echo "DATA_DIR is not set: the cell by stage is that of the digits, not CIFAR-10-LT's"
  run 80 benchmarks/end_to_end.py --out "$out/end_to_end.json"
fi
# What is left of the ten minutes.
run 60 benchmarks/convolution.py --width 128 --repeats 3 --out "$out/convolution.json"
