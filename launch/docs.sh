#!/usr/bin/env bash
# Installs the project with its docs extra and builds the pages of docs/ in build/docs: warnings are
# errors, names that do not exist are warnings, tutorials are run. Arguments go to Sphinx.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
install docs
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
exec "$venv/bin/python" -m sphinx --fail-on-warning --keep-going --quiet \
  -d build/doctrees "$@" docs build/docs
