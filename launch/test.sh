#!/usr/bin/env bash
# Installs the project in its own virtual environment and runs the tests. Arguments go to pytest.
# CSDM_TEST_DATA names a TFDS directory with real data; tests that need it are skipped without it.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
install test
exec "$venv/bin/python" -m pytest -n auto "$@"
