"""Several networks trained by one step: the strategies, and how "auto" chooses among them.

| strategy | networks in one step | on a CPU, the bits of "loop" |
|---|---|---|
| loop | one, and one network after the other | yes |
| threads | one; a Python thread per network, as many as there are cores | yes |
| unrolled | all, as a Python loop in the compiled step (compiles K times as long) | yes |
| sharded | all, spread over the local devices, unrolled on each | but for the last bit on some |
| vmap | all, as one batched network | no: convolutions become grouped ones |
| map | all, by `lax.map` | no: XLA takes other convolutions inside a loop |

"auto" times a few real steps of each candidate (`candidates`) and takes the fastest, "loop" unless
another is faster by `MARGIN`. Timings differ from run to run, results must not: on a CPU, where
the same seed promises the same bytes, also after a stop that leaves fewer networks to train, the
candidates are strategies whose networks have the bits of "loop", whatever trains beside them (a
test compares them). So the race decides about seconds alone, and nothing about it is stored.
Elsewhere bytes are not promised, and "vmap" and "map", hopeless on a CPU, are candidates; who wants
the same bytes there (with XLA's deterministic operations) asks for "loop".

Memory: at most `AT_ONCE` networks are under way; each has its weights, gradient, optimiser state
and the activations of one batch: 0.3 GiB for a ConvNet-D3 of width 128 and a batch of 128 images of
32x32, by XLA's account. A stop by a signal loses no more than these networks.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from csdm_jax.runtime.registry import lookup
from csdm_jax.runtime.stepping import Step

AUTO = "auto"
AT_ONCE = 5
"""Networks under way at a time, at most: the usual number of evaluation networks."""
MARGIN = 1.1
"""How much faster than "loop" another strategy must be: "loop" loses least when it is stopped."""
WORTH_A_RACE = 10_000
"""Steps, over all networks, below which a race costs more than it can bring."""
REPEATS = 2

OneStep = Callable[[Any, Any, Any, jax.Array], tuple[Any, Any]]
"""`(carry, shared, own, index) -> (carry, metric)` for one network: `shared` is the same for all
networks, `own` belongs to this one."""


@dataclasses.dataclass(frozen=True)
class Strategy:
    """How one compiled step trains the networks of a group.

    Attributes:
      step: makes the group's step of one network's; its constants are `(shared, own)`, its metric
        has a leading axis of the networks (padding included).
      pack: a pytree per network -> what the group's step carries.
      unpack: the reverse, for the first `count` networks.
      share: places on the devices what is the same for all networks.
      grouped: whether several networks make a group; otherwise groups have one.
      threaded: whether groups are trained side by side, a thread each.
    """

    step: Callable[[OneStep], Step]
    pack: Callable[[Sequence[Any]], Any]
    unpack: Callable[[Any, int], list[Any]]
    share: Callable[[Any], Any] = lambda tree: tree
    grouped: bool = True
    threaded: bool = False

    def groups(self, count: int) -> list[range]:
        """Networks `0 .. count - 1` in groups of at most `AT_ONCE`."""
        size = AT_ONCE if self.grouped else 1
        return [range(first, min(first + size, count)) for first in range(0, count, size)]

    def run(
        self,
        train: Callable[[range, threading.Event], Sequence[Any]],
        count: int,
        on_finish: Callable[[int, Any], None],
    ) -> None:
        """Trains `count` networks, group by group or side by side.

        Args:
          train: trains a group; may end early, by an exception, when the event is set: another
            group has failed.
          count: of all networks.
          on_finish: called by this thread with each network's number and result.
        """
        groups, over = self.groups(count), threading.Event()
        threads = min(len(groups), AT_ONCE, _cores()) if self.threaded else 1
        if threads <= 1:
            for group in groups:
                _each(on_finish, group, train(group, over))
            return
        pool = concurrent.futures.ThreadPoolExecutor(threads)
        try:
            futures = {pool.submit(train, group, over): group for group in groups}
            for future in concurrent.futures.as_completed(futures):
                _each(on_finish, futures[future], future.result())
        finally:
            over.set()
            pool.shutdown(cancel_futures=True)


def _each(on_finish: Callable[[int, Any], None], group: range, results: Sequence[Any]) -> None:
    for number, result in zip(group, results, strict=True):
        on_finish(number, result)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unstack(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(lambda leaf, k=k: leaf[k], tree) for k in range(count)]


def _unrolled_step(one: OneStep) -> Step:
    def step(carries, constants, index):
        shared, owns = constants
        pairs = zip(carries, owns, strict=True)
        done = [one(carry, shared, own, index) for carry, own in pairs]
        return tuple(carry for carry, _ in done), jnp.stack([metric for _, metric in done])

    return step


def _vmap_step(one: OneStep) -> Step:
    def step(carries, constants, index):
        shared, owns = constants
        return jax.vmap(lambda carry, own: one(carry, shared, own, index))(carries, owns)

    return step


def _map_step(one: OneStep) -> Step:
    def step(carries, constants, index):
        shared, owns = constants
        return jax.lax.map(lambda pair: one(pair[0], shared, pair[1], index), (carries, owns))

    return step


def _over_devices(spec: PartitionSpec) -> NamedSharding:
    devices = jax.local_devices()
    mesh = jax.make_mesh((len(devices),), ("networks",), (AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, spec)


_NETWORKS, _EVERYWHERE = PartitionSpec("networks"), PartitionSpec()


def _sharded_step(one: OneStep) -> Step:
    unrolled = _unrolled_step(one)

    def local(carries, constants, index):
        shared, owns = constants
        size = len(owns)
        carries, metrics = unrolled(_unstack(carries, size), (shared, _unstack(owns, size)), index)
        return _stack(carries), metrics

    return jax.shard_map(
        local,
        mesh=_over_devices(_NETWORKS).mesh,
        in_specs=(_NETWORKS, (_EVERYWHERE, _NETWORKS), _EVERYWHERE),
        out_specs=_NETWORKS,
        check_vma=False,  # the random numbers' sorting loop cannot be checked
    )


def _pack_sharded(trees: Sequence[Any]) -> Any:
    padding = -len(trees) % jax.local_device_count()  # the last network again: thrown away
    return jax.device_put(_stack([*trees, *[trees[-1]] * padding]), _over_devices(_NETWORKS))


def _unpack_sharded(tree: Any, count: int) -> list[Any]:
    # By way of the host: what looks at one network expects it on one device.
    return jax.tree.map(jnp.asarray, _unstack(jax.device_get(tree), count))


def _pack_tuple(trees: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(trees)


def _unpack_tuple(trees: tuple[Any, ...], count: int) -> list[Any]:
    return list(trees[:count])


_UNROLLED = Strategy(_unrolled_step, _pack_tuple, _unpack_tuple)

STRATEGIES: dict[str, Strategy] = {
    "loop": dataclasses.replace(_UNROLLED, grouped=False),
    "threads": dataclasses.replace(_UNROLLED, grouped=False, threaded=True),
    "unrolled": _UNROLLED,
    "vmap": Strategy(_vmap_step, _stack, _unstack),
    "map": Strategy(_map_step, _stack, _unstack),
    "sharded": Strategy(
        _sharded_step,
        _pack_sharded,
        _unpack_sharded,
        lambda tree: jax.device_put(tree, _over_devices(_EVERYWHERE)),
    ),
}


def strategy(name: str) -> Strategy:
    """A strategy by name.

    Raises:
      ValueError: for an unknown name.
    """
    return lookup(STRATEGIES, name, "strategy")


def candidates(backend: str, devices: int) -> tuple[str, ...]:
    """The strategies that "auto" chooses among, "loop" first.

    On a CPU only those that keep the bits of "loop", and of them only the one that compiles nothing
    more: "unrolled" and "sharded" showed no clear gain over "threads" and compile several times as
    long.

    Args:
      backend: as `jax.default_backend()` names it.
      devices: local devices.
    """
    if backend == "cpu":
        return "loop", "threads"
    return ("loop", "vmap", "sharded") if devices > 1 else ("loop", "vmap", "map")


def fastest(trials: Mapping[str, Callable[[], Any]], label: str) -> str:
    """Races strategies and logs their times.

    Args:
      trials: each trains the same few steps with one strategy and waits for the end; "loop" first.
      label: of the log line.

    Returns:
      The fastest, or "loop" when none is faster by `MARGIN`.
    """
    for trial in trials.values():
        trial()  # compiles
    seconds = {name: float("inf") for name in trials}
    for _ in range(REPEATS):  # by turns: what else the machine does should hit all alike
        for name, trial in trials.items():
            start = time.perf_counter()
            trial()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    best = min(seconds, key=lambda name: seconds[name])
    best = best if seconds["loop"] > MARGIN * seconds[best] else "loop"
    times = ", ".join(f"{name} {spent:.3g} s" for name, spent in seconds.items())
    logging.info("%s: %s; takes %s", label, times, best)
    return best
