"""The interface of a distillation method, what every method is given, and how one is registered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from csdm_jax.distillation import starts
from csdm_jax.distillation.context import Context
from csdm_jax.distillation.needs import Need
from csdm_jax.metric.ragged import Ragged
from csdm_jax.parameterisations import Stored
from csdm_jax.runtime.fields import Field
from csdm_jax.sets.distilled import DistilledSet

State = Any
Settle = Callable[[Any, "Context", tuple[Any, ...]], dict[str, Any]]
"""Configuration, context and what is supplied to the fields that a method sets itself."""


class Inputs(NamedTuple):
    """What a step reads beside its state.

    Attributes:
      supplied: what the method's `needs` ask for, in their order.
      batch: real images, uint8, of the rows that the phase has drawn; None where it draws none,
        and where it reads a view.
      key: this step's own; of a phase with views the view's, the same in all steps that read it.
      number: int32 scalar, the number of this step among those of its phase.
      view: what `Views.make` has made; None for a phase without views.
      fetched: what `Phase.fetch` has read; None for a phase without.
      numbers: those of the method, as arguments of the compiled step; () where it is called alone.
    """

    supplied: tuple[Any, ...]
    batch: Ragged | None
    key: jax.Array
    number: jax.Array
    view: Any = None
    fetched: Any = None
    numbers: tuple[Any, ...] = ()


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


Fetch = Callable[[tuple[Any, ...], jax.Array, int], Any]


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
      fetch: what a round of the phase reads from the host, the same in all its steps: a function
        of what is supplied, the round's key and number, the key being that of every phase of the
        round, to a pytree of NumPy arrays; None for none. It is called ahead, in a thread.
      numbered: whether `draw` takes a second argument, the number of the step (or of its view)
        among those of the phase; for steps that take turns, each with a class of its own.
    """

    step: Callable[[State, Inputs], tuple[State, Metrics]]
    times: int = 1
    draw: Callable[..., Ragged] | None = None
    views: Views | None = None
    fetch: Fetch | None = None
    numbered: bool = False

    def rows(self, key: jax.Array, number: jax.Array) -> Ragged:
        """What `draw` gives in a phase that has one, for the key and the number of a step."""
        assert self.draw is not None
        return self.draw(key, number) if self.numbered else self.draw(key)


class Method(Protocol):
    """State in, state and metrics out, a distilled set at the end.

    The state is a pytree of arrays of any kind: coefficients of images, labels, a step size,
    networks, moments of optimisers. It is all that a checkpoint keeps.

    A method may have `numbers`, a tuple of scalars of its configuration, which its steps then find
    in their inputs. Runs that differ in these alone share a compiled step.
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
      needs: what the experiment supplies, or a function of the configuration that says it.
      fields: its own fields of the configuration, "section.field".
      published: fields of the configuration that `recipe=published` sets, and to what.
      check: raises a ValueError for a configuration that cannot work, before anything is compiled.
      settle: fields that a configuration leaves open, and what the method sets them to by its own
        rule; the same for all seeds, recorded in the card.
      selects: whether it chooses real images itself, whatever `distill.initialisation` says.
      unread: those of its fields that nothing depends on under a configuration.
      own: fields of other sections without which it would be another method, and what they are
        under any recipe: a function of the configuration, which reads the method's own fields.
    """

    create: Callable[[Any, Context], Method]
    needs: tuple[Need, ...] | Callable[[Any], tuple[Need, ...]] = ()
    fields: Mapping[str, Field] = dataclasses.field(default_factory=dict)
    published: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    check: Callable[[Any], None] = lambda config: None
    settle: Settle = lambda config, context, supplied: {}
    selects: bool = False
    unread: Callable[[Any], set[str]] = lambda config: set()
    own: Callable[[Any], Mapping[str, Any]] = lambda config: {}

    def needed(self, config: Any) -> tuple[Need, ...]:
        """What the experiment supplies under a configuration."""
        return self.needs(config) if callable(self.needs) else self.needs

    def read(self, config: Any) -> set[str]:
        """Its own fields on which something depends under a configuration."""
        return {*self.fields} - self.unread(config)


def initial_images(
    context: Context, ipc: int, key: jax.Array, supplied: tuple[Any, ...] = ()
) -> Stored:
    """Synthetic images before the first step: real ones, chosen by the context's start, encoded.

    Args:
      context: data, parameterisation and start.
      ipc: stored images per class.
      key: decides what is random in the choice.
      supplied: what the method is supplied with; some starts read the pool that is among it.

    Returns:
      Float arrays by name, class-major.

    Raises:
      ValueError: for an unknown start, or one that reads a pool where none is supplied.
    """
    wanted = ipc * context.parameterisation.tiles
    if context.first is not None:
        context = dataclasses.replace(context, host=context.first)
    images = starts.images(context.start, context, wanted, key, supplied)
    return context.encode(images)


def stored_labels(num_classes: int, ipc: int) -> np.ndarray:
    """Labels of the stored images: int32 `[C * ipc]`, class-major."""
    return np.repeat(np.arange(num_classes, dtype=np.int32), ipc)
