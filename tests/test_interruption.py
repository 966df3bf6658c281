"""Signals: the first asks a process to save and end, a second Ctrl-C ends it at once."""

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import time
from csdm_jax import interruption
with interruption.handled():
    print("ready", flush=True)
    while not interruption.requested():
        time.sleep(0.01)
    print("asked", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (signal.SIGINT, signal.SIGINT, 128 + signal.SIGINT),
        (signal.SIGTERM, signal.SIGINT, 128 + signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM, None),  # a cluster repeats it: the run goes on saving
    ],
)
def test_a_second_ctrl_c_ends_the_process_at_once_and_a_second_sigterm_does_not(
    first, second, code
):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(second)
        start = time.monotonic()
        if code is None:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1.0)
        else:
            assert process.wait(timeout=20) == code
            assert time.monotonic() - start < 10  # it would have slept for a minute
    finally:
        process.kill()
        process.communicate()
