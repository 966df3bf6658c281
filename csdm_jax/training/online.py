"""One step of a network's training, for methods that train networks while they distil."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from csdm_jax.networks import Network, Params

Losses = Callable[[jax.Array, jax.Array], jax.Array]


class Trained(NamedTuple):
    """A network under training: its weights and the moments of its optimiser."""

    weights: Params
    moments: Any


def begin(weights: Params, optimiser: optax.GradientTransformation) -> Trained:
    """A network before its first step."""
    return Trained(weights, optimiser.init(weights))


def placed(networks: Any, place: jax.Array, one: Any) -> Any:
    """Stacked networks, with what else is known of each, with another one in one place.

    Args:
      networks: a pytree of arrays `[size, ...]`.
      place: scalar.
      one: the same pytree of arrays `[...]`.
    """
    return jax.tree.map(lambda all_, own: all_.at[place].set(own), networks, one)


def drawn(key: jax.Array, count: int, batch: int) -> jax.Array:
    """Which of `count` images a step sees: `batch` different ones, or all of them in order."""
    if count <= batch:
        return jnp.arange(count)
    return jax.random.choice(key, count, (batch,), replace=False)


def step(
    network: Network,
    optimiser: optax.GradientTransformation,
    trained: Trained,
    images: jax.Array,
    targets: jax.Array,
    losses: Losses = optax.softmax_cross_entropy,
) -> tuple[Trained, jax.Array, jax.Array]:
    """One step down the mean loss; a network with batch norm sees this batch's statistics.

    Args:
      network: architecture.
      optimiser: of the weights.
      trained: weights and moments before the step.
      images: `[n, H, W, ch]`, normalised.
      targets: `[n, K]` float32, class probabilities, or what else `losses` compares with.
      losses: logits and targets to the loss of each image, `[n]`.

    Returns:
      Weights and moments after it; mean loss and accuracy before it, scalars.
    """

    def loss(weights: Params) -> tuple[jax.Array, tuple[jax.Array, Params | None]]:
        (logits, _), seen = network.apply_in_training(weights, images)
        right = jnp.argmax(logits, axis=1) == jnp.argmax(targets, axis=1)
        return jnp.mean(losses(logits, targets)), (jnp.mean(right), seen)

    (value, (right, seen)), gradient = jax.value_and_grad(loss, has_aux=True)(trained.weights)
    updates, moments = optimiser.update(gradient, trained.moments, trained.weights)
    weights = network.with_seen(optax.apply_updates(trained.weights, updates), seen)
    return Trained(weights, moments), value, right
