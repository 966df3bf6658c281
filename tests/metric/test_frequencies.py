"""Spectral samplers against the Gram matrices of their kernels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import csdm_jax as cj
from csdm_jax.metric.kernels import SpectralKernel

ISOTROPIC = [
    cj.RBF(1.0),
    cj.IsotropicLaplace(1.0),
    cj.Matern(1.0, 0.5),
    cj.Matern(1.0, 1.5),
    cj.Matern(1.0, 2.5),
]
CASES = [
    (kernel, method)
    for kernel in [*ISOTROPIC, cj.Laplace(0.4)]
    for method in ("iid", "qmc", "orthogonal")
    if (kernel, method) != (cj.Laplace(0.4), "orthogonal")
]
MIXED = cj.Mixture((cj.RBF(1.0), cj.Laplace(0.4), cj.Matern(0.3, 1.5)))
CASES += [(MIXED, "iid"), (MIXED, "qmc")]
UNLIKE = (cj.RBF(1.0), cj.Matern(1.0, 1.5), cj.Laplace(0.4))
SAMPLE = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)) * 0.6, jnp.float32)


@jax.jit
def gram_estimate(frequencies):
    phase = SAMPLE @ frequencies.T
    return jnp.mean(jnp.cos(phase[:, None, :] - phase[None, :, :]), axis=-1)


@pytest.mark.parametrize(("kernel", "method"), CASES, ids=repr)
def test_frequencies_reproduce_the_gram_matrix(kernel, method):
    frequencies = cj.sample_frequencies(jax.random.key(1), kernel, 20000, 5, method=method)
    assert frequencies.shape == (20000, 5)
    assert frequencies.dtype == jnp.float32
    assert bool(jnp.isfinite(frequencies).all())
    # iid: a standard error of at most 0.005 per entry.
    np.testing.assert_allclose(gram_estimate(frequencies), kernel(SAMPLE, SAMPLE), atol=0.02)


@pytest.mark.parametrize(
    ("kernel", "method"), [case for case in CASES if case[0] in UNLIKE], ids=repr
)
def test_few_frequencies_are_unbiased(kernel, method):
    """The mean over keys of estimates from 8 frequencies: no bias hides behind a large T."""
    keys = jax.random.split(jax.random.key(2), 2500)
    draws = jax.vmap(lambda key: cj.sample_frequencies(key, kernel, 8, 5, method=method))(keys)
    estimate = gram_estimate(draws.reshape(-1, 5))
    np.testing.assert_allclose(estimate, kernel(SAMPLE, SAMPLE), atol=0.025)


@pytest.mark.parametrize("method", ["iid", "qmc", "orthogonal"])
@pytest.mark.parametrize(
    ("kernel", "marginal"),
    [
        (cj.RBF(1.7), stats.norm(scale=1.7)),
        (cj.Matern(1.7, 1.5), stats.t(df=3, scale=1.7)),
        (cj.Matern(1.7, 0.3), stats.t(df=0.6, scale=1.7)),
        (cj.IsotropicLaplace(1.7), stats.cauchy(scale=1.7)),
        (cj.Laplace(1.7), stats.cauchy(scale=1.7)),
    ],
    ids=["RBF", "Matern 1.5", "Matern 0.3", "IsotropicLaplace", "Laplace"],
)
def test_a_coordinate_follows_its_marginal_law(kernel, marginal, method):
    if isinstance(kernel, cj.Laplace) and method == "orthogonal":
        pytest.skip("the Laplace kernel is not isotropic")
    rows = cj.sample_frequencies(jax.random.key(3), kernel, 4096, 4, method=method)
    distance = stats.kstest(np.asarray(rows[:, 1], np.float64), marginal.cdf).statistic
    assert distance < 1.95 / np.sqrt(4096)  # the iid test's level 0.001


def test_orthogonal_rows_are_orthogonal_within_a_block_and_chi_in_length():
    rows = cj.sample_frequencies(jax.random.key(4), cj.RBF(1.0), 512, 16, method="orthogonal")
    lengths = jnp.linalg.norm(rows, axis=1)
    first = rows[:16] / lengths[:16, None]
    np.testing.assert_allclose(first @ first.T, np.eye(16), atol=1e-5)
    assert stats.kstest(np.asarray(lengths, np.float64), stats.chi(16).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("num", "dim"), [(3, 8), (17, 8), (1, 1)])
@pytest.mark.parametrize("method", ["iid", "qmc", "orthogonal"])
def test_any_number_and_dimension(num, dim, method):
    rows = cj.sample_frequencies(jax.random.key(0), cj.RBF(1.0), num, dim, method=method)
    assert rows.shape == (num, dim)
    assert len(np.unique(np.asarray(rows)[:, 0])) == num


@pytest.mark.parametrize("method", ["iid", "qmc", "orthogonal"])
def test_draws_depend_on_the_key_alone_and_jit_agrees(method):
    def draw(seed):
        return cj.sample_frequencies(seed, cj.Matern(1.0, 1.5), 16, 4, method=method)

    first, again, other = (draw(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert float(jnp.abs(first - other).min()) > 0
    for changed in (jax.jit(draw), lambda key: jax.vmap(draw)(key[None])[0]):
        np.testing.assert_allclose(changed(jax.random.key(0)), first, rtol=1e-4, atol=1e-5)


def test_the_scale_multiplies_the_frequencies():
    for build in (cj.RBF, cj.Laplace, cj.IsotropicLaplace, lambda s: cj.Matern(s, 2.5)):
        one, three = (
            cj.sample_frequencies(jax.random.key(0), build(scale), 16, 4) for scale in (1.0, 3.0)
        )
        np.testing.assert_allclose(three, 3 * one, rtol=1e-5)


def test_qmc_in_the_dimension_of_a_network_keeps_the_law():
    rows = np.asarray(
        cj.sample_frequencies(jax.random.key(5), cj.RBF(1.0), 1024, 2048, method="qmc"), np.float64
    )
    # Single coordinates may be poor (a root near a simple fraction); as a whole they are not.
    assert np.sqrt(np.mean(rows.mean(axis=0) ** 2)) < 0.01  # iid: 0.031
    assert np.sqrt(np.mean((rows.std(axis=0) - 1) ** 2)) < 0.01  # iid: 0.022


@functools.cache
def root_mean_square_error(method, dim, num, seeds):
    rng = np.random.default_rng(7)
    x = cj.unit_features(jnp.asarray(np.abs(rng.normal(size=(40, dim))), jnp.float32))
    y = cj.unit_features(jnp.asarray(np.abs(rng.normal(size=(10, dim)) + 0.5), jnp.float32))
    exact = cj.mmd2(x, y, cj.RBF(2.0))
    keys = jax.random.split(jax.random.key(6), seeds)
    estimate = jax.jit(
        jax.vmap(
            lambda key: cj.sdd(
                x, y, cj.sample_frequencies(key, cj.RBF(2.0), num, dim, method=method)
            )
        )
    )
    return float(jnp.sqrt(jnp.mean(jnp.square(estimate(keys) / exact - 1))))


# The ratios themselves are in benchmarks/README.md; at 64 seeds each is known to about 13 %.
@pytest.mark.parametrize(
    ("method", "dim", "low", "high"),
    [
        ("qmc", 2, 0.005, 0.3),
        ("qmc", 64, 0.5, 1.5),
        ("orthogonal", 2, 0.5, 1.1),
        ("orthogonal", 64, 0.5, 1.1),
    ],
)
def test_error_relative_to_iid(method, dim, low, high):
    ratio = root_mean_square_error(method, dim, 256, 64) / root_mean_square_error(
        "iid", dim, 256, 64
    )
    print(f"{method}, dim {dim}: error {ratio:.3f} of iid's")
    assert low < ratio < high


@pytest.mark.parametrize(
    "kernel",
    [cj.Linear(), cj.Polynomial(2, 1.0, 1.0), cj.Sigmoid(1.0, 0.0), cj.Cosine()],
    ids=repr,
)
def test_a_kernel_without_a_spectral_measure_is_refused(kernel):
    assert not isinstance(kernel, SpectralKernel)
    with pytest.raises(ValueError, match=r"not shift-invariant.*use mmd2"):
        cj.sample_frequencies(jax.random.key(0), kernel, 8, 2)


def test_bad_requests_are_refused():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"'orthogonal' needs an isotropic kernel, got Laplace"):
        cj.sample_frequencies(key, cj.Laplace(1.0), 8, 2, method="orthogonal")
    with pytest.raises(ValueError, match=r"'sobol'.*iid.*orthogonal.*qmc"):
        cj.sample_frequencies(key, cj.RBF(1.0), 8, 2, method="sobol")
    with pytest.raises(ValueError, match=r"num must be at least 1, got 0"):
        cj.sample_frequencies(key, cj.RBF(1.0), 0, 2)
    with pytest.raises(ValueError, match=r"dim must be at least 1, got 0"):
        cj.sample_frequencies(key, cj.RBF(1.0), 8, 0)


class Normals:
    """A distribution as NumPyro has them, of one number or of a vector."""

    def __init__(self, *event_shape):
        self.event_shape = event_shape

    def sample(self, key, sample_shape):
        return jax.random.normal(key, (*sample_shape, *self.event_shape))


@pytest.mark.parametrize("distribution", [Normals(), Normals(5)], ids=["scalars", "vectors"])
def test_a_distribution_of_another_library_is_drawn_from(distribution):
    t = cj.sample_frequencies(jax.random.key(1), distribution, 20000, 5)
    assert (t.shape, t.dtype) == ((20000, 5), jnp.float32)
    np.testing.assert_allclose(gram_estimate(t), cj.RBF(1.0)(SAMPLE, SAMPLE), atol=0.02)
    with pytest.raises(ValueError, match="method 'qmc' needs a spectral measure that takes unif"):
        cj.sample_frequencies(jax.random.key(1), distribution, 8, 5, method="qmc")
    with pytest.raises(ValueError, match=r"Normals drew frequencies of shape \(8, 3\), expected"):
        cj.sample_frequencies(jax.random.key(1), Normals(3), 8, 5)


def test_any_object_with_a_spectral_measure_is_drawn_from():
    class Cauchys:
        def coordinates(self, dim):
            return dim

        def frequencies(self, uniforms):
            return 0.4 * jnp.tan(jnp.pi * (uniforms - 0.5))

    t = cj.sample_frequencies(jax.random.key(1), Cauchys(), 20000, 5, method="qmc")
    np.testing.assert_allclose(gram_estimate(t), cj.Laplace(0.4)(SAMPLE, SAMPLE), atol=0.02)


@pytest.mark.parametrize("name", ["RBF", "Matern32"])
def test_kernels_of_gpjax_plug_in(name):
    """Its spectral densities as frequencies, its covariances as kernels."""
    gpjax = pytest.importorskip("gpjax", reason="GPJax is not installed: pip install gpjax")
    kernel = getattr(gpjax.kernels, name)(lengthscale=0.8, n_dims=5)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        t = cj.sample_frequencies(jax.random.key(1), kernel.spectral_density, 20000, 5)
        found = cj.mmd2(SAMPLE[:4], SAMPLE[4:], kernel.cross_covariance)
    ours = {"RBF": cj.RBF(1 / 0.8), "Matern32": cj.Matern(1 / 0.8, 1.5)}[name]
    np.testing.assert_allclose(gram_estimate(t), ours(SAMPLE, SAMPLE), atol=0.02)
    expected = cj.mmd2(SAMPLE[:4], SAMPLE[4:], ours)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
