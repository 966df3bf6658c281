"""Guards against NaN and infinity: looked at on the device, read by the host once a chunk."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

TERMS = ("extractor weights", "real batch", "pixels", "loss", "gradient", "updated pixels")
"""What a step is watched for, causes before what follows from them."""
STATE = "state"


def finite(tree: Any) -> jax.Array:
    """Whether all floating-point numbers of a pytree are finite: a bool scalar on the device."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves], bool))


finite_now = jax.jit(finite)
"""`finite` outside a program: one small program, not one for each leaf."""


def no_nan(tree: Any) -> jax.Array:
    """Whether no number of a pytree is NaN; infinity may be where a minimum starts from."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return ~jnp.any(jnp.array([jnp.any(jnp.isnan(leaf)) for leaf in leaves], bool))


def first_fault(finite_terms: dict[str, np.ndarray]) -> tuple[int, str] | None:
    """The first step of a chunk with a term that is not finite, and that term.

    Args:
      finite_terms: for each term, bool `[steps]`; of several that fail in one step a method's own,
        which are not among `TERMS`, are named first: they are what it has read; then the first in
        the order of `TERMS`; the `STATE`, in which every fault ends, comes last.
    """
    order = {name: place for place, name in enumerate(TERMS)} | {STATE: len(TERMS) + 1}
    faults = [(int(np.argmin(good)), name) for name, good in finite_terms.items() if not good.all()]
    return min(faults, key=lambda fault: (fault[0], order.get(fault[1], -1)), default=None)
