"""Selection: real images that are chosen once, and stored as the parameterisation stores them.

A mosaic holds several: as many are chosen as it decodes to, each of them whole, and made small. A
class with fewer images than wanted is used whole, again and again, as in `random`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from csdm_jax.distillation.methods.base import Context, Kind, Phase, stored_labels
from csdm_jax.distillation.needs import Need
from csdm_jax.parameterisations import Stored
from csdm_jax.sets.distilled import DistilledSet


class Selection:
    """Images, chosen by a rule, with the label of their class.

    Args:
      config: the experiment's configuration.
      context: data, network and parameterisation.
      images: context, number of images of every class, key and what the method is supplied with,
        to float32 images `[C * wanted, H, W, ch]` in [0, 1], class-major.
    """

    steps = 0
    phases: tuple[Phase, ...] = ()

    def __init__(self, config: Any, context: Context, images: Callable[..., jax.Array]):
        self._context = context
        self._ipc = config.distill.ipc
        self._images = images

    def init(self, key: jax.Array, supplied: tuple[Any, ...]) -> Stored:
        """The chosen images, encoded."""
        wanted = self._ipc * self._context.parameterisation.tiles
        return self._context.encode(self._images(self._context, wanted, key, *supplied))

    def result(self, state: Stored) -> DistilledSet:
        """The images themselves."""
        return self._context.distilled(state, stored_labels(self._context.num_classes, self._ipc))


def kind(create: Callable[[Any, Context], Any], *needs: Need, published: Mapping[str, Any]) -> Kind:
    """The entry of a method of this family, which takes no start."""
    return Kind(create, needs, published=published, selects=True)
