"""The interface of a distillation method, and what every method is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.networks import Network
from csdm_jax.parameterisations import Parameterisation
from csdm_jax.runtime.sharding import ONE_DEVICE, Devices
from csdm_jax.runtime.stepping import Feed
from csdm_jax.training.extractors import Pool

State = Any
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Context:
    """What a method may use. The test set is not among it.

    Attributes:
      data: the long-tailed training set on the devices, or on the host when it is too large.
      host: the same on the host.
      network: architecture of the extractors.
      pool: the extractors; None for a method that needs none.
      normaliser: pixels to network input.
      parameterisation: how synthetic images are stored.
      devices: where steps run.
    """

    data: DeviceData | HostData
    host: HostData
    network: Network
    pool: Pool | None
    normaliser: Normaliser
    parameterisation: Parameterisation
    devices: Devices = ONE_DEVICE

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.data.counts)


class Method(Protocol):
    """State in, state and metrics out, a distilled set at the end."""

    steps: int
    """Steps of the whole run; 0 for a selection that optimises nothing."""

    constants: Any
    """Pytree of arrays that `step` reads (kept out of the compiled program's constants)."""

    def init(self, key: jax.Array) -> State:
        """The state before the first step."""
        ...

    def step(self, state: State, constants: Any, index: jax.Array) -> tuple[State, Metrics]:
        """One step; pure, compiled by the loop. Randomness is a function of `index`."""
        ...

    def feed(self, state: State) -> Feed | None:
        """What reads the inputs of single steps, if there are any beside `constants`."""
        ...

    def stored(self, state: State) -> jax.Array:
        """The synthetic images `[C * ipc, H, W, ch]` in [0, 1], class-major, not decoded."""
        ...


def initial_rows(
    counts: tuple[int, ...], needed: int | Sequence[int], key: jax.Array
) -> np.ndarray:
    """Rows of the real images that start the synthetic ones.

    Drawn without replacement; a class with fewer than `needed` images is used whole, again and
    again, so that each of its images serves equally often (up to one).

    Args:
      counts: images per class of the class-major set.
      needed: images wanted of every class, or of each.
      key: decides the draw.

    Returns:
      int, as many as needed in all, class-major.
    """
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    offset, rows = 0, []
    for count, wanted in zip(counts, np.broadcast_to(needed, len(counts)), strict=True):
        passes = [generator.permutation(count) for _ in range(max(1, -(-wanted // count)))]
        rows.append(offset + np.concatenate(passes)[:wanted])
        offset += count
    return np.concatenate(rows)


def initial_images(context: Context, ipc: int, key: jax.Array) -> jax.Array:
    """Synthetic images before the first step: real ones, encoded.

    Args:
      context: data and parameterisation.
      ipc: stored images per class.
      key: decides which real images.

    Returns:
      `[C * ipc, H, W, ch]` float32 in [0, 1], class-major.
    """
    host = context.host
    rows = initial_rows(host.counts, ipc * context.parameterisation.tiles, key)
    real = jnp.asarray(host.take(rows), jnp.float32) / 255.0
    return jnp.clip(context.parameterisation.encode(real), 0.0, 1.0)


def stored_labels(num_classes: int, ipc: int) -> np.ndarray:
    """Labels of the stored images: int32 `[C * ipc]`, class-major."""
    return np.repeat(np.arange(num_classes, dtype=np.int32), ipc)
