"""A class's real and synthetic images go through one augmentation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.problem import tiny_method

COLOURS = np.array([[200, 90, 40], [60, 180, 70], [30, 100, 220]], np.uint8)
SETTINGS = {"augmentation": "color_crop_cutout", "batch": 1000}


def discrepancies(name, colours, **settings):
    """The matching loss of several steps, all images of a class being flat and of one colour.

    A flat image has the same features however many there are of it, and is stored as it is.

    Args:
      name: of the method.
      colours: of the synthetic images, uint8 `[3, 3]`.
      **settings: fields of `config.distill`.
    """
    method = tiny_method(name=name, **SETTINGS | settings)
    state, (data, pool) = method.init(jax.random.key(0)), method.constants
    real = np.broadcast_to(COLOURS[data.labels][:, None, None], data.images.shape)
    per_class = len(state.images) // len(colours)
    stored = np.repeat(colours / np.float32(255), per_class, 0)[:, None, None]
    state = state._replace(images=jnp.broadcast_to(stored, state.images.shape))
    constants = dataclasses.replace(data, images=jnp.asarray(real)), pool
    step = jax.jit(method.step)
    return np.array([step(state, constants, np.int32(i))[1]["matching"] for i in range(4)])


@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, {}) for name in ("csdm", "csdm_single", "dm", "mmd", "ncfm")]
    + [("csdm", {"classes_per_step": 2}), ("csdm", {"augmentation_mode": "one"})],
)
def test_both_sides_of_a_class_share_one_augmentation(name, settings):
    """Equal images stay equal under equal augmentations, and under no others."""
    equal = discrepancies(name, COLOURS, **settings)
    changed = discrepancies(name, COLOURS // 2, **settings)
    np.testing.assert_allclose(equal, 0, atol=1e-5 * changed.min())
