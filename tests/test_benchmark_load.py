"""Benchmarks say under which load they ran, and make one where they are asked to."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LOADED = """
import json
import sys

sys.path.insert(0, "benchmarks")
import _common

with _common.busy(1) as processes:
    written = _common.save(None, "any", {}, [])
    print(json.dumps(written["machine"]["load"]))
    print(processes[0].poll() is None)
print(processes[0].poll() is None)
"""


def test_the_load_is_named_before_and_after_and_as_made():
    run = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    said, *alive = run.stdout.splitlines()
    load = json.loads(said)
    assert alive == ["True", "False"]  # beside the measurement, and not after it
    assert load["busy_processes"] == 1
    assert {"before", "after"} < set(load)
