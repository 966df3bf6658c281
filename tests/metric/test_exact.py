"""SDD from Gram matrices, the amplitude alone from frequencies: what `estimator="exact"` does."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance
from sklearn.metrics import pairwise

import csdm_jax as cj
from csdm_jax.metric.ragged import Ragged

D, T = 5, 11


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


REAL, SYNTHETIC, FREQUENCIES = draw(14, D), draw(9, D, seed=1) * 0.8 + 0.3, draw(T, D)
SIZES = {"real_sizes": (7, 2, 5), "synthetic_sizes": (4, 3, 2)}
ALPHAS = np.array([0.2, 0.5, 0.9])

GRAMS = {
    cj.RBF(0.8): lambda x, y: pairwise.rbf_kernel(x, y, gamma=0.32),
    cj.Laplace(0.3): lambda x, y: pairwise.laplacian_kernel(x, y, gamma=0.3),
    cj.IsotropicLaplace(0.5): lambda x, y: np.exp(-0.5 * distance.cdist(x, y)),
    cj.Matern(0.7, 1.5): lambda x, y: (
        (1 + 3**0.5 * 0.7 * distance.cdist(x, y)) * np.exp(-(3**0.5) * 0.7 * distance.cdist(x, y))
    ),
}
KERNELS = pytest.mark.parametrize("kernel", GRAMS, ids=repr)
TWO_KERNELS = pytest.mark.parametrize("kernel", [cj.RBF(0.8), cj.IsotropicLaplace(0.5)], ids=repr)
"""One of matrix products, one of differences."""


def reference(x, y, kernel, t, alpha, u=None, v=None):
    """One class in float64: the quadratic form of signed weights, amplitude by moduli."""
    u, v = (np.ones(len(a)) if w is None else w for a, w in ((x, u), (y, v)))
    signed = np.concatenate([u / u.sum(), -v / v.sum()])
    both = np.concatenate([x, y])
    square = signed @ GRAMS[kernel](both, both) @ signed
    moduli = [np.abs(np.average(np.exp(1j * a @ t.T), axis=0, weights=w)) for a, w in
              ((x, u), (y, v))]  # fmt: skip
    amplitude = np.mean((moduli[0] - moduli[1]) ** 2)
    return square, amplitude, alpha * amplitude + (1 - alpha) * (square - amplitude)


def by_class(rows, sizes):
    return np.split(rows, np.cumsum(sizes)[:-1])


def single(*arrays):
    return tuple(None if a is None else jnp.asarray(a, jnp.float32) for a in arrays)


def exact(real, synthetic, t, kernel=cj.RBF(0.8), **options):  # noqa: B008
    return cj.sdd_parts(real, synthetic, t, estimator="exact", kernel=kernel, **options)


@KERNELS
@pytest.mark.parametrize("chunk", [None, 3])
def test_value_and_parts_of_ragged_classes_agree_with_the_float64_reference(kernel, chunk):
    u, v = (np.random.default_rng(3).uniform(0.1, 2, n) for n in (14, 9))
    expected = np.array([
        reference(x, y, kernel, FREQUENCIES, a, p, q)
        for x, p, y, q, a in zip(
            by_class(REAL, SIZES["real_sizes"]), by_class(u, SIZES["real_sizes"]),
            by_class(SYNTHETIC, SIZES["synthetic_sizes"]), by_class(v, SIZES["synthetic_sizes"]),
            ALPHAS, strict=True,
        )
    ])  # fmt: skip
    r, s, t, a, p, q = single(REAL, SYNTHETIC, FREQUENCIES, ALPHAS, u, v)
    loss, parts = exact(
        r, s, t, kernel, alpha=a, real_weights=p, synthetic_weights=q, sample_chunk=chunk, **SIZES
    )
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    np.testing.assert_allclose(parts["amplitude"], expected[:, 1], rtol=1e-4, atol=1e-7)
    phase = expected[:, 0] - expected[:, 1]
    np.testing.assert_allclose(parts["phase"], phase, rtol=1e-4, atol=1e-6)
    assert float(loss) == pytest.approx(expected[:, 2].sum(), rel=1e-5)


def test_all_forms_of_classes_are_the_same():
    r, s, t, a = single(draw(3, 6, D), draw(3, 4, D) + 0.2, FREQUENCIES, ALPHAS)
    loss, parts = exact(r, s, t, alpha=a)
    one = [exact(r[c], s[c], t, alpha=a[c]) for c in range(3)]
    assert one[0][1]["phase"].shape == () and parts["phase"].shape == (3,)
    assert float(loss) == pytest.approx(sum(float(value) for value, _ in one), rel=1e-5)
    flat = Ragged(r.reshape(-1, D), (6,) * 3), Ragged(s.reshape(-1, D), (4,) * 3)
    np.testing.assert_allclose(exact(*flat, t, alpha=a)[0], loss, rtol=1e-6)


EDGES = {
    "one row": {"real": REAL[:1], "synthetic": SYNTHETIC[:1]},
    "duplicate rows": {"real": REAL[[0, 0, 1]], "synthetic": SYNTHETIC[[2, 2]]},
    "rows on both sides": {"real": REAL[:3], "synthetic": REAL[[1, 2]]},
    "weights zero": {
        "real": REAL[:4], "synthetic": SYNTHETIC[:3],
        "real_weights": np.array([1.0, 0.0, 2.0, 0.0]),
        "synthetic_weights": np.array([0.0, 1.0, 1.0]),
    },
    "alpha 0": {"real": REAL[:4], "synthetic": SYNTHETIC[:3], "alpha": 0.0},
    "alpha 1/2": {"real": REAL[:4], "synthetic": SYNTHETIC[:3], "alpha": 0.5},
    "alpha 1": {"real": REAL[:4], "synthetic": SYNTHETIC[:3], "alpha": 1.0},
    "ragged, alphas mixed": {"real": REAL, "synthetic": SYNTHETIC, "alpha": ALPHAS, **SIZES},
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
@TWO_KERNELS
def test_edges_agree_with_float64_in_value_and_in_central_differences(kernel, name):
    """The reference takes alpha 0 and 1; the loss refuses them unless they are traced."""
    edge = {"alpha": 0.3} | EDGES[name]
    real, synthetic, alpha = (edge.pop(field) for field in ("real", "synthetic", "alpha"))
    u, v = edge.get("real_weights"), edge.get("synthetic_weights")
    sizes = [edge.get(f"{side}_sizes") for side in ("real", "synthetic")]

    def value(synthetic):
        if sizes[0] is None:
            return reference(real, synthetic, kernel, FREQUENCIES, alpha, u, v)[2]
        pairs = zip(by_class(real, sizes[0]), by_class(synthetic, sizes[1]), alpha, strict=True)
        return sum(reference(x, y, kernel, FREQUENCIES, a)[2] for x, y, a in pairs)

    r, s, t = single(real, synthetic, FREQUENCIES)
    of = jax.jit(jax.value_and_grad(lambda s, a: exact(r, s, t, kernel, alpha=a, **edge)[0]))
    found, gradient = of(s, jnp.asarray(alpha, jnp.float32))
    assert float(found) == pytest.approx(value(synthetic), rel=2e-5, abs=3e-7)
    steps = 1e-6 * np.eye(synthetic.size).reshape(-1, *synthetic.shape)
    slopes = [(value(synthetic + h) - value(synthetic - h)) / 2e-6 for h in steps]
    np.testing.assert_allclose(gradient, np.reshape(slopes, gradient.shape), rtol=1e-3, atol=2e-6)


def test_a_row_of_weight_zero_may_hold_nan():
    r, s, t = single(REAL[:4], SYNTHETIC[:3], FREQUENCIES)
    weights = jnp.array([1.0, 0.0, 1.0, 1.0])

    def of(r):
        return exact(r, s, t, alpha=0.3, real_weights=weights)[0]

    value, gradient = jax.value_and_grad(of)(r.at[1].set(jnp.nan))
    assert float(value) == pytest.approx(float(of(r)), rel=1e-6)
    assert not np.any(gradient[1]) and np.all(np.isfinite(gradient))


@TWO_KERNELS
def test_both_estimators_have_one_expectation_in_value_and_gradient(kernel):
    """Over 600 draws of the frequencies, within 4.5 standard errors in each coordinate."""
    r, s = single(REAL[:6] * 0.5, SYNTHETIC[:4] * 0.5)

    def of(key, estimator):
        t = cj.sample_frequencies(key, kernel, 64, D)
        loss = functools.partial(cj.sdd_loss, alpha=0.3, estimator=estimator, kernel=kernel)
        value, gradient = jax.value_and_grad(loss, 1)(r, s, t)
        return jnp.append(jnp.ravel(gradient), value)

    keys = jax.random.split(jax.random.key(1), 600)
    run = jax.jit(jax.vmap(of, in_axes=(0, None)), static_argnums=1)
    spectral, quiet = (np.asarray(run(keys, name), np.float64) for name in ("spectral", "exact"))
    error = np.sqrt((spectral.var(axis=0) + quiet.var(axis=0)) / len(keys))
    gap = np.abs(spectral.mean(axis=0) - quiet.mean(axis=0))
    assert np.all(gap < 4.5 * error) and error[-1] < 0.01 * quiet[:, -1].mean()
    assert np.sum(quiet.var(axis=0)) < 0.5 * np.sum(spectral.var(axis=0))


@TWO_KERNELS
def test_a_half_needs_no_frequencies_and_is_half_of_mmd(kernel):
    r, s = single(REAL[:7], SYNTHETIC[:4])
    expected, gradient = jax.value_and_grad(lambda s: cj.mmd2(r, s, kernel) / 2)(s)
    loss = functools.partial(cj.sdd_loss, estimator="exact", kernel=kernel)
    for t in (None, jnp.asarray(FREQUENCIES, jnp.float32)):
        value, slope = jax.jit(jax.value_and_grad(loss, 1))(r, s, t)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(slope, gradient, rtol=1e-4, atol=1e-6)
        text = jax.jit(loss).lower(r, s, t).as_text()
        assert "sine" not in text and f"x{T}x" not in text
    assert exact(r, s, None, kernel)[1].keys() == {"sdd"}


def test_any_kernel_serves_at_a_half():
    r, s = single(REAL, SYNTHETIC)
    value = cj.sdd_loss(r, s, None, estimator="exact", kernel=cj.Linear(), **SIZES)
    pairs = zip(by_class(REAL, (7, 2, 5)), by_class(SYNTHETIC, (4, 3, 2)), strict=True)
    expected = sum(np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2) for x, y in pairs) / 2
    assert float(value) == pytest.approx(expected, rel=1e-5)
    plain = cj.sdd_loss(r, s, None, estimator="exact", kernel=lambda x, y: x @ y.T, **SIZES)
    assert float(plain) == pytest.approx(expected, rel=1e-5)


@TWO_KERNELS
def test_features_far_from_zero_and_close_together_keep_their_digits(kernel):
    """Products of such rows would lose them: each class is moved to its mean first."""
    centres = np.array([[300.0], [-200.0], [100.0]])
    real, synthetic = (
        np.asarray(rows + np.repeat(centres, sizes, axis=0), np.float32)
        for rows, sizes in ((REAL, (7, 2, 5)), (SYNTHETIC, (4, 3, 2)))
    )
    expected = sum(
        reference(np.float64(x), np.float64(y), kernel, FREQUENCIES, 0.5)[2]
        for x, y in zip(by_class(real, (7, 2, 5)), by_class(synthetic, (4, 3, 2)), strict=True)
    )
    found = exact(*single(real, synthetic), None, kernel, **SIZES)[0]
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_memory_does_not_grow_with_the_rows_of_a_class():
    def temporary(n):
        x, y = (jax.ShapeDtypeStruct((rows, 16), jnp.float32) for rows in (n, 64))
        loss = functools.partial(
            cj.sdd_loss, estimator="exact", kernel=cj.RBF(1.0), sample_chunk=32
        )
        gradient = jax.jit(jax.value_and_grad(lambda x, y: loss(x, y, None), 1))
        return gradient.lower(x, y).compile().memory_analysis().temp_size_in_bytes

    # What grows: four numbers a pair of blocks, the weights of the rows.
    assert temporary(2048) - temporary(64) < 0.02 * 4 * 2048**2


def test_one_program_serves_any_number_of_classes():
    def products(classes):
        sizes = tuple(4 + number % 3 for number in range(classes))
        rows = jnp.ones((sum(sizes), 3))
        loss = functools.partial(
            cj.sdd_loss, estimator="exact", kernel=cj.RBF(1.0), real_sizes=sizes,
            synthetic_sizes=sizes,
        )  # fmt: skip
        text = jax.jit(lambda x, y: loss(x, y, None)).lower(rows, rows).as_text()
        return re.findall(r"dot_general.*-> tensor<(\w+)>", text)

    assert sorted(products(60)) == sorted(products(6))


def test_bfloat16_products_change_value_and_gradient_a_little():
    r, s = (cj.unit_features(row) for row in single(draw(200, 64), draw(20, 64, seed=1) + 0.1))

    def of(s, dtype):
        return cj.sdd_loss(r, s, None, estimator="exact", kernel=cj.RBF(1.0), matmul_dtype=dtype)

    compiled = jax.jit(jax.value_and_grad(of), static_argnums=1)
    (wide, gradient), (narrow, rounded) = compiled(s, None), compiled(s, "bfloat16")
    assert narrow.dtype == rounded.dtype == jnp.float32
    assert 0 < abs(float(narrow / wide) - 1) < 0.01
    assert 0 < float(jnp.linalg.norm(rounded - gradient) / jnp.linalg.norm(gradient)) < 0.01


def test_half_precision_and_float64_features():
    r, s, t = single(REAL[:4], SYNTHETIC[:3], FREQUENCIES)
    value, gradient = jax.value_and_grad(
        lambda s: exact(r.astype(jnp.bfloat16), s, t, alpha=0.3)[0]
    )(s.astype(jnp.bfloat16))
    assert (value.dtype, gradient.dtype) == (jnp.float32, jnp.bfloat16)
    with jax.enable_x64(True):
        wide = exact(*map(jnp.asarray, (REAL[:4], SYNTHETIC[:3], FREQUENCIES)), alpha=0.3)[0]
        assert wide.dtype == jnp.float64
        expected = reference(REAL[:4], SYNTHETIC[:3], cj.RBF(0.8), FREQUENCIES, 0.3)[2]
        assert float(wide) == pytest.approx(expected, rel=1e-12)


def test_auto_takes_what_costs_less():
    r, s, t = single(REAL[:7], SYNTHETIC[:4], FREQUENCIES)
    for num, name in ((T, "exact"), (3, "spectral")):
        assert cj.cheaper_estimator((7,), (4,), num, cj.RBF(0.8)) == name
        options = {"alpha": 0.3, "kernel": cj.RBF(0.8)}
        auto = cj.sdd_loss(r, s, t[:num], estimator="auto", **options)
        assert float(auto) == float(cj.sdd_loss(r, s, t[:num], estimator=name, **options))
    assert cj.cheaper_estimator((7,), (4,), T, cj.Laplace(0.3)) == "spectral"


@pytest.mark.parametrize(
    ("t", "options", "message"),
    [
        (FREQUENCIES, {"estimator": "quadratic"}, r"unknown estimator 'quadratic': choose one of"),
        (FREQUENCIES, {"estimator": "exact"}, r"estimator 'exact' needs the kernel of the freq"),
        (FREQUENCIES, {"estimator": "exact", "kernel": cj.RBF}, r"kernel is the class RBF, not a"),
        (None, {}, r"frequencies must be an array of numbers, got NoneType"),
        (None, {"estimator": "exact", "kernel": cj.RBF(1.0), "alpha": 0.3}, r"1/2 needs frequen"),
        (
            FREQUENCIES,
            {"estimator": "exact", "kernel": cj.Linear(), "alpha": 0.3},
            r"Linear\(\) has no spectral measure, and alpha other than 1/2 an amplitude",
        ),
        (draw(T, 2), {"estimator": "exact", "kernel": cj.RBF(1.0)}, r"frequencies d=2: draw the"),
    ],
)
def test_refusals(t, options, message):
    r, s, t = single(REAL[:4], SYNTHETIC[:3], t)
    for loss in (cj.sdd_loss, cj.sdd_parts):
        with pytest.raises(ValueError, match=message):
            loss(r, s, t, **options)
    with pytest.raises(TypeError, match="estimator"):
        cj.cfd_loss(r, s, t, estimator="exact")
