import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from csdm_jax.runtime import interruption
from csdm_jax.storage import lock

HOLD = (
    "import sys, pathlib; from csdm_jax.storage import lock\n"
    "with lock.held(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


def hold(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    process.communicate()


def test_a_second_process_is_told_who_works_there(tmp_path):
    process = hold(tmp_path)
    try:
        with (
            pytest.raises(lock.LockedError, match=rf"process {process.pid} on .* works in"),
            lock.held(tmp_path),
        ):
            pass
    finally:
        end(process)
    with lock.held(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    process = hold(tmp_path)
    process.send_signal(signal.SIGKILL)
    end(process)
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == process.pid
    with lock.held(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text()) == {
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
    assert (tmp_path / ".lock").read_text() == ""


def test_a_holder_on_another_host_is_believed(tmp_path):
    (tmp_path / ".lock").write_text('{"pid": 7, "host": "elsewhere"}')
    with (
        pytest.raises(lock.LockedError, match=r"process 7 on elsewhere .* delete .*\.lock"),
        lock.held(tmp_path),
    ):
        pass


def test_a_holder_on_another_host_that_is_silent_for_long_is_gone(tmp_path):
    (tmp_path / ".lock").write_text('{"pid": 7, "host": "elsewhere"}')
    long_ago = time.time() - 2 * lock.STALE
    os.utime(tmp_path / ".lock", (long_ago, long_ago))
    with lock.held(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_the_holder_touches_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "STALE", 0.2)
    with lock.held(tmp_path):
        os.utime(tmp_path / ".lock", (0, 0))
        deadline = time.time() + 10
        while (tmp_path / ".lock").stat().st_mtime == 0 and time.time() < deadline:
            time.sleep(0.02)
        assert (tmp_path / ".lock").stat().st_mtime > 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid'])
def test_a_lock_file_without_meaning_is_free(tmp_path, content):
    (tmp_path / ".lock").write_text(content)
    with lock.held(tmp_path):
        pass


def test_an_awaited_lock_is_had_once_its_holder_ends(tmp_path):
    process = hold(tmp_path)
    threading.Timer(0.5, end, [process]).start()
    start = time.monotonic()
    with lock.awaited(tmp_path, pause=0.05):
        assert time.monotonic() - start >= 0.5
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_a_signal_ends_the_wait(tmp_path):
    process = hold(tmp_path)
    try:
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGTERM]).start()
        with (
            interruption.handled(),
            pytest.raises(interruption.Interrupted, match="waited for another process"),
            lock.awaited(tmp_path, pause=0.05),
        ):
            pass
    finally:
        end(process)
