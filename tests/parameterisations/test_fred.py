import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from csdm_jax import parameterisations
from csdm_jax.parameterisations import fred, real
from csdm_jax.parameterisations.fred import FreD
from tests.parameterisations.shared import COUNTS, Real, directional

SHAPE = (6, 8, 3)


def dct(images):
    return scipy.fft.dctn(images, axes=(1, 2), norm="ortho")


@pytest.fixture(scope="module")
def form():
    return FreD(2).fit(Real())


def test_cosines_are_the_orthonormal_dct_of_scipy():
    images = np.random.default_rng(0).normal(size=(2, *SHAPE))
    waves = np.einsum("uh,nhwc,vw->nuvc", fred.cosines(6), images, fred.cosines(8))
    np.testing.assert_allclose(waves, dct(images), atol=1e-12)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_mask_has_the_places_that_explain_most_variance(form, label):
    waves = dct(Real().of(label))
    mask = form.mask[label] > 0
    explained = [
        (sum(np.var(waves[:, u, v, k]) for k in range(3)), u, v)
        for u, v in np.ndindex(*SHAPE[:2])
    ]  # fmt: skip
    best = sorted(explained, reverse=True)[: 6 * 8 // 4]
    assert mask.sum() == 12 and all(mask[u, v] for _, u, v in best)


def test_classes_of_one_and_two_images_have_the_mask_of_all(form):
    waves = dct(Real().images / 255.0)
    order = np.argsort(-waves.var(axis=0).sum(axis=-1).ravel())[:12]
    expected = np.isin(np.arange(48), order).reshape(6, 8)
    assert COUNTS[3:] == (2, 1)
    for label in (3, 4):
        np.testing.assert_array_equal(form.mask[label] > 0, expected)
    assert not np.array_equal(form.mask[2] > 0, expected)


def test_images_that_never_vary_have_the_lowest_frequencies():
    flat = fred.mask_of(np.zeros((4, 4)), 6)
    np.testing.assert_array_equal(np.argwhere(flat).sum(axis=1) <= 2, True)


def test_many_images_are_looked_at_in_parts_and_give_the_same_mask(form, monkeypatch):
    monkeypatch.setattr(real, "CHUNK", 7)
    parts = [list(images) for images in real.by_class(Real())]
    assert [len(images) for images in parts] == [5, 2, 1, 1, 1]
    whole = np.concatenate([np.concatenate(images) for images in parts])
    np.testing.assert_array_equal(whole, Real().images / 255.0)
    np.testing.assert_array_equal(FreD(2).fit(Real()).mask, form.mask)


def test_decoding_what_was_encoded_projects_to_the_mask(form):
    images = 0.4 + 0.2 * Real().chosen(8)  # nothing is cut
    stored = form.encode(images)
    decoded = np.asarray(form.decode(stored), np.float64)
    waves = dct(images).reshape(len(COUNTS), 8, *SHAPE)
    dropped = waves * (1 - form.mask)[:, None, :, :, None]
    nearest = scipy.fft.idctn(
        waves * form.mask[:, None, :, :, None], axes=(2, 3), norm="ortho"
    ).reshape(images.shape)
    np.testing.assert_allclose(decoded, nearest, atol=3e-6)
    np.testing.assert_allclose(((decoded - images) ** 2).sum(), (dropped**2).sum(), rtol=1e-5)


def test_four_images_take_the_room_of_one(form):
    stored = form.encode(Real().chosen(8))
    assert {name: array.shape for name, array in stored.items()} == {
        "coefficients": (2 * len(COUNTS), 4, 12, 3),
        "mask": (len(COUNTS), 6, 8),
    }
    bits = len(COUNTS) * 48
    assert parameterisations.size(stored) == 4 * 2 * len(COUNTS) * 6 * 8 * 3 + bits // 8


def test_a_factor_that_divides_no_area_rounds_the_room_down():
    images = Real((7, 7, 1), (4, 4))
    stored = FreD(2).fit(images).encode(images.chosen(4))
    assert stored["coefficients"].shape == (2, 4, 12, 1)  # of 49 / 4
    with pytest.raises(ValueError, match="images are 7 x 7, with the factor 8 that is none"):
        FreD(8).check((7, 7, 1))
    FreD(7).check((7, 7, 1))


def test_some_classes_decode_as_all_do(form):
    stored = form.encode(Real().chosen(4))
    whole = np.asarray(form.decode(stored)).reshape(len(COUNTS), 4, *SHAPE)
    some = form.decode({name: array[jnp.array([3, 0])] for name, array in stored.items()})
    np.testing.assert_array_equal(some, whole[[3, 0]].reshape(-1, *SHAPE))


def test_the_gradient_of_decoding_is_that_of_central_differences(form):
    stored = form.encode(0.4 + 0.2 * Real().chosen(4))
    exact, differences = directional(form.decode, stored, "coefficients")
    np.testing.assert_allclose(exact, differences, rtol=1e-2)


def test_pixels_are_cut_and_a_mask_that_decays_is_whole_again(form):
    stored = form.encode(Real().chosen(4))
    far = stored | {"coefficients": 50 - 100 * stored["coefficients"], "mask": 0.9 * stored["mask"]}
    decoded = form.decode(form.project(far))
    assert decoded.min() == 0.0 and decoded.max() == 1.0
    np.testing.assert_array_equal(form.project(far)["mask"], stored["mask"])


def test_before_it_is_fitted_nothing_is_encoded():
    with pytest.raises(ValueError, match="fred has no mask yet: fit it to training images"):
        FreD(2).encode(jnp.zeros((4, 8, 8, 1)))
