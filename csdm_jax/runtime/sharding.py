"""One program on several devices, of one process or of many.

There is one mesh axis over all devices. What is large is split along it: the training set, the
rows of a step's real and synthetic batch on their way through the network, the frequencies of the
metric. Synthetic images, optimiser state and extractors are small: every device has a copy.
Randomness is drawn as on one device, so the result is the same up to the order of sums.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run.

    Attributes:
      mesh: one axis over all of them; None for one device.
    """

    mesh: Mesh | None = None

    @classmethod
    def all(cls) -> Devices:
        """Every device of every process."""
        found = jax.devices()
        return cls(Mesh(np.array(found), (AXIS,)) if len(found) > 1 else None)

    @property
    def count(self) -> int:
        """How many there are."""
        return self.mesh.size if self.mesh else 1

    def split_rows(self, tree: Any) -> Any:
        """Arrays whose rows lie on the devices in equal parts, the last ones padded.

        Padding repeats the first row; `whole_rows` drops it.
        """
        return jax.tree.map(self._split, tree)

    def _split(self, array: jax.Array) -> jax.Array:
        if self.mesh is None:
            return array
        missing = -len(array) % self.count
        padding = jnp.broadcast_to(array[:1], (missing, *array.shape[1:]))
        return self._constrain(jnp.concatenate([array, padding]), AXIS)

    def on_rows(self, function: Callable[[Any, jax.Array], Any]) -> Callable:
        """`function(params, rows)`, which each device calls for its own rows."""
        if self.mesh is None:
            return function
        rows = PartitionSpec(AXIS)
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=(PartitionSpec(), rows), out_specs=rows
        )

    def whole_rows(self, array: jax.Array, count: int) -> jax.Array:
        """The first `count` rows, on every device."""
        return array if self.mesh is None else self.copy_inside(array[:count])

    def split_evenly(self, array: jax.Array) -> jax.Array:
        """The array split by rows where they divide evenly, else as it is."""
        if self.mesh is None or len(array) % self.count:
            return array
        return self._constrain(array, AXIS)

    def copy_inside(self, tree: Any) -> Any:
        """Inside a compiled function: has every device hold all of the arrays."""
        if self.mesh is None:
            return tree
        return jax.tree.map(self._constrain, tree)

    def _constrain(self, array: jax.Array, *spec: str) -> jax.Array:
        return jax.lax.with_sharding_constraint(array, self._sharding(*spec))

    def _sharding(self, *spec: str) -> NamedSharding:
        assert self.mesh is not None
        return NamedSharding(self.mesh, PartitionSpec(*spec))

    def copy(self, tree: Any) -> Any:
        """Puts the same values on every device; each process gives all of them."""
        return tree if self.mesh is None else jax.tree.map(self._copy, tree)

    def _copy(self, leaf: jax.Array) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(self._copy(jax.random.key_data(leaf)))
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, self._sharding(), lambda at: host[at])

    def place_rows(self, take: Callable[[np.ndarray], np.ndarray], count: int) -> jax.Array:
        """An array that is split by rows, read part by part.

        Args:
          take: rows by their numbers; each process asks for its own part alone.
          count: rows there are. Padding to equal parts repeats the last.
        """
        if self.mesh is None:
            return jnp.asarray(take(np.arange(count)))
        example = take(np.arange(1))
        rows = count + -count % self.count
        shape = (rows, *example.shape[1:])

        def part(index: Any) -> np.ndarray:
            return take(np.minimum(np.arange(rows)[index[0]], count - 1))

        return jax.make_array_from_callback(shape, self._sharding(AXIS), part)


ONE_DEVICE = Devices()
