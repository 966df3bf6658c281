"""What is asked of every parameterisation whose classes share what is stored."""

from __future__ import annotations

import numpy as np

COUNTS = (30, 8, 3, 2, 1)


class Real:
    """Tiny class-major images: smooth, each class with waves of its own, and noise."""

    def __init__(self, shape=(6, 8, 3), counts=COUNTS, seed=0):
        self.counts = counts
        generator = np.random.default_rng(seed)
        height, width, channels = shape
        y, x = np.mgrid[:height, :width]
        made = []
        for label, count in enumerate(counts):
            phase = generator.uniform(0, 6, (count, 1, 1, channels))
            waves = np.sin((label + 1) * y / height + x / (label + 1))[None, :, :, None]
            made.append(128 + 60 * np.sin(phase) * waves + generator.normal(0, 15, (count, *shape)))
        self.images = np.clip(np.concatenate(made), 0, 255).astype(np.uint8)

    def take(self, rows):
        return self.images[rows]

    def of(self, label):
        """All of a class, float64 in [0, 1]."""
        first = sum(self.counts[:label])
        return self.images[first : first + self.counts[label]] / 255.0

    def chosen(self, each):
        """`each` of every class, again and again where there are fewer: float64 in [0, 1]."""
        return np.concatenate(
            [np.resize(self.of(k), (each, *self.images.shape[1:])) for k in range(len(self.counts))]
        )


def directional(decode, stored, name, *, seed=0, step=1e-3):
    """The derivative of sum(decode^2 * weights) along a random direction of one array.

    Returns:
      By the gradient and by central differences.
    """
    import jax
    import jax.numpy as jnp

    generator = np.random.default_rng(seed)
    weights = jnp.asarray(generator.normal(size=decode(stored).shape), jnp.float32)
    along = jnp.asarray(generator.normal(size=stored[name].shape), jnp.float32)

    def value(array):
        return jnp.sum(weights * decode(stored | {name: array}) ** 2)

    gradient = jax.grad(value)(stored[name])
    ends = [float(value(stored[name] + sign * step * along)) for sign in (1, -1)]
    return float(jnp.sum(gradient * along)), (ends[0] - ends[1]) / (2 * step)
