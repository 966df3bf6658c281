"""Several processes that run one experiment together.

All of them run every distillation step, each on its own devices and with its own part of the
training images (of images that stay on the host, each reads a step's batch). The first alone trains
extractors, evaluates, and reads and writes files; it tells the others what they need, so that no
shared file system is asked for.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from typing import Any

import jax
import numpy as np

_barriers = itertools.count()  # the same in every process: all of them meet at every barrier
_WEEK = 7 * 24 * 3600 * 1000  # milliseconds
_FAREWELL = 10 * 1000


def join(coordinator: str | None, processes: int | None, number: int | None) -> None:
    """Joins the other processes; to be called before anything else of JAX.

    Args:
      coordinator: host:port of the first process; with the next two left out on Slurm, a TPU pod
        or Open MPI, where JAX finds them itself.
      processes: how many there are.
      number: which one this is, from 0.

    Raises:
      ValueError: when some of the three are given and others are not.
    """
    given = [value is not None for value in (coordinator, processes, number)]
    if any(given) and not all(given):
        raise ValueError(
            "--coordinator, --num_processes and --process_id belong together, got "
            f"{coordinator}, {processes}, {number}: give all three, or none on Slurm or a TPU pod"
        )
    # JAX's own answer to SIGTERM would take the place of ours (csdm_jax.runtime.interruption).
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(coordinator, processes, number)


def is_first() -> bool:
    """Whether this process reads and writes files: the first, or the only one."""
    return jax.process_index() == 0


def leave(code: int) -> None:
    """Ends this process, together with those that end too.

    The first process holds JAX's coordination service, and whoever still lives when that goes is
    aborted; so those who end together take leave in order. JAX's own farewell would wait minutes
    for processes that do not end, so they first meet for as long as `_FAREWELL`.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # the others work on, or are gone
        _meet("the farewell", _FAREWELL)
        jax.distributed.shutdown()
    os._exit(code)


def wait(stage: str) -> None:
    """Waits for all processes, for as long as one of them works alone.

    Collective operations give up after half a minute, so this has to come before the first one
    behind such work. JAX has no public name for the barrier of its coordination service.
    """
    if jax.process_count() == 1:
        return
    _meet(f"{stage} {next(_barriers)}", _WEEK)


def _meet(name: str, patience: int) -> None:
    """Returns when every process is here; raises JAX's error after `patience` milliseconds."""
    from jax._src import distributed

    client: Any = distributed.global_state.client
    client.wait_at_barrier(name, patience)


def broadcast(tree: Any) -> Any:
    """The first process's values, on every process.

    Args:
      tree: NumPy or JAX arrays, or random keys, of the same shapes everywhere.
    """
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    def is_key(leaf: Any) -> bool:
        return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        )

    plain = jax.tree.map(
        lambda leaf: np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf), tree
    )
    received = multihost_utils.broadcast_one_to_all(plain)
    return jax.tree.map(
        lambda leaf, new: jax.random.wrap_key_data(new) if is_key(leaf) else new, tree, received
    )


def told(value: Any) -> Any:
    """The first process's value, on every process: anything that JSON holds, in 4 kB."""
    if jax.process_count() == 1:
        return value
    text = json.dumps(value).encode() if is_first() else b""
    sent = np.frombuffer(text.ljust(4096, b" "), np.uint8)
    return json.loads(bytes(broadcast(sent)))


def anyone(flag: bool) -> bool:
    """Whether the flag is set in any process; every process must ask."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def first_says(answer: bool) -> bool:
    """The first process's answer, on every process; waits while the first works alone."""
    wait("an answer")
    return bool(broadcast(np.array(answer)))
