"""The sheet of properties of a divergence, for SDD, its class-aware form and CFD."""

import functools
import math
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import csdm_jax as cj
from tests.flags import devices_flags

LOSSES = [cj.sdd, cj.sdd_loss, cj.cfd_loss]
C, N, M, D, T = 3, 7, 4, 5, 11
RNG = np.random.default_rng(0)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), jnp.float32)


REAL, SYNTHETIC, FREQUENCIES = draw(C, N, D), draw(C, M, D) + 0.3, draw(T, D)
ALPHAS = jnp.array([0.2, 0.5, 0.9])
ONE = (REAL[0], SYNTHETIC[0], FREQUENCIES)
ALL = (REAL, SYNTHETIC, FREQUENCIES)


SIZES = ((7, 2, 5), (4, 3, 2))  # real and synthetic rows of each class
FLAT = (
    jnp.concatenate([REAL[c, :size] for c, size in enumerate(SIZES[0])]),
    jnp.concatenate([SYNTHETIC[c, :size] for c, size in enumerate(SIZES[1])]),
    FREQUENCIES,
)
RAGGED = {"real_sizes": SIZES[0], "synthetic_sizes": SIZES[1]}


def reference(real, synthetic, frequencies, alpha, weights=None):
    """Amplitude, phase and mean root of one class in float64, by angles as the paper has them."""
    phi = []
    for x, w in zip((real, synthetic), weights or (None, None), strict=True):
        waves = np.exp(1j * np.asarray(x, np.float64) @ np.asarray(frequencies, np.float64).T)
        phi.append(np.average(waves, axis=0, weights=w))
    (r, s), angle = phi, np.angle(phi[0]) - np.angle(phi[1])
    amplitude = (np.abs(r) - np.abs(s)) ** 2
    phase = 2 * np.abs(r) * np.abs(s) * (1 - np.cos(angle))
    root = np.sqrt(alpha * amplitude + (1 - alpha) * phase)
    return amplitude.mean(), phase.mean(), root.mean()


def references(alphas=ALPHAS):
    return np.array(
        [
            reference(*arguments, FREQUENCIES, alpha)
            for *arguments, alpha in zip(REAL, SYNTHETIC, np.asarray(alphas, float), strict=True)
        ]
    ).T


def test_values_agree_with_the_float64_reference():
    amplitude, phase, root = references()
    loss, parts = cj.sdd_parts(*ALL, alpha=ALPHAS)
    np.testing.assert_allclose(parts["amplitude"], amplitude, rtol=1e-5)
    np.testing.assert_allclose(parts["phase"], phase, rtol=1e-5)
    alpha = np.asarray(ALPHAS, float)
    assert float(loss) == pytest.approx(np.sum(alpha * amplitude + (1 - alpha) * phase), rel=1e-5)
    assert float(cj.sdd_loss(*ALL, alpha=ALPHAS)) == float(loss)
    assert float(cj.cfd_loss(*ALL, alpha=ALPHAS)) == pytest.approx(root.sum(), rel=1e-5)
    assert float(cj.sdd(*ONE)) == pytest.approx(amplitude[0] + phase[0], rel=1e-5)


def test_one_class_gives_scalars_and_the_class_of_a_batch_gives_the_same():
    loss, parts = cj.sdd_parts(*ONE, alpha=0.2)
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    assert parts["amplitude"].shape == parts["phase"].shape == ()
    batch, batch_parts = cj.sdd_parts(REAL[:1], SYNTHETIC[:1], FREQUENCIES, alpha=ALPHAS[:1])
    assert batch_parts["phase"].shape == (1,)
    np.testing.assert_allclose(batch, loss, rtol=1e-6)


def test_a_half_is_half_of_sdd_in_value_and_gradient():
    value, gradient = jax.value_and_grad(cj.sdd_loss, 1)(*ONE)
    plain, plain_gradient = jax.value_and_grad(cj.sdd, 1)(*ONE)
    np.testing.assert_allclose(value, plain / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient, plain_gradient / 2, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_zero_on_itself_with_zero_gradient(loss):
    value, gradient = jax.value_and_grad(loss, 1)(REAL[0], REAL[0], FREQUENCIES)
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, jnp.zeros_like(gradient))


@pytest.mark.parametrize("loss", LOSSES)
def test_positive_symmetric_and_blind_to_order(loss):
    x, y, t = ONE
    value = float(loss(x, y, t))
    assert value > 0.01
    assert float(loss(y, x, t)) == pytest.approx(value, rel=1e-6)
    assert float(loss(x[::-1], y[jnp.array([2, 0, 3, 1])], t)) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.01, 0.5, 0.99])
def test_zero_only_for_equal_distributions(alpha):
    """Proposition A.5: differences in amplitude alone and in phase alone are both seen."""
    x = draw(50, 1)
    t = cj.sample_frequencies(jax.random.key(0), cj.RBF(1.0), 512, 1)
    same = cj.sdd_loss(x, jnp.concatenate([x, x[::-1]]), t, alpha=alpha)
    shifted, shifted_parts = cj.sdd_parts(x, x + 0.5, t, alpha=alpha)
    spread, spread_parts = cj.sdd_parts(
        jnp.concatenate([x, -x]), 2 * jnp.concatenate([x, -x]), t, alpha=alpha
    )
    assert abs(float(same)) < 1e-12
    assert float(shifted_parts["amplitude"]) < 1e-10 < 1e-2 < float(shifted_parts["phase"])
    assert float(spread_parts["amplitude"]) > 1e-2
    assert float(shifted) > 5e-4 and float(spread) > 1e-4


def test_weights_are_repetitions():
    counts = jnp.array([1, 3, 0, 2, 1, 1, 2])
    for loss in LOSSES[1:]:
        weighted = loss(*ONE, real_weights=counts, alpha=0.3)
        repeated = loss(jnp.repeat(REAL[0], counts, axis=0), *ONE[1:], alpha=0.3)
        np.testing.assert_allclose(weighted, repeated, rtol=1e-5)
    swapped = cj.sdd(SYNTHETIC[0], REAL[0], FREQUENCIES, y_weights=counts)
    np.testing.assert_allclose(cj.sdd(*ONE, x_weights=counts), swapped, rtol=1e-6)


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("loss", LOSSES[1:])
def test_ragged_classes_ignore_their_padding(loss, chunk):
    sizes = (7, 2, 5)
    present = jnp.arange(N)[None, :] < jnp.array(sizes)[:, None]
    padded = jnp.where(present[..., None], REAL, jnp.nan)
    value, gradient = jax.jit(
        jax.value_and_grad(
            lambda real: loss(
                real, *ALL[1:], alpha=ALPHAS, real_weights=present, sample_chunk=chunk
            )
        )
    )(padded)
    alone = [
        jax.jit(jax.value_and_grad(loss))(
            REAL[c, :size], SYNTHETIC[c], FREQUENCIES, alpha=ALPHAS[c]
        )
        for c, size in enumerate(sizes)
    ]
    np.testing.assert_allclose(value, sum(v for v, _ in alone), rtol=1e-5)
    assert not np.any(np.asarray(gradient)[~np.asarray(present)])
    for c, size in enumerate(sizes):
        np.testing.assert_allclose(gradient[c, :size], alone[c][1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("chunk", [None, 1, 3, 6, 14])
@pytest.mark.parametrize("loss", LOSSES[1:])
def test_concatenated_classes_equal_padded_ones(loss, chunk):
    """Tiles that cut through classes, hold several or a part of one: value and gradients."""
    present = [
        jnp.arange(n)[None] < jnp.array(SIZES[side])[:, None] for side, n in ((0, N), (1, M))
    ]

    def padded(real, synthetic):
        weights = {"real_weights": present[0], "synthetic_weights": present[1]}
        return loss(real, synthetic, FREQUENCIES, alpha=ALPHAS, **weights)

    def ragged(real, synthetic):
        return loss(real, synthetic, FREQUENCIES, alpha=ALPHAS, sample_chunk=chunk, **RAGGED)

    value, gradients = jax.jit(jax.value_and_grad(padded, (0, 1)))(*ALL[:2])
    flat, flat_gradients = jax.jit(jax.value_and_grad(ragged, (0, 1)))(*FLAT[:2])
    np.testing.assert_allclose(flat, value, rtol=1e-5)
    for found, expected, mask in zip(flat_gradients, gradients, present, strict=True):
        np.testing.assert_allclose(found, expected[mask], rtol=1e-4, atol=1e-7)


def test_concatenated_classes_agree_with_the_float64_reference():
    cuts = [np.cumsum(sizes)[:-1] for sizes in SIZES]
    real, synthetic = (np.split(np.asarray(x), c) for x, c in zip(FLAT[:2], cuts, strict=True))
    classes = zip(real, synthetic, strict=True)
    expected = np.array([reference(*pair, FREQUENCIES, 0.3) for pair in classes]).T
    loss, parts = cj.sdd_parts(*FLAT, alpha=0.3, **RAGGED)
    np.testing.assert_allclose(parts["amplitude"], expected[0], rtol=1e-5)
    np.testing.assert_allclose(parts["phase"], expected[1], rtol=1e-5)
    np.testing.assert_allclose(loss, np.sum(0.3 * expected[0] + 0.7 * expected[1]), rtol=1e-5)
    np.testing.assert_allclose(cj.cfd_loss(*FLAT, alpha=0.3, **RAGGED), expected[2].sum(), 1e-5)


def test_weights_of_concatenated_classes_are_repetitions():
    counts = np.array([1, 3, 0, 2, 1, 1, 2, 2, 1, 0, 4, 1, 1, 3])
    sizes = tuple(int(part.sum()) for part in np.split(counts, np.cumsum(SIZES[0])[:-1]))
    weighted = cj.sdd_loss(*FLAT, real_weights=jnp.asarray(counts), **RAGGED)
    repeated = jnp.repeat(FLAT[0], counts, axis=0)
    expected = cj.sdd_loss(repeated, *FLAT[1:], **(RAGGED | {"real_sizes": sizes}))
    np.testing.assert_allclose(weighted, expected, rtol=1e-5)


def test_a_tile_sums_over_the_classes_it_meets_not_over_all():
    """Linear in the number of classes: tiles of 8 rows see two classes of 4, out of 10 or 100."""

    def products(classes):
        sizes, rows = (4,) * classes, jnp.ones((4 * classes, 3))
        loss = functools.partial(
            cj.sdd_loss, real_sizes=sizes, synthetic_sizes=sizes, sample_chunk=8
        )
        text = jax.jit(loss).lower(rows, rows, jnp.ones((16, 3))).as_text()
        return re.findall(r"dot_general.*-> tensor<(\w+)>", text)

    assert products(100) == products(10) == ["8x16xf32", "2x16xf32", "2x16xf32"] * 2


def test_bfloat16_products_change_the_value_a_little():
    real, synthetic = (cj.unit_features(draw(200, 512, seed=seed)) for seed in (1, 2))
    t = cj.sample_frequencies(jax.random.key(0), cj.RBF(1.0), 256, 512)
    exact, gradient = jax.value_and_grad(cj.sdd_loss, 1)(real, synthetic + 0.02, t)
    rounded, rounded_gradient = jax.jit(
        jax.value_and_grad(functools.partial(cj.sdd_loss, matmul_dtype="bfloat16"), 1)
    )(real, synthetic + 0.02, t)
    assert rounded.dtype == rounded_gradient.dtype == jnp.float32
    assert 0 < abs(float(rounded / exact) - 1) < 0.01
    distance = jnp.linalg.norm(rounded_gradient - gradient) / jnp.linalg.norm(gradient)
    assert 0 < float(distance) < 0.02


@pytest.mark.parametrize(
    "chunks",
    [
        {"frequency_chunk": 4},
        {"sample_chunk": 3},
        {"frequency_chunk": 1, "sample_chunk": 2},
        {"frequency_chunk": 99, "sample_chunk": 99},
    ],
)
@pytest.mark.parametrize("loss", LOSSES[1:])
def test_chunks_change_neither_value_nor_gradient(loss, chunks):
    whole, gradients = value_and_gradients(loss)
    chunked, chunked_gradients = value_and_gradients(loss, **chunks)
    np.testing.assert_allclose(chunked, whole, rtol=1e-5)
    for left, right in zip(chunked_gradients, gradients, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-7)


@functools.cache
def value_and_gradients(loss, **chunks):
    def of(real, synthetic):
        return loss(real, synthetic, FREQUENCIES, alpha=ALPHAS, **chunks)

    return jax.jit(jax.value_and_grad(of, (0, 1)))(REAL, SYNTHETIC)


@pytest.mark.parametrize("chunks", [{"frequency_chunk": 64}, {"sample_chunk": 32}])
def test_chunks_bound_the_memory_of_the_gradient(chunks):
    x, y, t = draw(512, 8), draw(64, 8), draw(1024, 8)

    def memory(**kwargs):
        gradient = jax.jit(jax.grad(lambda x: cj.sdd_loss(x, y, t, **kwargs)))
        return gradient.lower(x).compile().memory_analysis().temp_size_in_bytes

    assert 0 < memory(**chunks) < memory() / 3


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_gradient_agrees_with_central_differences(loss):
    with jax.enable_x64(True):
        real, synthetic, t = (jnp.asarray(np.asarray(a), jnp.float64) for a in ALL)
        alphas = jnp.array([0.2, 0.5, 0.9], jnp.float64)
        assert loss(real, synthetic, t, alpha=alphas).dtype == jnp.float64
        check_grads(
            jax.jit(lambda *args: loss(*args[:3], alpha=args[3])), (real, synthetic, t, alphas),
            order=1, modes=["rev"], atol=1e-6, rtol=1e-6,
        )  # fmt: skip


CORNERS = {
    "zero row": [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [2.0, 1.0]],
    "all rows zero": [[0.0, 0.0]] * 4,
    "constant": [[1.0, 1.0]] * 4,
    "huge": [[1e6, 1e6], [-1e6, 1e6], [0.0, 1e6], [1e6, 0.0]],
    "vanishing spectrum": [[0.0, 0.0], [0.0, 0.0], [math.pi, 0.0], [-math.pi, 0.0]],
}


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("loss", LOSSES[1:])
def test_gradient_is_finite_in_every_corner(loss, unit):
    t = jnp.array([[0.0, 0.0], [1.0, 0.0], [50.0, -30.0]])

    def of(x, y, alpha):
        scaled = (cj.unit_features(x), cj.unit_features(y)) if unit else (x, y)
        return loss(*scaled, t, alpha=alpha)

    x, y, alpha = jnp.meshgrid(
        jnp.arange(len(CORNERS)), jnp.arange(len(CORNERS)), jnp.array([0.1, 0.5, 0.9])
    )
    corners = jnp.array(list(CORNERS.values()))
    gradients = jax.jit(jax.vmap(jax.grad(of, (0, 1))))(
        corners[x.ravel()], corners[y.ravel()], alpha.ravel()
    )
    assert all(bool(jnp.isfinite(gradient).all()) for gradient in gradients)


def test_one_sample_on_either_side():
    x, y, t = REAL[0, :1], SYNTHETIC[0, :1], FREQUENCIES
    loss, parts = cj.sdd_parts(x, y, t, alpha=0.3)
    phase = np.mean(2 - 2 * np.cos(np.asarray(t, float) @ np.asarray(x - y, float)[0]))
    assert float(parts["amplitude"]) < 1e-12  # a point mass has modulus 1
    assert float(loss) == pytest.approx(0.7 * phase, rel=1e-5)


def test_gradient_at_an_exact_zero_of_the_spectrum_is_that_of_the_plain_square():
    vanishing, t = jnp.array([[0.0], [0.0], [math.pi], [-math.pi]]), jnp.ones((1, 1))
    other = jnp.array([[0.3], [1.0]])
    assert abs(complex(cj.characteristic_function(vanishing, t)[0])) == 0.0
    for x, y in ((vanishing, other), (other, vanishing)):
        plain = jax.grad(cj.sdd, (0, 1))(x, y, t)
        half = jax.grad(cj.sdd_loss, (0, 1))(x, y, t)
        for left, right in zip(half, plain, strict=True):
            assert float(jnp.abs(right).max()) > 0.05
            np.testing.assert_allclose(left, right / 2, rtol=1e-5, atol=1e-8)


def test_close_samples_keep_their_digits():
    """SDD of 1e-8 comes from spectra that agree to 1e-4: three digits must survive float32."""
    x = cj.unit_features(draw(64, 32))
    y = x + 1e-3 * draw(64, 32, seed=1)
    t = cj.sample_frequencies(jax.random.key(0), cj.RBF(1.0), 256, 32)
    amplitude, phase, _ = reference(x, y, t, 0.5)
    loss, parts = cj.sdd_parts(x, y, t, alpha=0.3)
    assert 1e-9 < amplitude + phase < 1e-6
    np.testing.assert_allclose(parts["amplitude"], amplitude, rtol=2e-2)
    np.testing.assert_allclose(parts["phase"], phase, rtol=2e-2)
    np.testing.assert_allclose(loss, 0.3 * amplitude + 0.7 * phase, rtol=1e-2)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_features(loss, dtype):
    x, y, t = REAL[0].astype(dtype), SYNTHETIC[0].astype(dtype), FREQUENCIES
    value, gradient = jax.value_and_grad(loss, 1)(x, y, t)
    wide = loss(x.astype(jnp.float32), y.astype(jnp.float32), t)
    assert (value.dtype, gradient.dtype) == (jnp.float32, dtype)
    np.testing.assert_allclose(value, wide, rtol=1e-6)


def test_gaussian_closed_form():
    """MMD^2 of N(0, I) and N(m, I) under the RBF kernel, from 8192 draws of each."""
    d, scale, shift = 3, 1.0, 0.8
    x, y = draw(8192, d), draw(8192, d, seed=1) + shift
    spread = (1 + 2 * scale**2) ** (-d / 2)
    gap = np.exp(-0.5 * scale**2 * d * shift**2 / (1 + 2 * scale**2))
    t = cj.sample_frequencies(jax.random.key(0), cj.RBF(scale), 1024, d, method="qmc")
    estimate = float(cj.sdd(x, y, t, frequency_chunk=128))
    assert estimate == pytest.approx(2 * spread * (1 - gap), rel=0.06)


def test_error_falls_as_the_root_of_the_number_of_frequencies():
    kernel, numbers = cj.RBF(1.0), (32, 128, 512, 2048)
    exact = cj.mmd2(REAL[0], SYNTHETIC[0], kernel)
    keys = jax.random.split(jax.random.key(0), 100)

    draws = jax.vmap(lambda key: cj.sample_frequencies(key, kernel, numbers[-1], D))(keys)

    def error(num):
        estimates = jax.jit(jax.vmap(lambda t: cj.sdd(*ONE[:2], t)))(draws[:, :num])
        return jnp.sqrt(jnp.mean(jnp.square(estimates - exact)))

    slope = np.polyfit(np.log(numbers), np.log([float(error(num)) for num in numbers]), 1)[0]
    assert -0.6 < slope < -0.4


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_jit_agrees_and_does_not_retrace(loss):
    traces = []

    @jax.jit
    def compiled(real, synthetic, t, alpha):
        traces.append(1)
        return loss(real, synthetic, t, alpha=alpha)

    for alpha in (ALPHAS, ALPHAS[::-1]):
        np.testing.assert_allclose(compiled(*ALL, alpha), loss(*ALL, alpha=alpha), rtol=1e-5)
    assert len(traces) == 1


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_vmap_a_loop_and_checkpoint_agree(loss):
    mapped = jax.vmap(lambda x, y, a: loss(x, y, FREQUENCIES, alpha=a))(REAL, SYNTHETIC, ALPHAS)
    loop = [loss(REAL[c], SYNTHETIC[c], FREQUENCIES, alpha=ALPHAS[c]) for c in range(C)]
    np.testing.assert_allclose(mapped, loop, rtol=1e-5)
    np.testing.assert_allclose(loss(*ALL, alpha=ALPHAS), sum(loop), rtol=1e-5)
    kept, again = (jax.jit(jax.grad(f))(*ALL) for f in (loss, jax.checkpoint(loss)))
    np.testing.assert_allclose(again, kept, rtol=1e-5, atol=1e-8)


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import csdm_jax as cj

assert jax.device_count() == 4
mesh = Mesh(np.array(jax.devices()), ("x",))
keys = jax.random.split(jax.random.key(0), 3)
real, synthetic = jax.random.normal(keys[0], (4, 8, 5)), jax.random.normal(keys[1], (4, 4, 5))
t = jax.random.normal(keys[2], (16, 5))
for loss in (cj.sdd_loss, cj.cfd_loss):
    f = jax.jit(jax.value_and_grad(loss, (0, 1)))
    plain = f(real, synthetic, t)
    for spec in (P(None, "x"), P("x")):
        place = NamedSharding(mesh, spec)
        sharded = f(jax.device_put(real, place), jax.device_put(synthetic, place), t)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
                     sharded, plain)
print("agree")
"""


def test_sharded_over_samples_and_over_classes():
    run = subprocess.run(
        [sys.executable, "-c", "import os\n"
         f"os.environ['XLA_FLAGS'] = '{devices_flags(4)}'\n"
         "os.environ['JAX_PLATFORMS'] = 'cpu'\n" + SHARDED],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "agree"


def test_known_values_are_checked_under_jit_and_traced_ones_are_not():
    with pytest.raises(ValueError, match=r"alpha must lie in the open interval"):
        jax.jit(lambda x: cj.sdd_loss(x, *ONE[1:], alpha=1.0))(REAL[0])
    value = jax.jit(lambda alpha: cj.sdd_loss(*ONE, alpha=alpha))(1.0)
    assert bool(jnp.isfinite(value))


BAD = float("nan")


@pytest.mark.parametrize(
    ("arguments", "kwargs", "message"),
    [
        ((draw(3, 4), draw(3, 2), draw(5, 4)), {}, r"real features have d=4, synthetic d=2: take"),
        ((draw(3, 4), draw(3, 4), draw(5, 2)), {}, r"real features have d=4, frequencies d=2"),
        ((draw(4), draw(4), draw(5, 4)), {}, r"real features must have shape \[n, d\] or"),
        ((draw(3, 4), draw(1, 1, 3, 4), draw(5, 4)), {}, r"synthetic features must have shape"),
        ((draw(3, 4), draw(1, 3, 4), draw(5, 4)), {}, r"pass the same classes on both sides"),
        ((draw(2, 3, 4), draw(3, 3, 4), draw(5, 4)), {}, r"pass the same classes on both sides"),
        ((draw(3, 4), draw(0, 4), draw(5, 4)), {}, r"synthetic features are empty, shape \(0, 4\)"),
        ((draw(3, 4), draw(3, 4), draw(0, 4)), {}, r"frequencies must have shape \[T, d\]"),
        ((draw(3, 4), draw(3, 4), draw(4)), {}, r"frequencies must have shape \[T, d\]"),
        (ONE, {"real_weights": jnp.ones(3)}, r"real weights have shape \(3,\), features \(7, 5\)"),
        (ALL, {"synthetic_weights": jnp.ones(M)}, r"synthetic weights have shape \(4,\)"),
        (ONE, {"real_weights": jnp.full(N, -1.0)}, r"non-negative, got values from"),
        (ONE, {"real_weights": jnp.full(N, BAD)}, r"non-negative, got values from"),
        (ONE, {"real_weights": jnp.zeros(N)}, r"real weights of a class are all zero"),
        (ALL, {"alpha": ALPHAS[:2]}, r"alpha has shape \(2,\), the features 3 classes"),
        (ONE, {"alpha": ALPHAS}, r"alpha has shape \(3,\), the features one class"),
        (ALL, {"alpha": ALPHAS.at[1].set(1.0)}, r"open interval \(0, 1\), got \[0.2.*, 1.0, 0.8"),
        *(
            (ONE, {"alpha": alpha}, r"alpha must lie in the open interval \(0, 1\), got")
            for alpha in (0.0, 1.0, -0.5, 2, BAD)
        ),
        (FLAT, {"real_sizes": SIZES[0]}, r"real features have 3 classes, synthetic 1: pass"),
        (FLAT, {"real_sizes": (7, 8), "synthetic_sizes": (4, 5)}, r"\(7, 8\).*add up to the 14"),
        (FLAT, {"synthetic_sizes": (9, 0)}, r"synthetic_sizes \(9, 0\) must be positive"),
        (ALL, {"real_sizes": (7, 7, 7)}, r"real_sizes belongs to real features of shape \[N, d\]"),
        (
            FLAT,
            RAGGED | {"real_weights": jnp.array([1.0] * 7 + [0.0] * 2 + [1.0] * 5)},
            r"real weights of a class are all zero, real_sizes \(7, 2, 5\)",
        ),
        (ONE, {"matmul_dtype": "int8"}, r"matmul_dtype must be floating, such as 'bfloat16'"),
        (ONE, {"frequency_chunk": 0}, r"frequency_chunk must be at least 1, got 0: pass None"),
        (ONE, {"sample_chunk": -1}, r"sample_chunk must be at least 1, got -1: pass None"),
    ],
)
def test_refusals(arguments, kwargs, message):
    for loss in (cj.sdd_loss, cj.sdd_parts, cj.cfd_loss):
        with pytest.raises(ValueError, match=message):
            loss(*arguments, **kwargs)


def test_refusals_of_sdd():
    with pytest.raises(ValueError, match=r"x features must have shape \[n, d\], got \(3, 7, 5\)"):
        cj.sdd(*ALL)
    with pytest.raises(ValueError, match=r"x features have d=5, y d=2: take both from one network"):
        cj.sdd(REAL[0], draw(3, 2), FREQUENCIES)
    with pytest.raises(ValueError, match=r"y weights have shape \(2,\)"):
        cj.sdd(*ONE, y_weights=jnp.ones(2))
    with pytest.raises(ValueError, match=r"frequency_chunk must be at least 1"):
        cj.sdd(*ONE, frequency_chunk=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_unbiased_sdd_has_the_expectation_of_the_u_statistic(weighted):
    """Exactly, for each frequency: kernels `cos t.(x - y)` without each row's with itself."""
    u, v = (RNG.uniform(0.1, 2, n) if weighted else np.ones(n) for n in (N, M))
    x, y, t = (np.asarray(a, np.float64) for a in ONE)

    def gram(a, b):
        return np.mean(np.cos((a[:, None] - b[None, :]) @ t.T), axis=-1)

    expected = -2 * u @ gram(x, y) @ v / (u.sum() * v.sum())
    for rows, weights in ((x, u), (y, v)):
        pairs = np.outer(weights, weights) * ~np.eye(len(rows), dtype=bool)
        expected += np.sum(pairs * gram(rows, rows)) / pairs.sum()
    weights = {"x_weights": u, "y_weights": v} if weighted else {}
    for chunk in (None, 4):
        found = cj.sdd(*ONE, unbiased=True, frequency_chunk=chunk, **weights)
        assert float(found) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="needs two rows of y with a weight above 0, got 1"):
        cj.sdd(ONE[0], ONE[1][:1], ONE[2], unbiased=True)


@pytest.mark.parametrize("chunk", [None, 4])
def test_several_scales_are_those_of_scaled_frequencies(chunk):
    scales = (0.5, 1.0, 3.0)
    expected = [float(cj.sdd(*ONE[:2], s * FREQUENCIES)) for s in scales]
    mean, apart = cj.sdd(*ONE, scales=scales, return_per_scale=True, frequency_chunk=chunk)
    np.testing.assert_allclose(apart, expected, rtol=1e-4)
    assert float(mean) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(cj.sdd(*ONE, scales=scales)) == pytest.approx(np.mean(expected), rel=1e-5)
    together = jnp.concatenate([s * FREQUENCIES for s in scales])
    for loss in LOSSES[1:]:
        found = loss(*ALL, alpha=ALPHAS, scales=scales, frequency_chunk=chunk)
        np.testing.assert_allclose(found, loss(*ALL[:2], together, alpha=ALPHAS), rtol=1e-5)


def test_several_scales_share_one_product():
    text = jax.jit(functools.partial(cj.sdd, scales=(0.5, 1.0, 3.0))).lower(*ONE).as_text()
    products = [p for p in re.findall(r"dot_general.*-> tensor<(\w+)>", text) if p[0] != "1"]
    assert sorted(products) == [f"{M}x{T}xf32", f"{N}x{T}xf32"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": (1.0, -1.0)}, "scales must be positive finite numbers, got"),
        ({"scales": ()}, r"scales must be positive finite numbers, got \(\)"),
        ({"return_per_scale": True}, "return_per_scale needs scales, got None"),
    ],
)
def test_refusals_of_scales(options, message):
    with pytest.raises(ValueError, match=message):
        cj.sdd(*ONE, **options)


def test_memory_in_chunks_is_bounded_whatever_the_number_of_samples():
    def temporary(n, chunk):
        x, t = (jax.ShapeDtypeStruct((rows, 16), jnp.float32) for rows in (n, 256))
        loss = functools.partial(cj.sdd_loss, sample_chunk=chunk)
        compiled = jax.jit(jax.value_and_grad(loss, 1)).lower(x, x, t).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    phases = 4 * 256 * (4096 - 64)  # of one side
    assert temporary(4096, None) - temporary(64, None) > 0.9 * phases
    assert temporary(4096, 32) - temporary(64, 32) < 0.05 * phases
