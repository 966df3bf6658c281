"""Views: what a step reads in place of a fresh batch, kept for several steps.

A view is the real side of a step, computed once: one extractor, one augmentation, one batch (which
may be whole classes), and what the metric keeps of them. A phase keeps some views, one place each;
step i reads place `i mod kept`, and a view that has served `uses` steps gives way to a new one, at
another step in each place. A view is a pure function of the run's key and its number, so views are
no part of a checkpoint: a run that goes on makes those anew that its steps read.

With `uses` = 1 a phase has no views: every step draws its own batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from csdm_jax.distillation.methods.base import Views


class Places(NamedTuple):
    """The views that are held.

    Attributes:
      numbers: int32 `[kept]`, which view a place holds; -1 for none.
      views: a view's arrays, `[kept, ...]` each.
    """

    numbers: jax.Array
    views: Any


def number(index: Any, views: Views) -> Any:
    """Which view a step reads; of every place, once in `uses` turns another one.

    Args:
      index: int, NumPy or JAX, number of the step.
      views: how many there are and how often each serves.

    >>> from csdm_jax.distillation.methods.base import Views
    >>> [number(step, Views(None, kept=2, uses=3)) for step in range(10)]
    [0, 1, 0, 1, 0, 3, 2, 3, 2, 3]
    """
    place, turn = index % views.kept, index // views.kept
    later = place * views.uses // views.kept  # places do not change all at once
    return place + views.kept * ((turn + later) // views.uses)


def empty(views: Views, like: Any) -> Places:
    """No view yet.

    Args:
      views: how many places.
      like: shapes and dtypes of one view's arrays.
    """
    zeros = jax.tree.map(lambda leaf: jnp.zeros((views.kept, *leaf.shape), leaf.dtype), like)
    return Places(jnp.full(views.kept, -1, jnp.int32), zeros)


def read(
    views: Views, places: Places, wanted: jax.Array, make: Callable[[], Any]
) -> tuple[Any, Places]:
    """The wanted view, made where its place holds another; and the places that hold it then.

    Args:
      views: the phase's.
      places: what is held.
      wanted: int32 scalar, from `number`.
      make: makes the wanted view; called inside the branch of a conditional.
    """
    place = wanted % views.kept

    def held() -> Any:
        return jax.tree.map(lambda leaf: leaf[place], places.views)

    view = jax.lax.cond(places.numbers[place] == wanted, held, make)
    put = jax.tree.map(lambda leaf, own: leaf.at[place].set(own), places.views, view)
    return view, Places(places.numbers.at[place].set(wanted), put)
