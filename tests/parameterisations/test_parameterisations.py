import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax import parameterisations
from csdm_jax.parameterisations.mosaic import Mosaic


def bilinear(image, size):
    """Half-pixel-centre bilinear up-sampling (align_corners=False) in float64, by loops."""
    side = image.shape[0]
    out = np.zeros((size, size, image.shape[2]))
    for i in range(size):
        for j in range(size):
            y, x = ((p + 0.5) * side / size - 0.5 for p in (i, j))
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(y - y0 - dy)) * (1 - abs(x - x0 - dx))
                row, column = np.clip([y0 + dy, x0 + dx], 0, side - 1)
                out[i, j] += weight * image[row, column]
    return out


def test_mosaic_decodes_each_tile_bilinearly_in_row_order():
    stored = np.random.default_rng(0).uniform(size=(2, 8, 8, 3))
    decoded = Mosaic(2).decode({"images": jnp.asarray(stored, jnp.float32)})
    assert decoded.shape == (8, 8, 8, 3)
    for image in range(2):
        for tile in range(4):
            row, column = divmod(tile, 2)
            small = stored[image, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            np.testing.assert_allclose(decoded[4 * image + tile], bilinear(small, 8), atol=1e-5)


def test_encoding_then_decoding_keeps_smooth_images():
    ramp = jnp.linspace(0, 1, 16)[None, :, None, None] * jnp.ones((4, 1, 16, 3))
    images = ramp * jnp.array([1.0, 0.5, 0.25, 0.0])[:, None, None, None]
    form = Mosaic(2)
    stored = form.encode(images)
    assert stored["images"].shape == (1, 16, 16, 3)
    inner = np.s_[:, 4:-4, 4:-4]
    np.testing.assert_allclose(form.decode(stored)[inner], images[inner], atol=1e-5)


@pytest.mark.parametrize("name", ["pixels", "mosaic"])
def test_shapes_and_range(name):
    form = parameterisations.create(name, 2)
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(3 * form.tiles, 8, 8, 1)))
    stored = form.encode(images)
    assert all(len(leaf) % 3 == 0 for leaf in stored.values())  # class-major
    assert form.decode(stored).shape == images.shape
    assert stored["images"].shape == (3, 8, 8, 1)


@pytest.mark.parametrize("name", ["pixels", "mosaic"])
def test_what_leaves_its_range_is_brought_back_and_nothing_else_moves(name):
    form = parameterisations.create(name, 2)
    images = jnp.asarray([-0.5, 0.0, 0.25, 1.0, 1.5])[:, None, None, None] * jnp.ones((1, 8, 8, 1))
    kept = form.project({"images": images})["images"]
    np.testing.assert_array_equal(kept[:, 0, 0, 0], [0.0, 0.0, 0.25, 1.0, 1.0])


def test_pixels_are_stored_as_they_are():
    images = jnp.ones((2, 4, 4, 1))
    form = parameterisations.create("pixels", 1)
    np.testing.assert_array_equal(form.decode(form.encode(images)), images)
    assert form.tiles == 1


def test_sides_that_the_factor_does_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"multiples of its factor: images are 32 x 32.* 3"):
        Mosaic(3).check((32, 32, 3))
    Mosaic(4).check((32, 32, 3))


def test_an_unknown_parameterisation_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"unknown parameterisation 'mosaics'.*'mosaic'"):
        parameterisations.create("mosaics", 2)
