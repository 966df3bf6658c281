"""Compiled programs kept for later starts: where, how many, and what can go wrong there."""

import hashlib
import os
import subprocess
import sys

import pytest

from csdm_jax.runtime import programs

PROGRAM = """
import sys
from csdm_jax.runtime import programs
folder = sys.argv[1] if len(sys.argv) > 1 else None
programs.keep(folder)
import jax, jax.numpy as jnp, hashlib, numpy as np
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.rpartition("/")[2]))
step = jax.jit(lambda x: jnp.tanh(x @ x.T).sum(0))
found = np.asarray(step(np.linspace(-1, 1, 60, dtype=np.float32).reshape(6, 10)))
print(hits.count("cache_hits"), hits.count("cache_misses"), hashlib.sha256(found).hexdigest())
"""


def started(cache, *arguments, **environment):
    """Hits, misses, digest of the result, and the errors of a process that keeps its programs."""
    given = {
        name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"
    }
    given |= {"XDG_CACHE_HOME": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=given | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    hits, misses, digest = run.stdout.split()
    return int(hits), int(misses), digest, run.stderr


def entries(folder):
    return sorted(folder.rglob("*-cache"))


def test_the_second_start_compiles_nothing_and_computes_the_same(tmp_path):
    hits, misses, first, _ = started(tmp_path)
    assert (hits, misses) == (0, 1)
    (entry,) = entries(tmp_path)
    assert entry.parent == tmp_path / "csdm_jax" / "compiled" / programs.machine()
    hits, misses, second, errors = started(tmp_path)
    assert (hits, misses, errors) == (1, 0, "")
    assert second == first

    # A process that was stopped while it wrote: JAX itself would keep such an entry for ever.
    entry.write_bytes(entry.read_bytes()[:100])
    entry.with_name(entry.name.removesuffix("-cache") + "-atime").unlink()
    assert started(tmp_path) == (0, 1, first, "")
    assert started(tmp_path)[:2] == (1, 0)

    # Any other damage costs a warning and the compilation.
    entry.write_bytes(b"damaged")
    hits, _, damaged, errors = started(tmp_path)
    assert (hits, damaged) == (0, first)
    assert "Error reading persistent compilation cache" in errors


def test_a_folder_of_the_user_s_is_used_and_none_is_none(tmp_path):
    users, given = tmp_path / "users", tmp_path / "given"
    assert started(tmp_path, JAX_COMPILATION_CACHE_DIR=str(users))[1] == 1
    assert entries(users)[0].parent == users  # as JAX would have done it
    assert started(tmp_path, str(given))[1] == 1
    assert entries(given)[0].parent == given / programs.machine()
    assert started(tmp_path, "none", JAX_COMPILATION_CACHE_DIR=str(users))[:2] == (0, 0)
    assert not (tmp_path / "csdm_jax").exists()


def test_a_folder_that_cannot_be_used_costs_one_warning(tmp_path):
    (tmp_path / "csdm_jax").write_text("a file in its place")
    hits, misses, _, errors = started(tmp_path)
    assert (hits, misses) == (0, 0)
    (line,) = errors.strip().splitlines()
    assert "compiled programs are not kept for later starts" in line and "compilation_cache" in line


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    usage = type("usage", (), {"free": programs.MAX_BYTES - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    with pytest.raises(OSError, match="are free at"):
        programs._prepare(tmp_path)


def test_machines_with_other_processors_have_folders_of_their_own(monkeypatch):
    first = programs.machine()
    monkeypatch.setattr("platform.machine", lambda: "other")
    monkeypatch.setattr("pathlib.Path.read_text", lambda path: "flags : avx\n\nflags : avx\n")
    programs.machine.cache_clear()
    try:
        other = programs.machine()
        assert other == f"other-{hashlib.sha256(b'flags : avx').hexdigest()[:12]}" != first
    finally:
        programs.machine.cache_clear()
