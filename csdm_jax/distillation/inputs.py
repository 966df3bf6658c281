"""What the steps of a method read, wherever the training images are.

A phase draws the rows of its batch by its key. On a device the images are gathered inside the
compiled step; images that stay on the host are read one step ahead and handed to it. Where a phase
has views, a batch is drawn by the number of its view, and read when that is made. What a phase
fetches stays on the host whatever the images do, and is read once a round.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.distillation import views
from csdm_jax.distillation.methods.base import Inputs, Metrics, Phase, State, Views
from csdm_jax.runtime import health, stepping
from csdm_jax.runtime.sharding import Devices


class Constants(NamedTuple):
    """What every step of a run reads.

    Attributes:
      images: `[N, H, W, ch]` uint8, where the training set is on the devices; else None.
      supplied: what the method needs.
      key_data: of the run's key; a step's own is folded from it.
      numbers: of the method, see `Method`.
    """

    images: Any
    supplied: tuple[Any, ...]
    key_data: jax.Array
    numbers: tuple[Any, ...] = ()


class Fed(NamedTuple):
    """What is read on the host for one step.

    Attributes:
      pixels: of its batch, where the images stay there; else None.
      fetched: by its phase, if that fetches.
    """

    pixels: Any = None
    fetched: Any = None


class Carried(NamedTuple):
    """What steps hand on where a phase has views.

    Attributes:
      state: of the method; all that a checkpoint keeps.
      places: of each phase's views; None for a phase without.
    """

    state: State
    places: tuple[views.Places | None, ...]


def compiled(phases: Sequence[Phase], devices: Devices) -> list[stepping.Phase]:
    """The phases as the stepper runs them; their constants are those of `constants`.

    They hand on the state itself where none of them has views, else what `carried` gives.
    """
    if not any(phase.views for phase in phases):
        return [stepping.Phase(_from_batches(phase, devices), phase.times) for phase in phases]
    return [
        stepping.Phase(_from_views(phase, at, devices), phase.times)
        for at, phase in enumerate(phases)
    ]


def carried(phases: Sequence[Phase], state: State, shared: Constants, pixels: Any) -> Any:
    """What the compiled phases take for a state, no view being made yet.

    Args:
      phases: of the method.
      state: of the method.
      shared: what every step reads.
      pixels: of one image that stays on the host, uint8 `[1, H, W, ch]`.
    """
    if not any(phase.views for phase in phases):
        return state
    return Carried(state, tuple(_no_views(phase, shared, pixels) for phase in phases))


def state_of(carry: Any) -> State:
    """The method's state in what the compiled phases hand on."""
    return carry.state if isinstance(carry, Carried) else carry


def _from_batches(phase: Phase, devices: Devices) -> stepping.Step:
    """A step that reads a batch of its own."""

    def step(state: State, given: Any, index: jax.Array) -> tuple[State, Metrics]:
        shared, fed = _shared(given)
        inputs = _inputs(phase, shared, fed, index, index)
        return devices.copy_inside(_watched(phase, state, inputs))

    return step


def _from_views(phase: Phase, at: int, devices: Devices) -> stepping.Step:
    """A step that reads a view, where its phase, the one with number `at`, has some."""

    def step(carry: Carried, given: Any, index: jax.Array) -> tuple[Carried, Metrics]:
        shared, fed = _shared(given)
        places, kept = list(carry.places), phase.views
        if kept is None:
            inputs = _inputs(phase, shared, fed, index, index)
        else:
            wanted, before = views.number(index, kept), carry.places[at]
            assert before is not None

            def make() -> Any:
                return _view(phase, shared, fed, wanted)

            view, places[at] = views.read(kept, before, wanted, make)
            key = _key(shared, wanted)
            inputs = Inputs(shared.supplied, None, key, index, view, numbers=shared.numbers)
        state, metrics = _watched(phase, carry.state, inputs)
        return devices.copy_inside((Carried(state, tuple(places)), metrics))

    return step


def _shared(given: Any) -> tuple[Constants, Fed]:
    """What all steps read, and what a feed has read for this one."""
    return (given, Fed()) if isinstance(given, Constants) else given


def _key(shared: Constants, number: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.wrap_key_data(shared.key_data), number)


def _inputs(
    phase: Phase, shared: Constants, fed: Fed, number: jax.Array, index: jax.Array
) -> Inputs:
    """Batch and key of a number, of a step or of a view."""
    key, batch = _key(shared, number), None
    if phase.draw is not None:
        drawn = phase.rows(key, number)
        pixels = shared.images[drawn.values] if fed.pixels is None else fed.pixels
        batch = drawn.with_values(pixels)
    numbers = shared.numbers
    return Inputs(shared.supplied, batch, key, index, fetched=fed.fetched, numbers=numbers)


def _view(phase: Phase, shared: Constants, fed: Fed, number: jax.Array) -> Any:
    assert phase.views is not None
    return phase.views.make(_inputs(phase, shared, fed, number, number))


def _watched(phase: Phase, state: State, inputs: Inputs) -> tuple[State, Metrics]:
    """The phase's step, its loss and state watched for bad numbers."""
    state, metrics = phase.step(state, inputs)
    watched = {"loss": health.finite(metrics.loss), health.STATE: health.no_nan(state)}
    return state, metrics._replace(finite=metrics.finite | watched)


def _no_views(phase: Phase, shared: Constants, pixels: Any) -> views.Places | None:
    if phase.views is None:
        return None

    def one(shared: Constants, number: jax.Array) -> Any:
        given = None
        if shared.images is None and phase.draw is not None:
            rows = phase.rows(_key(shared, number), number).values
            given = jnp.zeros((len(rows), *pixels.shape[1:]), pixels.dtype)
        return _view(phase, shared, Fed(given), number)

    return views.empty(phase.views, jax.eval_shape(one, shared, jnp.int32(0)))


def constants(
    data: DeviceData | HostData,
    supplied: tuple[Any, ...],
    key: jax.Array,
    numbers: tuple[Any, ...] = (),
) -> Constants:
    """What every step of a run with this key reads."""
    images = data.images if isinstance(data, DeviceData) else None
    return Constants(images, supplied, jnp.array(jax.random.key_data(key), copy=True), numbers)


def feed(
    phase: Phase, data: DeviceData | HostData, supplied: tuple[Any, ...], key: jax.Array
) -> stepping.Feed | None:
    """What reads on the host for a step of a phase: `Fed`; None where there is nothing to read.

    Args:
      phase: of the method.
      data: the training set; a batch is read of one that stays on the host.
      supplied: what the method needs.
      key: of the run.
    """
    pixels, fetched = _pixels(phase, data, key), _fetched(phase, supplied, key)
    if pixels is None and fetched is None:
        return None
    return lambda index: Fed(pixels and pixels(index), fetched and fetched(index))


def _pixels(phase: Phase, data: DeviceData | HostData, key: jax.Array) -> stepping.Feed | None:
    """What reads a step's batch."""
    if phase.draw is None or not isinstance(data, HostData):
        return None
    rows_of = jax.jit(lambda index: phase.rows(jax.random.fold_in(key, index), index).values)

    def batch(number: int) -> jax.Array:
        return jnp.asarray(data.take(np.asarray(rows_of(stepping.wrapped(number)))))

    return batch if phase.views is None else _FeedOfViews(phase.views, batch)


def _fetched(phase: Phase, supplied: tuple[Any, ...], key: jax.Array) -> stepping.Feed | None:
    """What reads what a phase fetches."""
    fetch = phase.fetch
    if fetch is None:
        return None

    @functools.lru_cache(maxsize=1)  # the steps of a round share it
    def of_round(number: int) -> Any:
        own = jax.random.fold_in(key, stepping.wrapped(number))
        return jax.tree.map(jnp.asarray, fetch(supplied, own, number))

    return lambda index: of_round(index // phase.times)


class _FeedOfViews:
    """Reads a batch for the steps that make a view; the others are given the last one again."""

    def __init__(self, kept: Views, batch: stepping.Feed):
        self._kept, self._batch = kept, batch
        self._made: dict[int, int] = {}
        self._last: jax.Array | None = None

    def __call__(self, index: int) -> jax.Array:
        wanted = views.number(index, self._kept)
        if self._last is None or self._made.get(wanted % self._kept.kept) != wanted:
            self._last = self._batch(wanted)
            self._made[wanted % self._kept.kept] = wanted
        return self._last


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
