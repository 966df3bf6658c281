"""That shapes are checked in the tests, and what is declared stands."""

import jax.numpy as jnp
import pytest
from jaxtyping import Float

import csdm_jax
from csdm_jax import augment, metric
from csdm_jax.data import device
from tests import shapes


def halves(x, y):
    return x[: len(x) // 2]


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        pytest.param("n d", r"halves: the result is float32\[2, 3\], declared", id="result"),
        pytest.param("half e", None, id="as-declared"),
    ],
)
def test_a_shape_that_is_not_as_declared_is_named(gives, message):
    takes = {"x": Float[shapes.Array, "n d"], "y": Float[shapes.Array, "n"]}
    call = shapes.checked("halves", halves, takes, Float[shapes.Array, gives])
    if message is None:
        assert call(jnp.ones((4, 3)), y=jnp.ones(4)).shape == (2, 3)
    else:
        with pytest.raises(TypeError, match=message):
            call(jnp.ones((4, 3)), jnp.ones(4))


def test_a_dimension_of_one_name_has_one_size():
    takes = {"x": Float[shapes.Array, "n d"], "y": Float[shapes.Array, "n"]}
    call = shapes.checked("halves", halves, takes, Float[shapes.Array, "half d"])
    with pytest.raises(TypeError, match=r"halves: y is float32\[5\], declared"):
        call(jnp.ones((4, 3)), jnp.ones(5))


def test_the_tests_call_checked_functions():
    for function in (
        csdm_jax.sdd,
        metric.sdd_loss,
        metric.distances.cfd_loss,
        augment.cutmix,
        device.epoch_batches,
    ):
        assert function.__code__ is shapes.checked("", halves, {}, None).__code__
