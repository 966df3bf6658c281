#!/usr/bin/env bash
# One experiment on a TPU pod slice: the same command on every host, which find each other.
#   TPU=NAME ZONE=ZONE bash launch/tpu_pod.sh --config=configs/cifar100_lt.py [FLAGS ...]
# The project has to lie in the same folder on every host, installed with CSDM_EXTRAS=tpu.
set -euo pipefail
flags="$(printf '%q ' "$@")"
folder="${FOLDER:-csdm_jax}"
exec gcloud compute tpus tpu-vm ssh "${TPU:?the name of the slice}" --zone "${ZONE:?its zone}" \
  --worker=all \
  --command="cd $folder && .venv/bin/python -m csdm_jax.main --distributed $flags"
