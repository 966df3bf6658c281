"""Guards against NaN and infinity: looked at on the device, read by the host once a chunk."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

TERMS = ("extractor weights", "real batch", "pixels", "loss", "gradient", "updated pixels")
"""What a step is watched for, causes before what follows from them."""


def finite(tree: Any) -> jax.Array:
    """Whether all floating-point numbers of a pytree are finite: a bool scalar on the device."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def first_fault(finite_terms: dict[str, np.ndarray]) -> tuple[int, str] | None:
    """The first step of a chunk with a term that is not finite, and that term.

    Args:
      finite_terms: for each term, bool `[steps]`; of several that fail in one step the first in the
        order of `TERMS` is named, and a method's own, which are not among `TERMS`, after them.
    """
    order = {name: place for place, name in enumerate(TERMS)}
    faults = [(int(np.argmin(good)), name) for name, good in finite_terms.items() if not good.all()]
    return min(faults, key=lambda fault: (fault[0], order.get(fault[1], len(TERMS))), default=None)
