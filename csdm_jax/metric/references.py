"""A sample that is compared with again and again: its rows, and what of them alone is known."""

from __future__ import annotations

import dataclasses
import functools

import jax

from csdm_jax.metric.ragged import Ragged
from csdm_jax.metric.sketches import Sketch


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["rows", "own", "sketch"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Reference:
    """What `reference` makes; a pytree.

    Attributes:
        rows: of C classes, `[N, d]`.
        own: `sum_ij w_i w_j k(x_i, x_j)` of each class, weights adding up to 1, shape [C].
        sketch: of the rows, at the frequencies of the amplitude; None without frequencies.

    >>> from csdm_jax.metric import RBF, reference
    >>> reference(jax.numpy.zeros((5, 2)), RBF(1.0)).own.tolist()
    [1.0]
    """

    rows: Ragged
    own: jax.Array
    sketch: Sketch | None

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return self.rows.num_classes
