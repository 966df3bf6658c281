import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax import parameterisations
from csdm_jax.parameterisations.nsd import NSD
from tests.parameterisations.shared import COUNTS, Real, directional

SHAPE = (6, 8, 3)
IPC = 9


@pytest.fixture(scope="module")
def form():
    return NSD(2).fit(Real())


def test_decoding_pairs_every_tensor_of_a_class_with_every_kernel():
    generator = np.random.default_rng(0)
    tensors = generator.uniform(0, 6, size=(2 * 3, 2, 2, 3))
    left, right = generator.uniform(size=(2, 4, 6, 2)), generator.uniform(size=(2, 4, 2, 8))
    stored = {"tensors": tensors, "left": left, "right": right}
    decoded = NSD(2).decode({name: jnp.asarray(array) for name, array in stored.items()})
    expected = []
    for label in range(2):
        for i in range(3):
            for j in range(4):
                each = [
                    left[label, j] @ tensors[3 * label + i, :, :, k] @ right[label, j]
                    for k in range(3)
                ]
                expected.append(np.stack(each, axis=-1) / np.sqrt(48))
    np.testing.assert_allclose(decoded, np.clip(expected, 0, 1), atol=1e-6)
    assert 0 < np.mean(np.array(expected) > 1) < 0.5  # some are cut


@pytest.mark.parametrize("ipc", [1, 2, 9, 50])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_the_rank_is_the_largest_multiple_whose_numbers_are_no_more_than_those_of_images(
    ipc, factor
):
    def numbers(rank):
        return ipc * rank * rank * 3 + factor**2 * rank * (32 + 24)

    ranks = range(0, 25, factor)
    expected = max(rank for rank in ranks if numbers(rank) <= ipc * 32 * 24 * 3)
    assert NSD(factor).rank((32, 24, 3), ipc) == expected


def test_what_is_stored_is_counted(form):
    rank = form.rank(SHAPE, IPC)
    stored = form.encode(Real().chosen(4 * IPC))
    numbers = IPC * 3 * rank**2 + 4 * rank * (6 + 8)
    assert rank == 4
    assert parameterisations.size(stored) == 4 * len(COUNTS) * numbers
    assert numbers <= IPC * 6 * 8 * 3
    assert form.decode(stored).shape == (len(COUNTS) * 4 * IPC, *SHAPE)


def test_the_first_images_have_the_leading_directions_of_their_class(form):
    images = 0.4 + 0.2 * Real().chosen(4 * IPC)  # nothing is cut
    decoded = np.asarray(form.decode(form.encode(images)), np.float64)
    each = images.reshape(len(COUNTS), -1, *SHAPE)
    expected, dropped = [], 0.0
    for label in range(len(COUNTS)):
        own = Real().of(label)
        rows = own.transpose(1, 0, 2, 3).reshape(6, -1)
        columns = own.transpose(2, 0, 1, 3).reshape(8, -1)
        u, v = (np.linalg.svd(one)[0][:, :2] for one in (rows, columns))
        for image in each[label]:
            kept = np.stack([u @ u.T @ image[..., k] @ v @ v.T for k in range(3)], axis=-1)
            expected.append(kept)
            dropped += (image**2).sum() - (kept**2).sum()
    np.testing.assert_allclose(decoded, expected, atol=2e-6)
    np.testing.assert_allclose(((decoded - images) ** 2).sum(), dropped, rtol=1e-4)


def test_some_classes_decode_as_all_do(form):
    stored = form.encode(Real().chosen(4 * IPC))
    whole = np.asarray(form.decode(stored)).reshape(len(COUNTS), 4 * IPC, *SHAPE)
    some = {
        name: array.reshape(len(COUNTS), -1, *array.shape[1:]) for name, array in stored.items()
    }
    some = {
        name: array[jnp.array([3, 0])].reshape(-1, *array.shape[2:]) for name, array in some.items()
    }
    np.testing.assert_allclose(form.decode(some), whole[[3, 0]].reshape(-1, *SHAPE), atol=1e-6)


@pytest.mark.parametrize("name", ["tensors", "left", "right"])
def test_the_gradient_of_decoding_is_that_of_central_differences(form, name):
    stored = form.encode(0.4 + 0.2 * Real().chosen(4 * IPC))
    exact, differences = directional(form.decode, stored, name)
    np.testing.assert_allclose(exact, differences, rtol=1e-2)


def test_too_few_images_for_the_kernels_are_refused():
    with pytest.raises(ValueError, match="no room for a rank of its factor 4: 16 kernels of 8 "):
        NSD(4).check_ipc((8, 8, 1), 1)
    NSD(2).check_ipc((8, 8, 1), 4)


def test_before_it_is_fitted_nothing_is_encoded():
    with pytest.raises(ValueError, match="nsd has no bases yet: fit it to training images"):
        NSD(2).encode(np.zeros((4, 8, 8, 1)))
