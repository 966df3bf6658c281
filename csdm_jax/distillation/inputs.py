"""What the steps of a method read, wherever the training images are.

A phase draws the rows of its batch by its key. On a device the images are gathered inside the
compiled step; images that stay on the host are read one step ahead and handed to it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.distillation.methods.base import Inputs, Metrics, Phase, State
from csdm_jax.runtime import health, stepping
from csdm_jax.runtime.sharding import Devices


class Constants(NamedTuple):
    """What every step of a run reads.

    Attributes:
      images: `[N, H, W, ch]` uint8, where the training set is on the devices; else None.
      supplied: what the method needs.
      key_data: of the run's key; a step's own is folded from it.
    """

    images: Any
    supplied: tuple[Any, ...]
    key_data: jax.Array


def compiled(phase: Phase, devices: Devices) -> stepping.Phase:
    """A phase as the stepper runs it; its constants are those of `constants`."""

    def step(state: State, given: Any, index: jax.Array) -> tuple[State, Metrics]:
        # A feed makes a pair of what all steps read and what this one does.
        shared, pixels = (given, None) if isinstance(given, Constants) else given
        key = jax.random.fold_in(jax.random.wrap_key_data(shared.key_data), index)
        batch = None
        if phase.draw is not None:
            drawn = phase.draw(key)
            if pixels is None:
                pixels = shared.images[drawn.values]
            batch = drawn.with_values(pixels)
        state, metrics = phase.step(state, Inputs(shared.supplied, batch, key, index))
        watched = {"loss": health.finite(metrics.loss), health.STATE: health.no_nan(state)}
        metrics = metrics._replace(finite=metrics.finite | watched)
        return devices.copy_inside((state, metrics))

    return stepping.Phase(step, phase.times)


def constants(data: DeviceData | HostData, supplied: tuple[Any, ...], key: jax.Array) -> Constants:
    """What every step of a run with this key reads."""
    images = data.images if isinstance(data, DeviceData) else None
    return Constants(images, supplied, jnp.array(jax.random.key_data(key), copy=True))


def feed(phase: Phase, data: DeviceData | HostData, key: jax.Array) -> stepping.Feed | None:
    """For images that stay on the host: what reads a step's batch; None where it reads none."""
    draw = phase.draw
    if draw is None or not isinstance(data, HostData):
        return None
    rows_of = jax.jit(lambda index: draw(jax.random.fold_in(key, index)).values)
    return lambda index: jnp.asarray(data.take(np.asarray(rows_of(stepping.wrapped(index)))))


def merged(phases: tuple[Metrics, ...]) -> Metrics:
    """One row a round: the loss is the first phase's, other numbers are those of all phases.

    Of a phase of several steps the last one's numbers are kept, and a thing is finite when it is
    in every step.
    """
    scalars: dict[str, Any] = {}
    by_class: dict[str, Any] = {}
    finite: dict[str, Any] = {}
    for own in phases:
        counted = own.loss.ndim == 2
        last = jax.tree.map(lambda leaf: leaf[:, -1], own) if counted else own
        scalars |= last.scalars
        by_class |= last.by_class
        for name, good in own.finite.items():
            whole = good.all(axis=1) if counted else good
            finite[name] = whole & finite.get(name, True)
    first = phases[0].loss
    loss = first[:, -1] if first.ndim == 2 else first
    return Metrics(loss, scalars, by_class, finite)
