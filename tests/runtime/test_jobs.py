"""Processes that run some at a time, fail alone and end in an orderly way."""

import os
import signal
import sys
import threading
import time

import pytest

from csdm_jax.runtime import interruption, jobs

SAVES = """
import signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""


def job(folder, name, code):
    return jobs.Job(name, (sys.executable, "-c", code), folder / name / "run.log")


def test_as_many_run_at_a_time_as_asked_for_and_no_more(tmp_path):
    code = "import time; print(time.time(), flush=True); time.sleep(0.8); print(time.time())"
    todo = [job(tmp_path, f"job{k}", code) for k in range(4)]
    assert jobs.run_all(todo, at_once=2, label="jobs") == []
    spans = [tuple(map(float, one.log.read_text().split())) for one in todo]
    others = [sum(low <= start < high for low, high in spans) for start, _ in spans]
    assert max(others) == 2


def cores_of(folder, count, *, at_once):
    """The cores on which each of `count` jobs found itself."""
    code = "import os, time; print(*os.sched_getaffinity(0)); time.sleep(0.5)"
    todo = [job(folder, f"{at_once}-{k}", code) for k in range(count)]
    assert jobs.run_all(todo, at_once=at_once, label="jobs") == []
    return [set(map(int, one.log.read_text().split())) for one in todo]


on_linux = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="cores are chosen on Linux only"
)


@on_linux
def test_jobs_at_a_time_have_cores_of_their_own_where_there_are_enough(tmp_path):
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:
        first, second, third = cores_of(tmp_path, 3, at_once=2)
        assert len(first) == len(second) == len(cores) // 2 and first | second <= cores
        assert not first & second and third in (first, second)
    assert os.sched_getaffinity(0) == cores


@on_linux
def test_as_many_shares_as_jobs_and_all_cores_where_they_are_too_few(tmp_path):
    cores = os.sched_getaffinity(0)
    assert cores_of(tmp_path, 1, at_once=1) == [cores]
    assert cores_of(tmp_path, 1, at_once=8) == [cores]
    many = len(cores) + 1
    assert cores_of(tmp_path, many, at_once=many) == [cores] * many


def test_shares_are_equal_whatever_is_left(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    assert jobs._core_sets(2) == [{0, 1}, {2, 3}]
    assert jobs._core_sets(6) == [None] * 6


@on_linux
def test_where_cores_cannot_be_chosen_jobs_run_on_all(tmp_path, monkeypatch):
    def forbidden(*_):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    assert cores_of(tmp_path, 2, at_once=2) == [os.sched_getaffinity(0)] * 2


def test_a_job_that_fails_does_not_stop_the_others_and_its_last_line_is_shown(tmp_path, caplog):
    bad = job(tmp_path, "bad", "print('first'); raise SystemExit('error: no such data\\n\\n')")
    silent = job(tmp_path, "silent", "raise SystemExit(3)")
    good = job(tmp_path, "good", "print('done')")
    assert jobs.run_all([bad, silent, good], at_once=1, label="jobs") == [bad, silent]
    assert good.log.read_text() == "done\n"
    assert "bad: failed with exit code 1: error: no such data" in caplog.text
    assert "silent: failed with exit code 3: it printed nothing" in caplog.text


def test_a_later_call_appends_to_the_log(tmp_path):
    one = job(tmp_path, "one", "print('again')")
    for _ in range(2):
        jobs.run_all([one], at_once=1, label="jobs")
    assert one.log.read_text() == "again\nagain\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_save_and_starts_nothing_more(tmp_path, number):
    todo = [job(tmp_path, f"job{k}", SAVES) for k in range(3)]

    def stop():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            logs = [one.log.read_text() if one.log.exists() else "" for one in todo[:2]]
            if all("ready" in text for text in logs):
                break
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop, daemon=True).start()
    with interruption.handled(), pytest.raises(interruption.Interrupted, match="goes on from"):
        jobs.run_all(todo, at_once=2, label="jobs")
    assert [one.log.exists() for one in todo] == [True, True, False]
    assert all("saved" in one.log.read_text() for one in todo[:2])


def test_a_terminal_s_ctrl_c_does_not_reach_the_jobs_themselves(tmp_path):
    one = job(tmp_path, "one", "import os; print(os.getpgrp())")
    jobs.run_all([one], at_once=1, label="jobs")
    assert int(one.log.read_text()) != os.getpgrp()
