#!/usr/bin/env bash
# CSDM, DM and NCFM side by side, CSDM by frequencies alone (digits) and by the exact estimator at the
# median heuristic's scale, on a fresh batch in every step and on views that serve eight.
#   bash launch/estimators.sh DATA_DIR OUT PART ...
# PART: digits (ten distillation seeds) views (the digits, by number and life of the views) cifar10
# (the cpu preset, two seeds). The same command goes on after
# a stop. JOBS runs at a time (1). Tables, plots and logs are in OUT/PART; differences by seed:
#   python launch/paired.py OUT/PART/POINT_A OUT/PART/POINT_B
set -euo pipefail
usage="usage: bash launch/estimators.sh DATA_DIR OUT PART ..., PART of digits views cifar10"
data_dir="$(realpath "${1:?$usage}")"
out="$(realpath -m "${2:?$usage}")"
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
metrics='config.method:config.sdd.estimator:config.sdd.scale'
real='config.distill.view_uses:config.distill.batch'
mkdir -p "$out"

sweep() {  # NAME CONFIG SWEEP FLAGS...
  "$python" launch/sweep.py --config="$2" --out="$out/$1" --jobs="${JOBS:-1}" --sweep="$3" -- \
    --config.extractors.pool_dir="$out/pool-$1" "${@:4}"
}

for part in "${@:3}"; do
  case "$part" in
    digits) # 1000 a class: all
      sweep digits configs/digits_lt.py \
        "$metrics=csdm:spectral:1,csdm:exact:0,dm:spectral:1,ncfm:spectral:1 $real=1:64,8:1000" \
        --config.baselines="()" --config.distill.seeds="(0,1,2,3,4,5,6,7,8,9)"
      ;;
    views) # number of views, steps that each serves
      sweep views configs/digits_lt.py \
        "$metrics:config.distill.views:$real=csdm:exact:0:16:1:1000,csdm:exact:0:16:2:1000,csdm:exact:0:4:8:1000,csdm:exact:0:16:8:1000,csdm:exact:0:64:8:1000,csdm:exact:0:16:32:1000" \
        --config.baselines="()" --config.distill.seeds="(0,1,2,3,4,5,6,7,8,9)"
      ;;
    cifar10)
      sweep cifar10 configs/cifar10_lt.py:imb=100,ipc=10,cpu \
        "$metrics:$real=csdm:exact:0:1:64,csdm:exact:0:8:256,dm:spectral:1:1:64,ncfm:spectral:1:1:64" \
        --data_dir="$data_dir" --config.distill.seeds="(0,1)"
      ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
done
