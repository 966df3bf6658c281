"""A class's real and synthetic images go through one augmentation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.problem import read, tiny_loop

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
    loop = tiny_loop(name=name, **SETTINGS | settings)
    state, _ = read(loop)
    shape = state.stored["images"].shape
    stored = np.repeat(colours / np.float32(255), shape[0] // len(colours), 0)[:, None, None]
    state = state._replace(stored={"images": jnp.broadcast_to(stored, shape)})
    step, found = jax.jit(loop.method.step), []
    for index in range(4):
        given = read(loop, index)[1]
        flat = jnp.asarray(COLOURS)[given.batch.ids][:, None, None]
        batch = given.batch.with_values(jnp.broadcast_to(flat, given.batch.values.shape))
        found.append(step(state, given._replace(batch=batch))[1].scalars["matching"])
    return np.array(found)


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
