#!/usr/bin/env bash
# The paper's ablations at the cpu preset on CIFAR-10-LT, as sweeps with a table and a plot each:
# Figure 3 (kernels: kernel and scale; alphas: class schedules, reversed ones among them), E.3
# (imbalance: kernels against the imbalance factor; methods: at factor 100 alone), Table 4c
# (networks: other architectures, each at the preset's quarter of its published width).
#   bash launch/ablations.sh DATA_DIR OUT PART ...
# PART: kernels alphas methods imbalance networks
# The same command goes on after a stop. JOBS runs at a time (2); FLAGS holds more flags for every
# run, e.g. FLAGS="--config.evaluate.count=3". Every run is a fifth of the preset's steps at a higher
# rate, and two networks of 40 epochs: about five minutes of one core for a point with two seeds.
# All kernels but those of `kernels` have scale 3, chosen on tuning images: see results/ablations.
set -euo pipefail
shopt -s inherit_errexit # a failed measurement must not start a sweep without it
usage="usage: bash launch/ablations.sh DATA_DIR OUT PART ..., PART of kernels alphas methods imbalance networks"
data_dir="$(realpath "${1:?$usage}")"
out="$(realpath -m "${2:?$usage}")"
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
config=configs/cifar10_lt.py:imb=100,ipc=10,cpu
flags=(--data_dir="$data_dir" --config.distill.seeds=0,1 --config.extractors.pool_dir="$out/pool"
  --config.distill.steps=80 --config.distill.learning_rate=0.01
  --config.evaluate.count=2 --config.evaluate.epochs=40 --config.evaluate.check_every=40)
read -ra more <<< "${FLAGS:-}"
mkdir -p "$out"

sweep() {  # NAME SWEEP FLAGS...
  "$python" launch/sweep.py --config="$config" --out="$out/$1" --jobs="${JOBS:-2}" \
    --sweep="$2" -- "${flags[@]}" "${@:3}" "${more[@]}"
}

for part in "${@:3}"; do
  case "$part" in
    kernels)
      axis='config.sdd.kernel:config.sdd.scale=rbf:0.3,rbf:1,rbf:3,rbf:10,rbf:30,isotropic_laplace:0.1,isotropic_laplace:0.3,isotropic_laplace:1'
      sweep kernels "$axis"
      ;;
    alphas)
      axis='config.alpha.head:config.alpha.tail:config.sdd.scale=0.9:0.1:3,0.7:0.3:3,0.5:0.5:3,0.3:0.7:3,0.1:0.9:3'
      sweep alphas "$axis"
      ;;
    methods) # beside RBF of scale 3 in `kernels`
      sweep methods 'config.method=dm,dm_weighted,mmd,random'
      ;;
    imbalance) # a small pool for each factor
      pool=(--config.extractors.count=1 --config.extractors.epochs=10)
      sweep imbalance 'config.data.imbalance_factor=10,100,200 config.method=csdm,mmd,dm' \
        --config.sdd.scale=3 "${pool[@]}"
      ;;
    networks)
      sweep networks 'config.method=csdm,csdm_single,dm,dm_weighted,ncfm' --config.sdd.scale=3 \
        --config.ncfm.scale=3 --config.evaluate.networks="('convnet','resnet18','vgg11','alexnet')"
      ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
done
