"""What a method, or what chooses its first images, may use of an experiment."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from csdm_jax import parameterisations
from csdm_jax.data.host import HostData
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.networks import Network
from csdm_jax.parameterisations import OfClasses, Parameterisation, Stored
from csdm_jax.runtime.sharding import ONE_DEVICE, Devices
from csdm_jax.sets.distilled import DistilledSet


@dataclasses.dataclass(frozen=True)
class Context:
    """What a method may use. The test set is not among it.

    Attributes:
      host: the long-tailed training set. Steps read it through the draw of their phase.
      network: architecture of the extractors.
      normaliser: pixels to network input.
      stored_as: name and factor of the parameterisation in which synthetic images are stored.
      devices: where steps run.
      start: name of what chooses the first images, in `csdm_jax.distillation.starts`.
      first: images that serve for the start alone, in place of the training set.
      sketches: what steps read where the images themselves are not at hand,
        `csdm_jax.distillation.methods.matching.sketched.Sketches`; the training set has then their
        counts and shape, and no images.
    """

    host: HostData
    network: Network
    normaliser: Normaliser
    stored_as: tuple[str, int]
    devices: Devices = ONE_DEVICE
    start: str = "random"
    first: HostData | None = None
    sketches: Any = None

    @property
    def parameterisation(self) -> Parameterisation:
        """How synthetic images are stored."""
        return parameterisations.create(*self.stored_as)

    @functools.cached_property
    def _encoding(self) -> Parameterisation:
        form = self.parameterisation
        return form.fit(self.host) if isinstance(form, OfClasses) else form

    def encode(self, images: jax.Array) -> Stored:
        """Images as they are stored.

        Args:
          images: `[C * k * tiles, H, W, ch]` in [0, 1], class-major, as many of each class.
        """
        return self._encoding.encode(images)

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
