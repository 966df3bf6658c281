"""Gram matrices against scikit-learn, closed forms and central differences."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import gamma, kv
from sklearn.metrics import pairwise

import csdm_jax as cj

KERNELS = [
    cj.RBF(0.8),
    cj.Laplace(0.3),
    cj.IsotropicLaplace(0.7),
    cj.Matern(0.9, 0.5),
    cj.Matern(0.9, 1.5),
    cj.Matern(0.9, 2.5),
    cj.Linear(),
    cj.Polynomial(3, 0.5, 1.0),
    cj.Sigmoid(0.2, 0.1),
    cj.Cosine(),
]


def samples(n=6, m=4, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.3


def matern_reference(x, y, scale, nu):
    z = math.sqrt(2 * nu) * scale * pairwise.euclidean_distances(x, y)
    return 2 ** (1 - nu) / gamma(nu) * z**nu * kv(nu, z)


@pytest.mark.parametrize(
    ("kernel", "reference"),
    [
        (cj.RBF(0.8), lambda x, y: pairwise.rbf_kernel(x, y, gamma=0.8**2 / 2)),
        (cj.Laplace(0.3), lambda x, y: pairwise.laplacian_kernel(x, y, gamma=0.3)),
        (
            cj.IsotropicLaplace(0.7),
            lambda x, y: np.exp(-0.7 * pairwise.euclidean_distances(x, y)),
        ),
        (cj.Linear(), pairwise.linear_kernel),
        (
            cj.Polynomial(3, 0.5, 1.5),
            lambda x, y: pairwise.polynomial_kernel(x, y, degree=3, gamma=0.5, coef0=1.5),
        ),
        (
            cj.Sigmoid(0.2, 0.1),
            lambda x, y: pairwise.sigmoid_kernel(x, y, gamma=0.2, coef0=0.1),
        ),
        (cj.Cosine(), pairwise.cosine_similarity),
        *(
            (cj.Matern(0.9, nu), lambda x, y, nu=nu: matern_reference(x, y, 0.9, nu))
            for nu in (0.5, 1.5, 2.5, 4.5)
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, cj.Kernel) else "reference",
)
def test_gram_matrix_agrees_with_the_reference(kernel, reference):
    x, y = samples()
    gram = kernel(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    np.testing.assert_allclose(gram, reference(x, y), rtol=2e-5, atol=2e-6)


def test_isotropic_laplace_is_matern_one_half():
    x, y = map(jnp.asarray, samples())
    np.testing.assert_allclose(cj.IsotropicLaplace(1.3)(x, y), cj.Matern(1.3, 0.5)(x, y), rtol=1e-6)


def test_matern_tends_to_rbf():
    x, y = map(jnp.asarray, samples())
    np.testing.assert_allclose(cj.Matern(0.8, 20.5)(x, y), cj.RBF(0.8)(x, y), atol=2e-2)


def test_a_tiny_distance_between_long_vectors_is_not_lost():
    x = jnp.full((1, 8), 100.0)
    y = x.at[0, 0].add(2.0**-6)
    assert cj.IsotropicLaplace(1.0)(x, y).item() == pytest.approx(math.exp(-(2.0**-6)), rel=1e-6)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_gradient_agrees_with_central_differences(kernel):
    with jax.enable_x64(True):
        x, y = map(jnp.asarray, samples(3, 2, 4))
        check_grads(jax.jit(kernel), (x, y), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_gradient_is_finite_at_equal_and_zero_rows(kernel):
    x = jnp.array([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]])
    gradient = jax.jit(jax.grad(lambda x: kernel(x, x[:2]).sum()))(x)
    assert bool(jnp.isfinite(gradient).all())
    if isinstance(kernel, cj.RBF):
        assert float(jnp.abs(gradient).max()) > 0.01


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(kernel, dtype):
    x, y = (jnp.asarray(sample, dtype) for sample in samples())
    kernel = jax.jit(kernel)
    gram = kernel(x, y)
    assert gram.dtype == jnp.float32
    wide = kernel(x.astype(jnp.float32), y.astype(jnp.float32))
    np.testing.assert_allclose(gram, wide, rtol=1e-6, atol=1e-6)
    assert jax.grad(lambda x: kernel(x, y).sum())(x).dtype == dtype


def test_table_1():
    names = {type(k).__name__ for k in KERNELS if k.universal and k.shift_invariant}
    neither = {type(k).__name__ for k in KERNELS if not (k.universal or k.shift_invariant)}
    assert names == {"RBF", "Laplace", "IsotropicLaplace", "Matern"}
    assert neither == {"Linear", "Polynomial", "Sigmoid", "Cosine"}


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_kernels_are_frozen_and_static_arguments(kernel):
    x, y = map(jnp.asarray, samples())
    compiled = jax.jit(lambda kernel, x, y: kernel(x, y), static_argnums=0)
    np.testing.assert_allclose(compiled(kernel, x, y), kernel(x, y), rtol=1e-5, atol=1e-6)
    assert hash(kernel) == hash(dataclasses.replace(kernel))
    with pytest.raises(dataclasses.FrozenInstanceError):
        kernel.scale = 2.0


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bad_scale_is_refused(scale):
    for build in (cj.RBF, cj.Laplace, cj.IsotropicLaplace, lambda s: cj.Matern(s, 1.5)):
        with pytest.raises(ValueError, match=r"scale must be positive and finite, got"):
            build(scale)


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match=r"nu must be positive and finite, got 0"):
        cj.Matern(1.0, 0.0)
    for degree in (0, 1.5):
        with pytest.raises(ValueError, match=rf"degree must be an integer .* got {degree}"):
            cj.Polynomial(degree, 1.0, 1.0)
    for build in (lambda g: cj.Polynomial(2, g, 1.0), lambda g: cj.Sigmoid(g, 1.0)):
        with pytest.raises(ValueError, match=r"gamma must be positive and finite, got -1"):
            build(-1.0)
    for build in (lambda c: cj.Polynomial(2, 1.0, c), lambda c: cj.Sigmoid(1.0, c)):
        with pytest.raises(ValueError, match=r"coef0 must be finite, got nan"):
            build(float("nan"))


@pytest.mark.parametrize("nu", [0.3, 1.0])
def test_matern_gram_names_the_accepted_nu(nu):
    x, y = map(jnp.asarray, samples())
    with pytest.raises(ValueError, match=rf"nu = 1/2, 3/2, 5/2, ..., got nu={nu}"):
        cj.Matern(1.0, nu)(x, y)


@pytest.mark.parametrize(("left", "right"), [((2, 3), (2, 4)), ((3,), (3, 3)), ((2, 3), (1, 2, 3))])
def test_samples_that_do_not_fit_are_refused(left, right):
    with pytest.raises(ValueError, match=r"shapes \[n, d\] and \[m, d\], got"):
        cj.RBF(1.0)(jnp.ones(left), jnp.ones(right))


def test_unit_features_have_length_one_and_a_zero_row_stays_zero():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0], [1e30, 1e30], [1e-30, 0.0]])
    expected = [[0.6, 0.8], [0.0, 0.0], [math.sqrt(0.5)] * 2, [1.0, 0.0]]
    np.testing.assert_allclose(cj.unit_features(x), expected, rtol=1e-6)


def test_unit_features_gradient_of_a_zero_row_is_zero_beside_correct_ones():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    gradient = jax.jit(jax.grad(lambda x: cj.unit_features(x)[:, 0].sum()))(x)
    np.testing.assert_allclose(gradient, [[16 / 125, -12 / 125], [0.0, 0.0]], atol=1e-7)
    assert cj.unit_features(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
