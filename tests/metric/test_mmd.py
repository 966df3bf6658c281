"""MMD^2 against its definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import pairwise

import csdm_jax as cj

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(7, 4)), RNG.normal(size=(5, 4)) + 0.4
SAMPLES = jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32)


def test_both_estimators_agree_with_the_definition():
    def gram(a, b):
        return pairwise.rbf_kernel(a, b, gamma=0.32)

    off = [gram(a, a)[~np.eye(len(a), dtype=bool)].mean() for a in (X, Y)]
    whole = [gram(a, a).mean() for a in (X, Y)]
    for unbiased, within in ((False, whole), (True, off)):
        value = cj.mmd2(*SAMPLES, cj.RBF(0.8), unbiased=unbiased)
        assert (value.shape, value.dtype) == ((), jnp.float32)
        assert float(value) == pytest.approx(sum(within) - 2 * gram(X, Y).mean(), rel=1e-5)


def test_linear_kernel_compares_the_means():
    expected = np.sum((X.mean(axis=0) - Y.mean(axis=0)) ** 2)
    assert float(cj.mmd2(*SAMPLES, cj.Linear())) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kernel", [cj.Laplace(0.3), cj.Cosine()], ids=repr)
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_chunks_change_neither_value_nor_gradient(kernel, unbiased, chunk):
    def of(x, y, chunk):
        return cj.mmd2(x, y, kernel, unbiased=unbiased, sample_chunk=chunk)

    compiled = jax.jit(jax.value_and_grad(of, (0, 1)), static_argnums=2)
    (whole, gradients), (chunked, chunked_gradients) = (
        compiled(*SAMPLES, size) for size in (None, chunk)
    )
    np.testing.assert_allclose(chunked, whole, rtol=1e-5, atol=1e-6)
    for left, right in zip(chunked_gradients, gradients, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


def test_identical_samples_give_zero():
    for kernel in (cj.RBF(1.0), cj.Laplace(1.0), cj.Matern(1.0, 1.5)):
        assert abs(float(cj.mmd2(SAMPLES[0], SAMPLES[0], kernel))) < 1e-6


def test_refusals():
    x, y = SAMPLES
    with pytest.raises(ValueError, match=r"needs at least 2 rows, y has shape \(1, 4\): take more"):
        cj.mmd2(x, y[:1], cj.RBF(1.0), unbiased=True)
    with pytest.raises(ValueError, match=r"needs at least 1 rows, x has shape \(0, 4\)"):
        cj.mmd2(x[:0], y, cj.RBF(1.0))
    with pytest.raises(ValueError, match=r"take both from one network, one row per image"):
        cj.mmd2(x, y[:, :2], cj.RBF(1.0))
    with pytest.raises(ValueError, match=r"sample_chunk must be at least 1, got 0"):
        cj.mmd2(x, y, cj.RBF(1.0), sample_chunk=0)


@pytest.mark.parametrize("kernel", [cj.RBF(0.8), cj.Polynomial(2, 1.0, 1.0)], ids=repr)
@pytest.mark.parametrize("chunk", [None, 3])
def test_rows_of_weight_zero_count_nowhere_and_doubled_weights_as_two_rows(kernel, chunk):
    x, y = SAMPLES
    weights = jnp.array([1.0, 0.0, 2.0, 1.0, 0.0, 1.0, 1.0])
    repeated = x[np.array([0, 2, 2, 3, 5, 6])]
    found = cj.mmd2(x, y, kernel, x_weights=weights, sample_chunk=chunk)
    assert float(found) == pytest.approx(float(cj.mmd2(repeated, y, kernel)), rel=1e-5)


def test_the_unbiased_form_with_weights_leaves_out_each_row_with_itself():
    u, v = RNG.random(7), RNG.random(5)
    expected = -2 * u @ pairwise.rbf_kernel(X, Y, gamma=0.32) @ v / (u.sum() * v.sum())
    for rows, weights in ((X, u), (Y, v)):
        pairs = np.outer(weights, weights) * ~np.eye(len(rows), dtype=bool)
        expected += np.sum(pairs * pairwise.rbf_kernel(rows, gamma=0.32)) / pairs.sum()
    kernel = cj.RBF(0.8)
    found = cj.mmd2(*SAMPLES, kernel, x_weights=u, y_weights=9 * v, unbiased=True)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    ones = cj.mmd2(*SAMPLES, kernel, x_weights=np.ones(7), unbiased=True)
    assert float(ones) == pytest.approx(float(cj.mmd2(*SAMPLES, kernel, unbiased=True)), rel=1e-5)
    with pytest.raises(ValueError, match="needs two rows of y with a weight above 0, got 1"):
        cj.mmd2(*SAMPLES, kernel, y_weights=np.eye(5)[0], unbiased=True)


def test_weights_of_both_sides_agree_with_the_definition():
    u, v = RNG.random(7), RNG.random(5)
    found = cj.mmd2(*SAMPLES, cj.RBF(0.8), x_weights=u, y_weights=v)
    both, signed = np.concatenate([X, Y]), np.concatenate([u / u.sum(), -v / v.sum()])
    expected = signed @ pairwise.rbf_kernel(both, gamma=0.32) @ signed
    assert float(found) == pytest.approx(expected, rel=1e-5)


# What `sdd` and `mmd2` say and do about weights is the same.
DISTANCES = {
    "sdd": lambda x, y, **weights: cj.sdd(x, y, jnp.ones((3, 4)), **weights),
    "mmd2": lambda x, y, **weights: cj.mmd2(x, y, cj.RBF(0.8), **weights),
}


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("side", ["x", "y"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (0.0, "weights of a class are all zero"),
        (-1.0, "weights must be finite and non-negative"),
        (np.nan, "weights must be finite and non-negative"),
        (np.inf, "weights must be finite and non-negative"),
        ("short", r"weights have shape \(2,\)"),
    ],
)
def test_bad_weights_are_refused(name, side, bad, message):
    weights = np.ones(2) if bad == "short" else np.full({"x": 7, "y": 5}[side], bad)
    with pytest.raises(ValueError, match=f"{side} {message}"):
        DISTANCES[name](*SAMPLES, **{f"{side}_weights": weights})


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(3e38, "float32"), (1e-40, "float32"), (2e-38, "float32"), (6e4, "float16"), (1, "int32")],
)
def test_weights_of_any_scale(name, traced, scale, dtype):
    relative = np.array([1.0, 0.5, 0.0, 1.0, 0.25, 1.0, 0.5]) if dtype != "int32" else np.arange(7)
    weights = jnp.asarray((relative * scale).astype(dtype))
    of = lambda weights: DISTANCES[name](*SAMPLES, x_weights=weights)  # noqa: E731
    found = (jax.jit(of) if traced else of)(weights)
    expected = of(jnp.asarray(relative, jnp.float32))
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_classes_whose_weights_have_unlike_scales():
    x, y = (jnp.stack([sample, sample + 0.1]) for sample in SAMPLES)
    relative = np.array([[1.0, 0.5, 0, 1, 1, 1, 1]] * 2, np.float32)
    weights = jnp.asarray(relative * np.array([[3e38], [1e-40]], np.float32))
    found = jax.jit(lambda w: cj.sdd_loss(x, y, jnp.ones((3, 4)), real_weights=w))(weights)
    expected = cj.sdd_loss(x, y, jnp.ones((3, 4)), real_weights=relative)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_row_of_weight_zero_is_absent_even_if_it_holds_nan(name):
    x, y = SAMPLES
    weights = jnp.ones(7).at[2].set(0.0)

    def of(x):
        return DISTANCES[name](x, y, x_weights=weights)

    value, gradient = jax.jit(jax.value_and_grad(of))(x.at[2].set(jnp.nan))
    assert float(value) == pytest.approx(float(of(x)), rel=1e-6)
    assert not np.any(gradient[2]) and np.all(np.isfinite(gradient))


ALL_KERNELS = [
    cj.RBF(0.8),
    cj.Laplace(0.3),
    cj.Matern(0.9, 1.5),
    cj.Polynomial(3, 0.5, 1.0),
    cj.Cosine(),
]


@pytest.mark.parametrize("kernel", ALL_KERNELS, ids=repr)
@pytest.mark.parametrize(("n", "m"), [(600, 600), (900, 300)])
def test_memory_is_that_of_gram_matrices_not_of_all_differences(kernel, n, m):
    """All differences would be 128 Gram matrices."""
    x, y = (jax.ShapeDtypeStruct((rows, 128), jnp.float32) for rows in (n, m))
    gradient = jax.jit(jax.value_and_grad(lambda x, y: cj.mmd2(x, y, kernel), (0, 1)))
    temporary = gradient.lower(x, y).compile().memory_analysis().temp_size_in_bytes
    assert temporary < 16 * 4 * n * max(n, m)
    chunked = jax.jit(
        jax.value_and_grad(lambda x, y: cj.mmd2(x, y, kernel, sample_chunk=50), (0, 1))
    )
    temporary = chunked.lower(x, y).compile().memory_analysis().temp_size_in_bytes
    assert temporary < 12 * 4 * 50 * max(n, m) + 10 * 4 * 128 * max(n, m) + 4 * 2**20


@pytest.mark.parametrize("kernel", [cj.RBF(0.3), cj.Laplace(0.1)], ids=repr)
def test_many_tiles_change_neither_value_nor_gradient(kernel, monkeypatch):
    rng = np.random.default_rng(1)
    x, y = (jnp.asarray(rng.normal(size=(n, 16)), jnp.float32) for n in (23, 10))
    whole = jax.value_and_grad(lambda x, y: cj.mmd2(x, y, kernel), (0, 1))(x, y)
    jax.clear_caches()
    monkeypatch.setattr("csdm_jax.metric.kernels.DIFFERENCES", 5 * 10 * 16)
    tiled = jax.value_and_grad(lambda x, y: cj.mmd2(x, y, kernel), (0, 1))(x, y)
    jax.clear_caches()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), tiled, whole)


@pytest.mark.parametrize("kernel", [cj.Laplace(1.0), cj.IsotropicLaplace(1.0)], ids=repr)
def test_the_gradient_at_a_coinciding_sample_is_exactly_zero(kernel):
    """On the point itself a kernel with a peak pulls nowhere; rows far away add nothing either."""
    far = 200.0 * jnp.eye(4)
    ours, theirs = jax.jit(jax.grad(lambda x, y: kernel(x, y).sum(), (0, 1)))(far, far)
    assert not np.any(ours) and not np.any(theirs)
    x, y = jax.jit(jax.grad(lambda x, y: cj.mmd2(x, y, kernel), (0, 1)))(SAMPLES[0], SAMPLES[0])
    np.testing.assert_allclose(np.stack([x, y]), 0.0, atol=1e-8)


def test_a_kernel_class_or_no_kernel_is_refused_by_name():
    with pytest.raises(ValueError, match=r"kernel is the class RBF.*pass RBF\(scale=...\)"):
        cj.mmd2(*SAMPLES, cj.RBF)
    with pytest.raises(ValueError, match=r"the class Matern.*pass Matern\(scale=..., nu=...\)"):
        cj.sample_frequencies(jax.random.key(0), cj.Matern, 8, 2)
    with pytest.raises(ValueError, match=r"kernel must be a kernel or a function, got 'rbf'"):
        cj.mmd2(*SAMPLES, "rbf")
    plain = cj.mmd2(*SAMPLES, lambda x, y: x @ y.T)
    assert float(plain) == pytest.approx(float(cj.mmd2(*SAMPLES, cj.Linear())), rel=1e-5)


def test_energy_distance():
    """SciPy's in one dimension; closed forms of points and of two Gaussian laws in more."""
    x, y = RNG.normal(size=40), RNG.normal(size=30) * 1.5 + 0.3
    found = cj.mmd2(*(jnp.asarray(a[:, None], jnp.float32) for a in (x, y)), cj.Energy())
    assert float(found) == pytest.approx(stats.energy_distance(x, y) ** 2, rel=1e-4)
    point = cj.mmd2(jnp.zeros((3, 2)), jnp.tile(jnp.array([[3.0, 4.0]]), (2, 1)), cj.Energy())
    assert float(point) == pytest.approx(10.0, rel=1e-6)
    x, y = (np.random.default_rng(5 + i).normal(size=(1500, 3)) * s for i, s in enumerate((1, 2)))

    def norm(variance):  # E|z| of N(0, variance I) in three dimensions
        return 2 * np.sqrt(2 * variance / np.pi)

    expected = 2 * norm(5) - norm(2) - norm(8)
    found = cj.mmd2(jnp.asarray(x), jnp.asarray(y), cj.Energy(), unbiased=True)
    assert float(found) == pytest.approx(expected, rel=0.08)
    gradient = jax.grad(lambda x: cj.mmd2(x, x, cj.Energy()))(SAMPLES[0])
    np.testing.assert_allclose(gradient, 0.0, atol=1e-7)


def test_a_mixture_is_the_mean_of_its_kernels():
    kernels = (cj.RBF(0.8), cj.Laplace(0.3), cj.Polynomial(2, 1.0, 1.0))
    both = cj.Mixture(kernels[:2])
    values = [float(cj.mmd2(*SAMPLES, kernel)) for kernel in kernels]
    assert float(cj.mmd2(*SAMPLES, both)) == pytest.approx(sum(values[:2]) / 2, rel=1e-5)
    exact = cj.sdd_loss(*SAMPLES, None, estimator="exact", kernel=both)
    assert float(exact) == pytest.approx(sum(values[:2]) / 4, rel=1e-5)
    assert float(cj.mmd2(*SAMPLES, cj.Mixture(kernels))) == pytest.approx(sum(values) / 3, rel=1e-5)
    assert both.shift_invariant and not cj.Mixture(kernels).shift_invariant
    with pytest.raises(ValueError, match=r"Mixture takes a tuple of kernels, got \(\)"):
        cj.Mixture(())
    with pytest.raises(ValueError, match="is not shift-invariant, so it has no spectral measure"):
        cj.sample_frequencies(jax.random.key(0), cj.Mixture(kernels), 4, 2)
