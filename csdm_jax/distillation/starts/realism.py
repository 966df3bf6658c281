"""Realism: the crops of real images that the extractors are surest of (RDED, Sun et al. 2024).

Of up to `IMAGES` images of a class `CROPS` random square crops each are scored by the cross-entropy
at their class, the mean over the trained extractors, in the form in which they will be stored. The
best crop of every image counts, the best of these are taken. A class with fewer images than wanted
gives their second best crops, too, and so on, then all crops again: in rounds, each of which takes
at most one crop of an image, as RLDD does. Each tile of a mosaic is one. Where a class stores what
its images share, no crop has a form alone: it is scored as it is.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax.distillation.context import Context
from csdm_jax.distillation.features import chunks, each, outputs
from csdm_jax.distillation.starts.base import Start, of_every_class
from csdm_jax.distillation.starts.random import initial_rows
from csdm_jax.parameterisations import OfClasses
from csdm_jax.training.extractors import Pool

IMAGES, CROPS = 300, 5
"""Images of a class that are looked at, where not more are wanted, and crops of each."""
LEAST_AREA = 0.08
"""Share of an image that a crop has at least."""


def draw_boxes(count: int, generator: np.random.Generator) -> np.ndarray:
    """Random crops.

    Returns:
      float32 `[count, 3]`: side, top and left as shares of an image's. The area is uniform in
      [`LEAST_AREA`, 1], the place uniform in the image.
    """
    side = np.sqrt(generator.uniform(LEAST_AREA, 1.0, count))
    place = generator.uniform(size=(2, count)) * (1 - side)
    return np.stack([side, *place], axis=1).astype(np.float32)


@jax.jit
def crop(images: jax.Array, boxes: jax.Array) -> jax.Array:
    """Crops, enlarged bilinearly to the size of their images.

    Args:
      images: `[n, H, W, ch]` uint8.
      boxes: float32 `[n, 3]`, as `draw_boxes` gives them.

    Returns:
      float32 `[n, H, W, ch]` in [0, 1].
    """

    def one(image: jax.Array, box: jax.Array) -> jax.Array:
        side, corner = box[0], box[1:] * jnp.array(image.shape[:2])
        scale = jnp.full(2, 1 / side)
        return jax.image.scale_and_translate(
            image, image.shape, (0, 1), scale, -corner * scale, "linear"
        )

    return jnp.clip(jax.vmap(one)(images.astype(jnp.float32) / 255.0, boxes), 0.0, 1.0)


def order(scores: np.ndarray) -> np.ndarray:
    """Crops from the best to the worst: the best of every image first, then the second best.

    Args:
      scores: `[n, CROPS]`, low ones are good.

    Returns:
      int `[n * CROPS]`, positions in the flat scores; of equals the first.
    """
    ranks = np.argsort(np.argsort(scores, axis=1, kind="stable"), axis=1)
    return np.lexsort((scores.ravel(), ranks.ravel()))


def images(context: Context, wanted: int, key: jax.Array, pool: Pool) -> jax.Array:
    """The best crops of every class; see `Start`."""
    form = context.parameterisation
    row_key, box_key = jax.random.split(key)
    sizes = [min(count, max(IMAGES, wanted)) for count in context.counts]
    rows = np.repeat(initial_rows(context.counts, sizes, row_key), CROPS)
    boxes = draw_boxes(len(rows), np.random.default_rng(np.asarray(jax.random.key_data(box_key))))

    def crops(some: np.ndarray) -> jax.Array:
        return crop(context.host.take(rows[some]), boxes[some])

    def as_stored(some: np.ndarray) -> jax.Array:
        # A stored image holds `tiles` images: here the same crop in all of them.
        if isinstance(form, OfClasses):
            return crops(some)
        same = jnp.repeat(crops(some), form.tiles, axis=0)
        return form.decode(form.encode(same))[:: form.tiles]

    labels = context.host.labels[rows]
    scores = np.mean(
        [
            optax.softmax_cross_entropy_with_integer_labels(
                outputs(context, params, as_stored, len(rows))[0], labels
            )
            for params in each(pool.trained)
        ],
        axis=0,
    )
    best = of_every_class(
        tuple(CROPS * size for size in sizes),
        wanted,
        lambda label, own, count: order(scores[own].reshape(-1, CROPS))[:count],
    )
    return jnp.concatenate([crops(best[some]) for some in chunks(len(best))])[: len(best)]


START = Start(images, reads_pool=True)
