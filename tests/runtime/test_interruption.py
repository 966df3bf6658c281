"""Ctrl-C while the main thread is busy and runs no handler of Python's, as in a compilation."""

import signal
import subprocess
import sys
import time

import pytest

from tests.faults.runs import ROOT

BUSY = """
import hashlib
from csdm_jax.runtime import interruption
with interruption.handled():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # for minutes
"""


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_signal_ends_the_process_at_once(first):
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout.readline() == "busy\n"
        process.send_signal(first)
        said = process.stdout.readline()
        assert first.name in said and "Ctrl-C once more stops without saving" in said
        time.sleep(0.2)
        assert process.poll() is None  # the first one waits for what is under way
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
        process.communicate()
