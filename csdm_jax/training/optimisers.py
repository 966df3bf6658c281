"""Optimisers by name, for the networks and for the synthetic images (Optax)."""

from __future__ import annotations

from collections.abc import Callable

import optax

from csdm_jax.runtime.registry import lookup


def _adamw(learning_rate, momentum, weight_decay):
    return optax.adamw(learning_rate, b1=momentum, weight_decay=weight_decay)


def _lamb(learning_rate, momentum, weight_decay):
    return optax.lamb(learning_rate, b1=momentum, weight_decay=weight_decay)


def _sgd(learning_rate, momentum, weight_decay):
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum=momentum)
    )


OPTIMISERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": _adamw,
    "lamb": _lamb,
    "sgd": _sgd,
}


def optimiser(
    name: str, learning_rate: optax.ScalarOrSchedule, *, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """An optimiser by name.

    Args:
      name: "adamw" (decoupled weight decay; `momentum` is its first-moment decay), "lamb" (the
        same, each array's step as long as a share of the array) or "sgd" (heavy-ball momentum,
        weight decay added to the gradient, as PyTorch has it).
      learning_rate: a positive number or an Optax schedule.
      momentum: in [0, 1).
      weight_decay: non-negative.

    Raises:
      ValueError: for an unknown name.
    """
    return lookup(OPTIMISERS, name, "optimiser")(learning_rate, momentum, weight_decay)


def step_decay(
    learning_rate: float, total_steps: int, decay_at: tuple[float, ...], decay: float
) -> optax.Schedule:
    """`learning_rate`, multiplied by `decay` at each fraction `decay_at` of `total_steps`."""
    boundaries = {int(fraction * total_steps): decay for fraction in decay_at}
    return optax.piecewise_constant_schedule(learning_rate, boundaries)
