"""One step of a network's training, for methods that train networks while they distil."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from csdm_jax.networks import Network, Params


class Trained(NamedTuple):
    """A network under training: its weights and the moments of its optimiser."""

    weights: Params
    moments: Any


def begin(weights: Params, optimiser: optax.GradientTransformation) -> Trained:
    """A network before its first step."""
    return Trained(weights, optimiser.init(weights))


def step(
    network: Network,
    optimiser: optax.GradientTransformation,
    trained: Trained,
    images: jax.Array,
    targets: jax.Array,
) -> tuple[Trained, jax.Array, jax.Array]:
    """One step down the mean cross-entropy.

    Args:
      network: architecture.
      optimiser: of the weights.
      trained: weights and moments before the step.
      images: `[n, H, W, ch]`, normalised.
      targets: `[n, K]` float32, class probabilities.

    Returns:
      Weights and moments after it; mean cross-entropy and accuracy before it, scalars.
    """

    def loss(weights: Params) -> tuple[jax.Array, jax.Array]:
        logits, _ = network.apply(weights, images)
        right = jnp.argmax(logits, axis=1) == jnp.argmax(targets, axis=1)
        return jnp.mean(optax.softmax_cross_entropy(logits, targets)), jnp.mean(right)

    (value, right), gradient = jax.value_and_grad(loss, has_aux=True)(trained.weights)
    updates, moments = optimiser.update(gradient, trained.moments, trained.weights)
    return Trained(optax.apply_updates(trained.weights, updates), moments), value, right
