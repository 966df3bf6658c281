#!/usr/bin/env bash
# One experiment on a Slurm cluster: a process per GPU, found by JAX from Slurm's own variables.
#   sbatch launch/slurm.sh --config=configs/cifar100_lt.py:imb=100,ipc=10 --workdir=DIR [FLAGS ...]
# Started again after a time limit, it goes on: SIGTERM comes two minutes before the end.
#SBATCH --job-name=csdm
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
exec srun --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" -m csdm_jax.main --distributed "$@"
