"""A schedule of extractors: which networks a step of a matching method draws."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import jax

from csdm_jax.distillation.methods.base import Context, Phase
from csdm_jax.distillation.needs import Need, Pool
from csdm_jax.networks import Params
from csdm_jax.runtime.fields import Field


class Schedule:
    """What draws the networks of a step.

    Args:
      config: the experiment's configuration.
      context: data and network.
    """

    needs: ClassVar[tuple[Need, ...]] = (Pool(),)
    """What the experiment supplies for it; a method is supplied with these first."""
    fields: ClassVar[Mapping[str, Field]] = MappingProxyType({})
    """Fields of the configuration that it reads beside those of all."""
    changes: ClassVar[bool] = False
    """Whether its networks change on the way, so that no view of real images can be kept."""

    def __init__(self, config: Any, context: Context):
        self._context = context
        self.phases: tuple[Phase, ...] = ()
        """Steps of its own behind that of the images, with the method's state in `queue`."""

    def begin(self, key: jax.Array) -> Any:
        """What it holds before the first step: nothing."""
        del key
        return ()

    def draw(self, supplied: tuple[Any, ...], queue: Any, key: jax.Array) -> tuple[Params, Params]:
        """Weights whose features are matched, and trained ones that calibrate.

        Args:
          supplied: what a method is supplied with, `needs` first.
          queue: what the schedule holds.
          key: decides the draw.
        """
        raise NotImplementedError

    def trust(self, queue: Any, key: jax.Array) -> jax.Array | float:
        """By what the weight of the calibration is multiplied, for the draw of that key: 1."""
        del queue, key
        return 1.0
