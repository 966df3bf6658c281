"""The metric under JAX's transformations: traced scales, shard_map, export, strict promotion."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import csdm_jax as cj
from tests.flags import devices_flags

RNG = np.random.default_rng(0)
X, Y = (jnp.asarray(RNG.normal(size=(n, 5)) * 0.5, jnp.float32) for n in (9, 4))
T = jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32)
KERNELS = [
    cj.RBF,
    cj.Laplace,
    cj.IsotropicLaplace,
    lambda scale: cj.Matern(scale, 1.5),
    lambda gamma: cj.Polynomial(2, gamma, 0.5),
    lambda coef0: cj.Sigmoid(0.3, coef0),
]
IDS = ["RBF", "Laplace", "IsotropicLaplace", "Matern", "Polynomial", "Sigmoid"]


@pytest.mark.parametrize("build", KERNELS, ids=IDS)
def test_gradients_in_the_bandwidth_and_vmap_over_bandwidths(build):
    def of(scale):
        return cj.mmd2(X, Y, build(scale))

    value, slope = jax.jit(jax.value_and_grad(of))(0.7)
    with jax.enable_x64(True):
        x, y = (jnp.asarray(np.asarray(sample), jnp.float64) for sample in (X, Y))
        near = [float(cj.mmd2(x, y, build(0.7 + step))) for step in (-1e-4, 1e-4)]
    assert float(value) == pytest.approx(sum(near) / 2, rel=1e-4)
    assert float(slope) == pytest.approx((near[1] - near[0]) / 2e-4, rel=1e-3, abs=1e-6)
    scales = jnp.array([0.3, 0.7, 1.5])
    mapped = jax.jit(jax.vmap(of))(scales)
    np.testing.assert_allclose(mapped, [of(float(s)) for s in scales], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["iid", "qmc", "orthogonal"])
def test_frequencies_of_a_traced_scale(method):
    def of(scale):
        return cj.sample_frequencies(jax.random.key(0), cj.RBF(scale), 8, 5, method=method)

    np.testing.assert_allclose(jax.jit(of)(2.0), of(2.0), rtol=1e-5)
    np.testing.assert_allclose(jax.jacfwd(of)(2.0), of(1.0), rtol=1e-5, atol=1e-6)


def test_known_scales_are_still_checked():
    with pytest.raises(ValueError, match="scale must be positive and finite, got -1"):
        jax.jit(lambda x: cj.RBF(-1.0)(x, x))(X)
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        cj.RBF(jnp.float32(jnp.nan))
    with pytest.raises(ValueError, match=r"scale must be one number, got shape \(3,\): use jax.vm"):
        cj.RBF(jnp.ones(3))
    with pytest.raises(ValueError, match="Matern's Gram matrix needs a known nu"):
        jax.jit(lambda nu: cj.Matern(1.0, nu)(X, Y))(1.5)


LOSSES = {
    "sdd": lambda x, y, t: cj.sdd(x[0], y[0], t),
    "sdd_loss": lambda x, y, t: cj.sdd_loss(x, y, t, alpha=jnp.array([0.3, 0.6])),
    "chunks": lambda x, y, t: cj.sdd_loss(x, y, t, frequency_chunk=4, sample_chunk=2),
    "exact": lambda x, y, t: cj.sdd_loss(
        x, y, t, alpha=0.3, estimator="exact", kernel=cj.RBF(0.7), sample_chunk=2
    ),
    "ragged": lambda x, y, t: cj.sdd_loss(
        x.reshape(-1, 5), y.reshape(-1, 5), t, real_sizes=(3, 15), synthetic_sizes=(7, 1)
    ),
    "weights": lambda x, y, t: cj.sdd_loss(x, y, t, real_weights=jnp.ones(x.shape[:2])),
    "cfd_loss": lambda x, y, t: cj.cfd_loss(x, y, t, alpha=0.3),
    "characteristic": lambda x, y, t: jnp.abs(cj.characteristic_function(x[0], t)).sum(),
    "mmd2": lambda x, y, t: cj.mmd2(x[0], y[0], cj.RBF(0.7), x_weights=jnp.ones(9)),
    "mmd2 chunks": lambda x, y, t: cj.mmd2(x[0], y[0], cj.Matern(0.7, 1.5), sample_chunk=2),
    "unbiased": lambda x, y, t: cj.mmd2(x[0], y[0], cj.Laplace(0.7), unbiased=True),
    "cosine": lambda x, y, t: cj.mmd2(x[0], y[0], cj.Cosine()),
}
TWO = jnp.stack([X, X + 0.2]), jnp.stack([Y, Y - 0.1]), T


@pytest.mark.parametrize("name", LOSSES)
def test_no_rank_is_promoted_in_silence(name):
    with jax.numpy_rank_promotion("raise"):
        value, gradients = jax.jit(jax.value_and_grad(LOSSES[name], (0, 1)))(*TWO)
    expected, expected_gradients = jax.value_and_grad(LOSSES[name], (0, 1))(*TWO)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
        gradients,
        expected_gradients,
    )


@pytest.mark.parametrize("method", ["iid", "qmc", "orthogonal"])
def test_no_rank_is_promoted_in_drawing_frequencies(method):
    with jax.numpy_rank_promotion("raise"):
        drawn = cj.sample_frequencies(jax.random.key(0), cj.Matern(1.0, 1.5), 8, 5, method=method)
    assert drawn.shape == (8, 5)


SYMBOLIC = {
    "sdd": (lambda x, y, t: cj.sdd(x, y, t), 2),
    "sdd_loss": (lambda x, y, t: cj.sdd_loss(x, y, t, alpha=0.3), 2),
    "classes": (lambda x, y, t: cj.sdd_loss(x, y, t, alpha=0.3), 3),
    "chunks": (lambda x, y, t: cj.sdd_loss(x, y, t, frequency_chunk=4, sample_chunk=3), 3),
    "weights": (
        lambda x, y, t: cj.cfd_loss(
            x, y, t, real_weights=jnp.arange(x.shape[-2], dtype=x.dtype) + 1
        ),
        2,
    ),
    "exact": (
        lambda x, y, t: cj.sdd_loss(x, y, t, alpha=0.3, estimator="exact", kernel=cj.RBF(0.7)),
        3,
    ),
    "mmd2": (lambda x, y, t: cj.mmd2(x, y, cj.RBF(0.7)), 2),
    "unbiased": (lambda x, y, t: cj.mmd2(x, y, cj.Laplace(0.7), unbiased=True), 2),
    "mmd2 chunks": (lambda x, y, t: cj.mmd2(x, y, cj.Cosine(), sample_chunk=2), 2),
}


@pytest.mark.parametrize("name", SYMBOLIC)
def test_a_batch_size_may_be_symbolic(name):
    loss, rank = SYMBOLIC[name]
    x, y, t = TWO if rank == 3 else (X, Y, T)
    n, m = jax.export.symbolic_shape("n, m", constraints=["n >= 2", "m >= 2"])
    lead = (2,) if rank == 3 else ()
    shapes = [jax.ShapeDtypeStruct((*lead, size, 5), jnp.float32) for size in (n, m)]
    function = jax.jit(jax.value_and_grad(loss, (0, 1)))
    exported = jax.export.export(function)(*shapes, jax.ShapeDtypeStruct(t.shape, t.dtype))
    for keep in (slice(None), slice(0, 3)):
        found = exported.call(x[..., keep, :], y[..., keep, :], t)
        expected = function(x[..., keep, :], y[..., keep, :], t)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected
        )


MAPPED = """
import functools
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
import csdm_jax as cj

mesh = Mesh(np.array(jax.devices()), ("d",))
keys = jax.random.split(jax.random.key(0), 3)
real, synthetic = (jax.random.normal(k, (4, n, 5)) for k, n in ((keys[0], 8), (keys[1], 6)))
t = jax.random.normal(keys[2], (8, 5))
weights = jnp.ones((4, 8)).at[:, 3].set(0.0)
losses = {
    "sdd": lambda r, s, t, w: cj.sdd(r[0], s[0], t, x_weights=w[0]),
    "sdd_loss": lambda r, s, t, w: cj.sdd_loss(r, s, t, alpha=0.3, real_weights=w),
    "chunks": lambda r, s, t, w: cj.sdd_loss(r, s, t, sample_chunk=3, frequency_chunk=2),
    "cfd": lambda r, s, t, w: cj.cfd_loss(r, s, t, alpha=0.3),
    "exact": lambda r, s, t, w: cj.sdd_loss(
        r, s, t, alpha=0.3, real_weights=w, estimator="exact", kernel=cj.RBF(0.5)
    ),
    "mmd": lambda r, s, t, w: cj.mmd2(r[0], s[0], cj.RBF(0.5), x_weights=w[0]),
    "chunked mmd": lambda r, s, t, w: cj.mmd2(r[0], s[0], cj.Laplace(0.5), sample_chunk=3),
}
for name, loss in losses.items():
    # classes over the mesh, then frequencies, then synthetic classes alone: what varies differs
    for specs in ((P("d"), P("d"), P(), P("d")), (P(), P(), P("d"), P())):
        def local(r, s, t, w):
            value, gradient = jax.value_and_grad(loss, 1)(r, s, t, w)
            return value[None], gradient[None]

        if name.endswith("mmd") and specs[2] == P("d"):
            continue  # takes no frequencies: nothing in it varies
        mapped = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=(P("d"), P("d")))
        values, _ = jax.jit(mapped)(real, synthetic, t, weights)
        cut = [[a] * 4 if spec == P() else np.split(np.asarray(a), 4)
               for a, spec in zip((real, synthetic, t, weights), specs)]
        alone = jax.jit(loss)  # all parts have one shape
        expected = [alone(*map(jnp.asarray, part)) for part in zip(*cut)]
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6, err_msg=name)
print("agree")
"""


def test_losses_run_inside_shard_map_with_its_checks():
    run = subprocess.run(
        [sys.executable, "-c", "import os\n"
         f"os.environ['XLA_FLAGS'] = '{devices_flags(4)}'\n"
         "os.environ['JAX_PLATFORMS'] = 'cpu'\n" + MAPPED],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip() == "agree"


def test_integers_lists_and_half_precision_are_taken():
    rows = [[3, 4], [0, 0], [0, 255]]
    expected = [[0.6, 0.8], [0.0, 0.0], [0.0, 1.0]]
    for given in (rows, np.array(rows), np.array(rows, np.uint8), jnp.array(rows, jnp.int16)):
        unit = cj.unit_features(given)
        assert unit.dtype == jnp.float32
        np.testing.assert_allclose(unit, expected, rtol=1e-6)
    real, synthetic, t = [[0, 1], [2, 0]], np.array([[1, 1]]), [[0.5, 1.0], [1, 0]]
    floats = [jnp.asarray(a, jnp.float32) for a in (real, synthetic, t)]
    for loss in (cj.sdd, cj.sdd_loss, cj.cfd_loss):
        assert float(loss(real, synthetic, t)) == float(loss(*floats)) > 0.01
    kernel = cj.RBF(1.0)
    assert float(cj.mmd2(real, synthetic, kernel)) == float(cj.mmd2(*floats[:2], kernel)) > 0.01
    assert cj.characteristic_function(real, t).shape == (2,)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (X + 1j, "must be real, got dtype complex64"),
        ([[1.0, 2.0], [3.0]], "must be an array of numbers, got list"),
        (np.array([["a"]]), "must be an array of numbers, got ndarray"),
    ],
    ids=["complex", "ragged", "text"],
)
def test_what_is_no_real_array_is_refused(bad, message):
    for call in (
        cj.unit_features,
        lambda x: cj.sdd(x, Y, T),
        lambda x: cj.sdd_loss(Y, x, T),
        lambda x: cj.cfd_loss(x, Y, T),
        lambda x: cj.mmd2(x, Y, cj.RBF(1.0)),
        lambda x: cj.RBF(1.0)(Y, x),
        lambda x: cj.characteristic_function(x, T),
    ):
        with pytest.raises(ValueError, match=message):
            call(bad)
