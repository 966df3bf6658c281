#!/usr/bin/env bash
# Installs the project in its own virtual environment and runs the main job on the embedded data
# set: Random, DM and CSDM on long-tailed digits, side by side. Arguments are passed on.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
install "${CSDM_EXTRAS:-}"
exec "$venv/bin/python" -m csdm_jax.main --config=configs/digits_lt.py "$@"
