import errno
import fcntl
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


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def without_flock(request, monkeypatch):
    def refuse(file, how):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)
    return errno.errorcode[request.param]


def test_a_file_system_without_flock_is_named_and_locks_by_another_file(
    tmp_path, without_flock, monkeypatch
):
    said = []
    monkeypatch.setattr(lock.logging, "warning", lambda text, *v: said.append(text % v))
    with lock.held(tmp_path):
        assert f"{tmp_path} has no flock ({without_flock})" in said[0]
        message = rf"process {os.getpid()} on .* works in .*delete .*\.lock and .*\.lock-owner"
        with pytest.raises(lock.LockedError, match=message), lock.held(tmp_path):
            pass
        assert (tmp_path / lock.OWNER).exists()
    assert not (tmp_path / lock.OWNER).exists()
    with lock.held(tmp_path):
        pass


def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("host", "age", "free"),
    [(None, 0.0, True), ("elsewhere", 0.0, False), ("elsewhere", 2 * lock.STALE, True)],
)
def test_without_flock_an_owner_that_is_gone_is_followed(tmp_path, without_flock, host, age, free):
    owner = tmp_path / lock.OWNER
    owner.write_text(json.dumps({"pid": gone(), "host": host or socket.gethostname()}))
    os.utime(owner, (time.time() - age,) * 2)
    if free:
        with lock.held(tmp_path):
            assert json.loads(owner.read_text())["pid"] == os.getpid()
    else:
        with pytest.raises(lock.LockedError, match="works in"), lock.held(tmp_path):
            pass
        assert json.loads(owner.read_text())["host"] == host
    assert [path.name for path in tmp_path.glob(f"{lock.OWNER}*")] == ([] if free else [owner.name])


def test_another_error_of_the_file_system_is_not_taken_for_a_holder(tmp_path, monkeypatch):
    def fail(file, how):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output error") as caught, lock.held(tmp_path):
        pass
    assert not isinstance(caught.value, lock.LockedError)


CONTEND = """
import errno, fcntl, pathlib, sys, time
from csdm_jax.storage import lock
def refuse(file, how):
    raise OSError(errno.ENOLCK, "no locks")
fcntl.flock = refuse
folder = pathlib.Path(sys.argv[1])
for _ in range(20):
    with lock.awaited(folder, pause=0.002):
        with open(folder / "inside", "x"):
            time.sleep(0.002)
        (folder / "inside").unlink()
"""


def test_without_flock_two_processes_are_never_inside_at_once(tmp_path):
    line = [sys.executable, "-c", CONTEND, str(tmp_path)]
    both = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
