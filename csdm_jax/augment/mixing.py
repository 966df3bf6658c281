"""CutMix."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from csdm_jax.augment import ops


def cutmix(
    key: jax.Array, images: jax.Array, labels: jax.Array, probability: float, beta: float = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Pastes one box of a permutation of the batch into the batch, with the given probability.

    The box has sides sqrt(1 - l) of the image's, l ~ Beta(beta, beta), and a uniform centre; the
    labels are mixed by its area inside the image.

    Args:
      key: a random key.
      images: [n, H, W, c].
      labels: [n, K], floating, class probabilities.
      probability: that the batch is mixed at all, in [0, 1].
      beta: parameter of the Beta distribution, positive.

    Returns:
      Mixed images [n, H, W, c] and labels [n, K].

    Raises:
      ValueError: for labels that are not [n, K] probabilities, or a parameter out of range.

    Source: CutMix (Yun et al., 2019).
    """
    n, height, width, _ = images.shape
    if labels.ndim != 2 or len(labels) != n or not jnp.issubdtype(labels.dtype, jnp.floating):
        raise ValueError(
            f"labels must be floating probabilities [{n}, K], got {labels.dtype} "
            f"{list(labels.shape)}: use jax.nn.one_hot"
        )
    if not 0 <= probability <= 1 or not 0 < beta < math.inf:
        raise ValueError(
            f"probability must be in [0, 1] and beta positive, got {probability} and {beta}"
        )
    keys = jax.random.split(key, 4)
    sides = jnp.array([[height, width]])
    fraction = jnp.sqrt(1 - jax.random.beta(keys[0], beta, beta))
    size = jnp.floor(fraction * sides.astype(fraction.dtype)).astype(sides.dtype)
    box = ops.box(jax.random.randint(keys[1], (1, 2), 0, sides), size)
    inside = ops.inside(box, height, width) & jax.random.bernoulli(keys[2], probability)
    partner = jax.random.permutation(keys[3], n)
    area = inside.mean(dtype=labels.dtype)
    mixed = jnp.where(inside, images[partner], images)
    return mixed, (1 - area) * labels + area * labels[partner]
