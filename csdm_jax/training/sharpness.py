"""Gradients that lead to flat minima: adaptive SAM with the surrogate gap (GSAM).

Source: Foret et al. 2021 (SAM); Kwon et al. 2021 (its adaptive form); Zhuang et al. 2022 (GSAM).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Params = Any
_TINY = 1e-12


def flat_gradient(
    loss: Callable[[Params], Any], params: Params, *, radius: float, gap: float
) -> tuple[Any, Params]:
    """The loss at the weights, and what to descend by in place of its gradient.

    With g the gradient at w and h the one at `w + radius * w^2 g / ||w g||` it is
    `h - gap * (g - <g, h> / <h, h> h)`: what of g is orthogonal to h is ascended.

    Args:
      loss: weights to the loss of one batch, and whatever else it says.
      params: weights w, a pytree of floats.
      radius: rho, positive: how far away the loss shall be low.
      gap: alpha, non-negative: weight of the surrogate gap; 0 is adaptive SAM.

    Returns:
      The loss with what else it says, at the weights, and a pytree like `params`.
    """
    value, here = jax.value_and_grad(loss, has_aux=True)(params)
    scaled = jax.tree.map(lambda w, g: w * g, params, here)
    factor = radius / (optax.tree.norm(scaled) + _TINY)
    away = jax.tree.map(lambda w, s: w + factor * w * s, params, scaled)
    there, _ = jax.grad(loss, has_aux=True)(away)
    along = optax.tree.vdot(here, there) / jnp.maximum(optax.tree.vdot(there, there), _TINY)
    return value, jax.tree.map(lambda g, h: h - gap * (g - along * h), here, there)
