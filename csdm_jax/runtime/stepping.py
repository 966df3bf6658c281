"""How many steps of one compiled function are dispatched.

On a CPU a convolution's weight gradient is many times slower inside `lax.scan` than in a
jitted step called from Python (jax#12868); on an accelerator each call costs a dispatch, and
steps belong inside `lax.scan`. Every loop of this package goes through `Stepper`, which holds
that one decision.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.runtime import interruption, memory

Feed = Callable[[int], Any]
Step = Callable[[Any, Any, jax.Array], tuple[Any, Any]]
STRATEGIES = ("loop", "scan")
_AHEAD = 2  # steps that may be under way on the device while Python prepares the next


class Stepper:
    """Runs `carry, metrics = step(carry, constants, i)` for consecutive `i`.

    The host waits for the device once per call, never per step, and `carry` is donated: do not
    use it again after the call.

    Args:
      step: pure function; `i` is an int32 scalar; `metrics` is a pytree of arrays.
      strategy: "loop" (one dispatch a step) or "scan" (one dispatch a call); by default "loop"
        on a CPU, "scan" elsewhere.

    Raises:
      ValueError: for an unknown strategy.
    """

    def __init__(self, step: Step, *, strategy: str | None = None):
        self.strategy = strategy or ("loop" if jax.default_backend() == "cpu" else "scan")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {STRATEGIES}, got {strategy!r}")
        self._one = jax.jit(step, donate_argnums=0)
        self._many = jax.jit(
            functools.partial(_scan, step), static_argnames="count", donate_argnums=0
        )

    def memory(
        self, carry: Any, constants: Any, first: int, count: int, *, feed: Feed | None = None
    ) -> int:
        """Compiles what the call with these arguments runs; bytes at its peak (`memory.needed`)."""
        inputs = _first_inputs(constants, feed, first)
        if self.strategy == "scan" and feed is None:
            lowered = self._many.lower(carry, inputs, jnp.int32(first), count=count)
        else:
            lowered = self._one.lower(carry, inputs, np.int32(first))
        return memory.needed(lowered.compile())

    def __call__(
        self, carry: Any, constants: Any, first: int, count: int, *, feed: Feed | None = None
    ) -> tuple[Any, Any]:
        """Runs steps `first .. first + count - 1`, at least one of them.

        Args:
          carry: what the steps hand on.
          constants: what every step reads.
          first: index of the first step.
          count: steps to run.
          feed: makes what step i alone reads; its `constants` are then `(constants, feed(i))`. The
            next step's is made in a thread while the device works. Implies "loop".

        Returns:
          The new carry (on the device) and the metrics as NumPy arrays with a leading axis of
          the steps done: `count`, or fewer when a signal asked for the end meanwhile ("loop").
        """
        if self.strategy == "scan" and feed is None:
            carry, metrics = self._many(carry, constants, jnp.int32(first), count=count)
            return carry, jax.device_get(metrics)
        rows: list[Any] = []
        for index, inputs in _with_inputs(range(first, first + count), constants, feed):
            if len(rows) > _AHEAD:  # without it hundreds of queued steps would outlast a signal
                jax.block_until_ready(rows[-_AHEAD])
                # Several processes must stop at the same step: they agree after the call.
                if interruption.requested() and jax.process_count() == 1:
                    break
            carry, metrics = self._one(carry, inputs, np.int32(index))
            rows.append(metrics)
        rows = jax.device_get(rows)
        return carry, jax.tree.map(lambda *row: np.stack(row), *rows)


def _first_inputs(constants: Any, feed: Feed | None, first: int) -> Any:
    return constants if feed is None else (constants, feed(first))


def _with_inputs(indices: range, constants: Any, feed: Feed | None) -> Iterator[tuple[int, Any]]:
    """Each index with what its step reads; a feed works one step ahead."""
    if feed is None:
        yield from ((index, constants) for index in indices)
        return
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(feed, indices[0])
        for index in indices:
            current = coming.result()
            if index + 1 in indices:
                coming = thread.submit(feed, index + 1)
            yield index, (constants, current)


def _scan(step: Step, carry: Any, constants: Any, first: jax.Array, *, count: int) -> Any:
    def body(carry, index):
        return step(carry, constants, index)

    return jax.lax.scan(body, carry, first + jnp.arange(count, dtype=jnp.int32))
