"""Trajectories: the weights of networks along their training on the long-tailed set.

They are trained like the extractors, and kept like them: a file a network, whole or not at all, so
that a stop costs the networks under way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.networks import Network
from csdm_jax.training.balanced import SecondStage
from csdm_jax.training.extractors import Ends, Params, ensure, stacked
from csdm_jax.training.trainer import Trainer


class Trajectories(NamedTuple):
    """K trainings.

    Attributes:
      snapshots: parameters with leading axes [K, S]: the initial ones, those after every `every`
        epochs, and those after the last.
    """

    snapshots: Params

    @property
    def size(self) -> int:
        """The number K of networks."""
        return len(jax.tree.leaves(self.snapshots)[0])

    @property
    def length(self) -> int:
        """The number S of snapshots, at least 2."""
        return jax.tree.leaves(self.snapshots)[0].shape[1]

    def at(self, network: jax.Array, snapshot: jax.Array) -> Params:
        """One network's parameters at one snapshot."""
        return jax.tree.map(lambda leaf: leaf[network, snapshot], self.snapshots)


def length(epochs: int, every: int) -> int:
    """S of a training of so many epochs."""
    return 1 + -(-epochs // every)


def like(network: Network, count: int, snapshots: int) -> Trajectories:
    """Zeros in the shape of the trajectories of `count` networks."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return Trajectories(
        jax.tree.map(lambda leaf: jnp.zeros((count, snapshots, *leaf.shape), leaf.dtype), shapes)
    )


def ensure_trajectories(
    folder: Path,
    description: dict[str, Any],
    *,
    trainer: Trainer,
    data: DeviceData | HostData,
    count: int,
    every: int,
    seed: int,
    second: SecondStage | None = None,
) -> Trajectories:
    """Loads trajectories from `folder`, training the networks that are not there yet.

    Args:
      folder, description, trainer, data, count, seed, second: see `extractors.ensure_pool`.
      every: epochs between two snapshots, at least 1.
    """
    described = description | {"snapshots_every": every}
    record = _Snapshots(trainer.network, second, trainer.recipe.epochs, every)
    found = ensure(folder, described, record, trainer, data, count=count, seed=seed)
    return Trajectories(stacked(found)["snapshots"])


class _Snapshots(Ends):
    """Keeps the weights at every report."""

    def __init__(self, network: Network, second: SecondStage | None, epochs: int, every: int):
        super().__init__(network, second)
        self.report_every = every
        self._length = length(epochs, every)
        self._seen: dict[int, list[Params]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All snapshots are one pytree."""
        return ("snapshots",)

    def shapes(self) -> Params:
        """With the leading axis of the snapshots."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((self._length, *leaf.shape), leaf.dtype),
            super().shapes(),
        )

    def report(self, number: int, params: Params) -> None:
        """Copies the weights to the host: the next step overwrites them."""
        self._seen.setdefault(number, []).append(jax.device_get(params))

    def finish(self, number: int, initial: Params, final: Params) -> dict[str, Params]:
        """The last report saw the weights before a second stage."""
        seen = [initial, *self._seen.pop(number)[:-1], final]
        return {"snapshots": jax.tree.map(lambda *leaf: jnp.stack(leaf), *seen)}
