"""What methods need beside the data. A method declares it, the experiment supplies it.

A method that needs nothing of these declares nothing; networks that a method trains itself (an
inner network, an online queue) start from `Untrained` ones and are part of its state.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Pool:
    """The extractors, `csdm_jax.training.extractors.Pool`: initial and trained weights."""


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Weights of one trained network: the first of the pool."""


@dataclasses.dataclass(frozen=True)
class Untrained:
    """Weights of networks before any training, stacked along a leading axis.

    Attributes:
      count: how many.
    """

    count: int


@dataclasses.dataclass(frozen=True)
class Trajectories:
    """Weights along the training of the extractors, `csdm_jax.training.trajectories`.

    Attributes:
      every: epochs between two snapshots; the initial and the trained weights are always there.
    """

    every: int = 1


@dataclasses.dataclass(frozen=True)
class Experts:
    """Weights after every epoch of trainings of their own, `csdm_jax.training.experts`.

    They stay on the host: a phase's `fetch` reads the snapshots of a round. A method that needs
    them has the fields `csdm_jax.training.settings.EXPERTS`.

    Attributes:
      flat: whether trained for flat minima, by `experts.sharpness`.
      balanced: whether by `experts.balancing_decay`, with a second stage that trains the classifier
        on classes in equal parts.
    """

    flat: bool = False
    balanced: bool = False


Need = Pool | Teacher | Untrained | Trajectories | Experts
