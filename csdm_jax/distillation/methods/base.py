"""The interface of a distillation method, what every method is given, and how one is registered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import parameterisations
from csdm_jax.data.host import HostData
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation.needs import Need
from csdm_jax.metric.ragged import Ragged
from csdm_jax.networks import Network
from csdm_jax.parameterisations import Parameterisation, Stored
from csdm_jax.runtime.fields import Field
from csdm_jax.runtime.sharding import ONE_DEVICE, Devices
from csdm_jax.sets.distilled import DistilledSet

State = Any
Settle = Callable[[Any, "Context", tuple[Any, ...]], dict[str, Any]]
"""Configuration, context and what is supplied to the fields that a method sets itself."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What a method may use. The test set is not among it.

    Attributes:
      host: the long-tailed training set. Steps read it through the draw of their phase.
      network: architecture of the extractors.
      normaliser: pixels to network input.
      stored_as: name and factor of the parameterisation in which synthetic images are stored.
      devices: where steps run.
    """

    host: HostData
    network: Network
    normaliser: Normaliser
    stored_as: tuple[str, int]
    devices: Devices = ONE_DEVICE

    @property
    def parameterisation(self) -> Parameterisation:
        """How synthetic images are stored."""
        return parameterisations.create(*self.stored_as)

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images of each class."""
        return self.host.counts

    @property
    def num_classes(self) -> int:
        """The number of classes C."""
        return len(self.host.counts)

    def distilled(
        self, stored: Stored, labels: Any, *, logits: bool = False, lr: Any = None
    ) -> DistilledSet:
        """The distilled set of what a method has made; see `DistilledSet` for the arguments."""
        arrays = {name: np.asarray(array) for name, array in stored.items()}
        step_size = None if lr is None else float(lr)
        labels = np.asarray(labels)
        return DistilledSet(
            arrays, labels, *self.stored_as, self.num_classes, logits=logits, lr=step_size
        )


class Inputs(NamedTuple):
    """What a step reads beside its state.

    Attributes:
      supplied: what the method's `needs` ask for, in their order.
      batch: real images, uint8, of the rows that the phase has drawn; None where it draws none,
        and where it reads a view.
      key: this step's own; of a phase with views the view's, the same in all steps that read it.
      number: int32 scalar, the number of this step among those of its phase.
      view: what `Views.make` has made; None for a phase without views.
    """

    supplied: tuple[Any, ...]
    batch: Ragged | None
    key: jax.Array
    number: jax.Array
    view: Any = None


class Metrics(NamedTuple):
    """What a step tells.

    Attributes:
      loss: scalar.
      scalars: other numbers of the step, for the metrics file.
      by_class: numbers of each class, `[k]` each, likewise.
      finite: bool scalars: whether a thing that the step has read or made is finite, for things
        beside the loss and the state, which the loop watches itself; causes before consequences.
    """

    loss: Any
    scalars: dict[str, Any]
    by_class: dict[str, Any]
    finite: dict[str, Any]


class Views(NamedTuple):
    """What the steps of a phase read in place of a batch; see `csdm_jax.distillation.views`.

    Attributes:
      make: inputs with a batch to a pytree of arrays: pure, a function of batch and key.
      kept: how many are held.
      uses: steps that read one before another takes its place.
    """

    make: Callable[[Inputs], Any]
    kept: int
    uses: int


class Phase(NamedTuple):
    """One kind of step. In every round of a run each phase has its turn.

    Attributes:
      step: state and inputs to state and metrics; pure, compiled by the loop. Randomness is a
        function of the inputs' key.
      times: how many steps in a row; 1 for an update of the images, more for an inner loop. An
        inner loop over weights is a phase of its own, never a scan in a step: on a CPU weight
        gradients in a scan are many times slower.
      draw: which rows of the training set a step reads, a pure function of its key; None for none.
      views: what is made of a batch and kept for several steps; None for a batch in every step.
    """

    step: Callable[[State, Inputs], tuple[State, Metrics]]
    times: int = 1
    draw: Callable[[jax.Array], Ragged] | None = None
    views: Views | None = None


class Method(Protocol):
    """State in, state and metrics out, a distilled set at the end.

    The state is a pytree of arrays of any kind: coefficients of images, labels, a step size,
    networks, moments of optimisers. It is all that a checkpoint keeps.
    """

    @property
    def steps(self) -> int:
        """Rounds of the whole run; 0 for a selection that optimises nothing."""
        ...

    @property
    def phases(self) -> Sequence[Phase]:
        """What a round consists of; empty for a selection."""
        ...

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> State:
        """The state before the first round.

        Args:
          key: decides all randomness in it.
          supplied: what `needs` ask for, as in `Inputs`.
        """
        ...

    def result(self, state: State) -> DistilledSet:
        """What the run has made; asked between two rounds, what it has made so far."""
        ...


@dataclasses.dataclass(frozen=True)
class Kind:
    """A method as it is registered.

    Attributes:
      create: configuration and context to the method. The docstring of its module states the
        facts of `csdm_jax.distillation.methods.facts`.
      needs: what the experiment supplies.
      fields: its own fields of the configuration, "section.field".
      published: fields of the configuration that `recipe=published` sets, and to what.
      check: raises a ValueError for a configuration that cannot work, before anything is compiled.
      settle: fields that a configuration leaves open, and what the method sets them to by its own
        rule; the same for all seeds, recorded in the card.
    """

    create: Callable[[Any, Context], Method]
    needs: tuple[Need, ...] = ()
    fields: Mapping[str, Field] = dataclasses.field(default_factory=dict)
    published: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    check: Callable[[Any], None] = lambda config: None
    settle: Settle = lambda config, context, supplied: {}


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


def stored_from(context: Context, rows: np.ndarray) -> Stored:
    """Real images as the parameterisation stores them.

    Args:
      context: data and parameterisation.
      rows: of the training set, class-major, as many of each class as its stored images decode to.

    Returns:
      Float arrays by name, class-major.
    """
    real = jnp.asarray(context.host.take(rows), jnp.float32) / 255.0
    return context.parameterisation.encode(real)


def initial_images(context: Context, ipc: int, key: jax.Array) -> Stored:
    """Synthetic images before the first step: real ones, drawn at random and encoded.

    Args:
      context: data and parameterisation.
      ipc: stored images per class.
      key: decides which real images.

    Returns:
      Float arrays by name, class-major.
    """
    rows = initial_rows(context.counts, ipc * context.parameterisation.tiles, key)
    return stored_from(context, rows)


def stored_labels(num_classes: int, ipc: int) -> np.ndarray:
    """Labels of the stored images: int32 `[C * ipc]`, class-major."""
    return np.repeat(np.arange(num_classes, dtype=np.int32), ipc)
