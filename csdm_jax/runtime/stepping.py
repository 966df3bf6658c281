"""How many steps of compiled functions are dispatched.

On a CPU a convolution's weight gradient is many times slower inside `lax.scan` than in a
jitted step called from Python (jax#12868); on an accelerator each call costs a dispatch, and
steps belong inside `lax.scan`. Every loop of this package goes through `Phases`, which holds
that one decision; `Stepper` is the common case of one phase.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.runtime import interruption, memory

Feed = Callable[[int], Any]
Step = Callable[[Any, Any, jax.Array], tuple[Any, Any]]
STRATEGIES = ("loop", "scan")
_AHEAD = 2  # steps that may be under way on the device while Python prepares the next


class Phase(NamedTuple):
    """A step that is made `times` times in a row before the next phase has its turn.

    Attributes:
      step: pure function, see `Phases`.
      times: at least 1.
    """

    step: Step
    times: int = 1


class Phases:
    """Runs rounds of phases: in round i every phase in order, each as often as its `times` says.

    A phase's step is `carry, metrics = step(carry, constants, index)`; `index`, an int32 scalar,
    counts that phase's own steps over all rounds: `i * times, i * times + 1, ...`. The host waits
    for the device once per call, never per step, and `carry` is donated: do not use it again after
    the call.

    Args:
      phases: at least one; `metrics` are pytrees of arrays.
      strategy: "loop" (one dispatch a step) or "scan" (one dispatch a call); by default "loop"
        on a CPU, "scan" elsewhere.

    Raises:
      ValueError: for an unknown strategy.
    """

    def __init__(self, phases: Sequence[Phase], *, strategy: str | None = None):
        self.strategy = strategy or ("loop" if jax.default_backend() == "cpu" else "scan")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {STRATEGIES}, got {strategy!r}")
        self.phases = tuple(phases)
        self._one = [jax.jit(phase.step, donate_argnums=0) for phase in self.phases]
        self._many = jax.jit(self._scan, static_argnames="rounds", donate_argnums=0)

    def memory(
        self, carry: Any, constants: Any, first: int, rounds: int, *, feeds: Sequence = ()
    ) -> int:
        """Compiles what the call with these arguments runs; bytes at its peak (`memory.needed`)."""
        feeds = self._all(feeds)
        if self.strategy == "scan" and not any(feeds):
            lowered = self._many.lower(carry, constants, wrapped(first), rounds=rounds)
            return memory.needed(lowered.compile())
        peaks = []
        for phase, one, feed in zip(self.phases, self._one, feeds, strict=True):
            index = first * phase.times
            inputs = constants if feed is None else (constants, feed(index))
            peaks.append(memory.needed(one.lower(carry, inputs, wrapped(index)).compile()))
        return max(peaks)

    def __call__(
        self, carry: Any, constants: Any, first: int, rounds: int, *, feeds: Sequence = ()
    ) -> tuple[Any, tuple[Any, ...]]:
        """Makes rounds `first .. first + rounds - 1`, at least one of them.

        Args:
          carry: what the steps hand on.
          constants: what every step reads.
          first: number of the first round.
          rounds: rounds to make.
          feeds: for each phase what makes the input that its step with index k alone reads, or
            None; the step's `constants` are then `(constants, feed(k))`. The next step's is made
            in a thread while the device works. Implies "loop".

        Returns:
          The new carry (on the device) and each phase's metrics as NumPy arrays, with leading axes
          of the rounds made and, for a phase of more than one step, of its steps. As many rounds
          as asked for, or fewer when a signal asked for the end meanwhile ("loop").
        """
        feeds = self._all(feeds)
        if self.strategy == "scan" and not any(feeds):
            carry, metrics = self._many(carry, constants, wrapped(first), rounds=rounds)
            return carry, jax.device_get(metrics)
        rows: list[tuple[int, Any]] = []
        for at, index, inputs in _with_inputs(self._order(first, rounds), constants, feeds):
            if len(rows) > _AHEAD:  # without it hundreds of queued steps would outlast a signal
                jax.block_until_ready(rows[-_AHEAD][1])
                # Several processes must stop at the same step: they agree after the call.
                begins = at == 0 and index % self.phases[0].times == 0
                if begins and interruption.requested() and jax.process_count() == 1:
                    break
            carry, metrics = self._one[at](carry, inputs, wrapped(index))
            rows.append((at, metrics))
        return carry, self._gathered(rows)

    def _all(self, feeds: Sequence) -> tuple[Feed | None, ...]:
        return tuple(feeds) or (None,) * len(self.phases)

    def _order(self, first: int, rounds: int) -> Iterator[tuple[int, int]]:
        """Which phase makes which of its steps, one after the other."""
        for number in range(first, first + rounds):
            for at, phase in enumerate(self.phases):
                for index in range(number * phase.times, (number + 1) * phase.times):
                    yield at, index

    def _gathered(self, rows: list[tuple[int, Any]]) -> tuple[Any, ...]:
        """Each phase's metrics, stacked."""
        found = []
        for at, phase in enumerate(self.phases):
            own = jax.device_get([metrics for one, metrics in rows if one == at])
            stacked = jax.tree.map(lambda *row: np.stack(row), *own)
            found.append(stacked if phase.times == 1 else _by_round(stacked, phase.times))
        return tuple(found)

    def _scan(self, carry: Any, constants: Any, first: jax.Array, *, rounds: int) -> Any:
        def one_round(carry: Any, number: jax.Array) -> tuple[Any, tuple[Any, ...]]:
            metrics = []
            for phase in self.phases:
                if phase.times == 1:
                    carry, own = phase.step(carry, constants, number)
                else:
                    indices = number * phase.times + jnp.arange(phase.times, dtype=jnp.int32)
                    carry, own = jax.lax.scan(
                        functools.partial(_one_step, phase.step, constants), carry, indices
                    )
                metrics.append(own)
            return carry, tuple(metrics)

        return jax.lax.scan(one_round, carry, first + jnp.arange(rounds, dtype=jnp.int32))


class Stepper(Phases):
    """Runs `carry, metrics = step(carry, constants, i)` for consecutive `i`.

    Args:
      step: pure function; `i` is an int32 scalar; `metrics` is a pytree of arrays.
      strategy: see `Phases`.

    Raises:
      ValueError: for an unknown strategy.
    """

    def __init__(self, step: Step, *, strategy: str | None = None):
        super().__init__([Phase(step)], strategy=strategy)

    def __call__(  # type: ignore[override]
        self, carry: Any, constants: Any, first: int, count: int, *, feed: Feed | None = None
    ) -> tuple[Any, Any]:
        """Runs steps `first .. first + count - 1`; see `Phases`, with the metrics of the one."""
        carry, (metrics,) = super().__call__(carry, constants, first, count, feeds=(feed,))
        return carry, metrics


def _one_step(step: Step, constants: Any, carry: Any, index: jax.Array) -> tuple[Any, Any]:
    return step(carry, constants, index)


def wrapped(index: int) -> np.int32:
    """The index of a step as an int32; beyond 2^31 it goes on from the negative end."""
    return np.uint32(index % 2**32).astype(np.int32)


def _by_round(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape(-1, count, *leaf.shape[1:]), tree)


def _with_inputs(
    order: Iterator[tuple[int, int]], constants: Any, feeds: tuple[Feed | None, ...]
) -> Iterator[tuple[int, int, Any]]:
    """Each step with what it reads; a feed works one step ahead."""
    if not any(feeds):
        yield from ((at, index, constants) for at, index in order)
        return

    def read(step: tuple[int, int]) -> Any:
        feed = feeds[step[0]]
        return constants if feed is None else (constants, feed(step[1]))

    steps = list(order)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(read, steps[0])
        for step, after in zip(steps, [*steps[1:], None], strict=True):
            inputs = coming.result()
            if after is not None:
                coming = thread.submit(read, after)
            yield *step, inputs
