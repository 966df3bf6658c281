# Sourced by the launch scripts: a virtual environment of the project's own, with the project in it.
# CSDM_VENV names another place for it; CSDM_EXTRAS other extras ("cuda", "tpu", "test").
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv="${CSDM_VENV:-.venv}"
install() { # EXTRAS beside what all scripts need
  [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[all${1:+,$1}]"
}
