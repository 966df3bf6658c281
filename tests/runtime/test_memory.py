"""The peak of memory is that of the program itself."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
CODE = "from csdm_jax.runtime import memory; print(memory.peak())"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="told by Linux only")
def test_the_peak_is_not_that_of_the_process_that_started_this_one():
    held = np.ones(2**27)  # 1 GiB; a program and JAX take a third of that
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 5e7 < int(done.stdout) < 0.7 * held.nbytes
