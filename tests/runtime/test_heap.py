"""Freed memory stays with the process."""

import ctypes
import os
import subprocess
import sys

import pytest

from csdm_jax.runtime import heap

TOUCHED = """
import resource, sys
import jax
import jax.numpy as jnp
from csdm_jax.networks import layers
from csdm_jax.runtime import heap

def norm_and_gradient(x):
    one = jnp.ones(32)
    normal, backward = jax.vjp(lambda x: layers.normed(x, one, one, True), x)
    return normal, backward(x)

if "keep" in sys.argv:
    print(heap.keep())
# The C library gives back what has more than 32 MiB.
step, images = jax.jit(norm_and_gradient), jnp.ones((280, 32, 32, 32))
for _ in range(30):  # blocks of the first steps do not fit into each other's places
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = jax.block_until_ready(step(images))
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    del arrays
print(faults)
"""
GNU = hasattr(ctypes.CDLL(None), "gnu_get_libc_version") if sys.platform == "linux" else False
ours = pytest.mark.skipif(not GNU, reason="the C library is not that of GNU")


def touched(*arguments, **variables):
    """What the program prints."""
    clean = {n: v for n, v in os.environ.items() if n not in heap._OWN}
    done = subprocess.run(
        [sys.executable, "-c", TOUCHED, *arguments],
        env=clean | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@ours
def test_a_step_touches_no_fresh_page_once_there_is_room():
    kept, faults = touched("keep")
    assert kept == "True" and int(faults) < 200
    assert int(touched()[0]) > 4000


@ours
def test_what_users_have_set_stays():
    kept, faults = touched("keep", MALLOC_ARENA_MAX="4")
    assert kept == "False" and int(faults) > 4000


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap.sys, "platform", "darwin")
    assert not heap.keep()


def test_another_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap.sys, "platform", "linux")
    for name in heap._OWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    assert not heap.keep()
