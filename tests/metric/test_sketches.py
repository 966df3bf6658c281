"""Sketches in place of features: the same numbers, in any order, from streams and shards."""

import dataclasses
import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import csdm_jax as cj
from csdm_jax.metric.ragged import Ragged
from tests.flags import devices_flags

RNG = np.random.default_rng(0)
SIZES, OTHERS = (9, 3, 6), (2, 4, 1)
ROWS, SYNTHETIC, T, WEIGHTS = (
    jnp.asarray(array, jnp.float32)
    for array in (
        RNG.normal(size=(18, 4)), RNG.normal(size=(7, 4)) + 0.3, RNG.normal(size=(11, 4)),
        RNG.uniform(0.1, 2, 18),
    )
)  # fmt: skip
LABELS = np.repeat(np.arange(3), SIZES)
ALPHAS = jnp.array([0.2, 0.5, 0.9])
REAL = Ragged(ROWS, SIZES, weights=WEIGHTS)
SIDE = Ragged(SYNTHETIC, OTHERS)


def close(left, right, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), left, right)


def test_sums_agree_with_float64():
    found = cj.sketch(ROWS, T, WEIGHTS, labels=LABELS, num_classes=3)
    assert found.cosine.shape == (3, 11) and found.cosine.dtype == jnp.float32
    for c in range(3):
        own, w = (np.float64(a)[c == LABELS] for a in (ROWS, WEIGHTS))
        waves = w @ np.exp(1j * own @ np.float64(T).T)
        close((found.cosine[c], found.sine[c]), (waves.real, waves.imag))
        close((found.weight[c], found.squares[c]), (w.sum(), np.sum(w**2)))
    close(cj.sketch(REAL, T), found)
    stacked = cj.sketch(ROWS.reshape(2, 9, 4), T, WEIGHTS.reshape(2, 9))
    close(jax.tree.map(lambda a: a[1], stacked), cj.sketch(ROWS[9:], T, WEIGHTS[9:]))


@pytest.mark.parametrize(
    "options",
    [{}, {"frequency_chunk": 4}, {"scales": (0.5, 2.0), "frequency_chunk": 3}],
    ids=["whole", "chunks", "chunks of scales"],
)
def test_losses_take_a_sketch_of_either_side(options):
    real, other = (cj.sketch(side, T, scales=options.get("scales")) for side in (REAL, SIDE))
    pairs = [(REAL, SIDE), (real, SIDE), (REAL, other), (real, other)]

    @jax.jit
    def values(pairs):
        run = [functools.partial(f, alpha=ALPHAS, **options) for f in (cj.sdd_parts, cj.cfd_loss)]
        return [[loss(*pair, T) for loss in run] for pair in pairs]

    expected, *found = values(pairs)
    for one in found:
        close(one, expected)


def test_the_gradient_beside_a_sketch_is_that_beside_the_features():
    gradient = jax.jit(jax.grad(lambda s, r: cj.sdd_loss(r, SIDE.with_values(s), T)))
    close(gradient(SYNTHETIC, cj.sketch(REAL, T)), gradient(SYNTHETIC, REAL))


def test_sdd_takes_it_unbiased_too_and_one_class_gives_scalars():
    one = cj.sketch(ROWS, T, WEIGHTS)
    for unbiased in (False, True):
        expected = cj.sdd(ROWS, SYNTHETIC, T, x_weights=WEIGHTS, unbiased=unbiased)
        close(cj.sdd(one, SYNTHETIC, T, unbiased=unbiased), expected)
        close(cj.sdd(SYNTHETIC, one, T, unbiased=unbiased), expected)
    assert cj.sdd_parts(one, SYNTHETIC, T, alpha=0.3)[1]["phase"].shape == ()


def test_a_stream_in_any_order_gives_the_same_to_rounding():
    parts = [slice(0, 5), slice(5, 6), slice(6, 13), slice(13, 18)]

    def batches(order):
        for number in order:
            rows = parts[number]
            yield cj.sketch(ROWS[rows], T, WEIGHTS[rows], labels=LABELS[rows], num_classes=3)

    whole = cj.sketch(REAL, T)
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        close(functools.reduce(cj.merge, batches(order)), whole)
    close(cj.merge(*[cj.sketch(REAL, T)] * 2).spectrum(), whole.spectrum())


def test_rows_without_weight_or_class_are_absent():
    rows = ROWS.at[2].set(jnp.nan)
    weights = WEIGHTS.at[2].set(0.0)
    keep = np.arange(18) != 2
    close(cj.sketch(rows, T, weights), cj.sketch(ROWS[keep], T, WEIGHTS[keep]))
    some = np.where(LABELS == 1, -1, LABELS)
    partial, whole = (cj.sketch(ROWS, T, labels=n, num_classes=3).cosine for n in (some, LABELS))
    close((partial[0], partial[1], partial[2]), (whole[0], 0.0 * whole[1], whole[2]))


def test_many_rows_go_through_in_tiles_of_bounded_memory():
    def temporary(n):
        rows = jax.ShapeDtypeStruct((n, 4), jnp.float32)
        lowered = jax.jit(cj.sketch).lower(rows, jax.ShapeDtypeStruct((256, 4), jnp.float32))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary(8192) - temporary(1024) < 0.02 * 4 * 256 * 8192
    rows = jnp.asarray(RNG.normal(size=(1500, 4)), jnp.float32)
    expected = np.exp(1j * np.float64(rows) @ np.float64(T).T).sum(axis=0)
    np.testing.assert_allclose(cj.sketch(rows, T).cosine, expected.real, atol=1e-3)


def test_the_gradient_goes_through_it():
    def by_sketch(rows):
        return cj.sdd(cj.sketch(rows, T), SYNTHETIC, T)

    close(jax.jit(jax.grad(by_sketch))(ROWS), jax.grad(cj.sdd)(ROWS, SYNTHETIC, T))


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
import csdm_jax as cj

assert jax.device_count() == 2
mesh = Mesh(np.array(jax.devices()), ("d",))
keys = jax.random.split(jax.random.key(0), 3)
rows, t = jax.random.normal(keys[0], (10, 3)), jax.random.normal(keys[1], (6, 3))
labels = jax.random.randint(keys[2], (10,), 0, 2)

def local(rows, labels):
    return jax.lax.psum(cj.sketch(rows, t, labels=labels, num_classes=2), "d")

sharded = jax.shard_map(local, mesh=mesh, in_specs=P("d"), out_specs=P())
whole = cj.sketch(rows, t, labels=labels, num_classes=2)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
             jax.jit(sharded)(rows, labels), whole)
print("agree")
"""


def test_shards_are_summed_by_psum():
    run = subprocess.run(
        [sys.executable, "-c", "import os\n"
         f"os.environ['XLA_FLAGS'] = '{devices_flags(2)}'\n"
         "os.environ['JAX_PLATFORMS'] = 'cpu'\n" + SHARDED],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip() == "agree"


ONE = cj.sketch(ROWS, T)
EMPTY = cj.sketch(ROWS, T, labels=np.zeros(18, int), num_classes=3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cj.merge(ONE, EMPTY), r"shapes \(11,\) and \(3, 11\) do not merge: make both"),
        (lambda: cj.sdd_loss(ONE, SYNTHETIC, T[:5]), r"real sketch has 11 frequencies, .* make 5"),
        (lambda: cj.sdd_loss(ONE, SYNTHETIC, T, scales=(1, 2)), r"scales make 22: pass those"),
        (lambda: cj.sdd_loss(EMPTY, SIDE, T), r"real sketch has no rows in a class, weights"),
        (lambda: cj.sdd_loss(ONE, SIDE, T), r"real features have 1 classes, synthetic 3"),
        (lambda: cj.sdd_loss(ONE, SYNTHETIC, T, real_weights=WEIGHTS), r"real features are Sketch"),
        (
            lambda: cj.sdd_loss(ONE, SYNTHETIC, T, estimator="exact", kernel=cj.RBF(1.0)),
            r"estimator 'exact' needs the features of both sides, got a sketch",
        ),
        (lambda: cj.sdd(EMPTY, ONE, T), r"x sketch has no rows|sdd compares two samples"),
        (lambda: cj.sketch(ROWS, T, labels=LABELS), r"labels and num_classes go together"),
        (lambda: cj.sketch(ROWS, T, labels=[0], num_classes=3), r"labels have shape \(1,\)"),
        (lambda: cj.sketch(ROWS, T, -WEIGHTS), r"x weights must be finite and non-negative"),
        (lambda: cj.sketch(ROWS, T, WEIGHTS[1:]), r"x weights have shape \(17,\), features"),
        (lambda: cj.sketch(REAL, T, WEIGHTS), r"x is Ragged and has weights and classes of its"),
        (lambda: cj.sketch(ROWS, T[:, :2]), r"x features have d=4, frequencies d=2"),
        (lambda: cj.sketch(ROWS, T, scales=(-1.0,)), r"scales must be positive finite numbers"),
        (lambda: cj.sketch(ROWS, T, scales=()), r"scales must be positive finite numbers"),
        (
            lambda: cj.sdd(cj.sketch(ROWS[:1], T), ONE, T, unbiased=True),
            r"unbiased=True needs two rows of x .* got a sketch of one: merge more",
        ),
        (
            lambda: cj.sdd(ONE, cj.sketch(ROWS, T, np.eye(18)[3]), T, unbiased=True),
            r"unbiased=True needs two rows of y .* got a sketch of one: merge more",
        ),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("alpha", [0.5, 0.7])
@pytest.mark.parametrize("kernel", [cj.RBF(1.0), cj.Laplace(0.7)], ids=["rbf", "laplace"])
def test_a_reference_stands_for_its_rows(alpha, kernel):
    """Value and gradient, with weights, classes of several sizes and blocks that cut them."""
    frequencies = None if alpha == 0.5 else T
    options = {"alpha": alpha, "estimator": "exact", "kernel": kernel, "sample_chunk": 4}
    known = cj.reference(REAL, kernel, frequencies, sample_chunk=4)

    def value(rows, real):
        side = SIDE.with_values(rows)
        return cj.sdd_loss(real, side, frequencies, **options)

    found, expected = (jax.value_and_grad(value)(SYNTHETIC, real) for real in (known, REAL))
    close(found, expected)
    assert known.num_classes == 3 and known.own.shape == (3,)


def test_a_reference_in_half_precision_keeps_its_own_part_of_the_same_rows():
    kernel = cj.RBF(1.0)
    rounded = REAL.with_values(ROWS.astype(jnp.bfloat16))
    known = cj.reference(REAL, kernel, dtype=jnp.bfloat16)
    assert known.rows.values.dtype == jnp.bfloat16 and known.sketch is None
    options = {"estimator": "exact", "kernel": kernel}
    close(*(cj.sdd_loss(real, SIDE, None, **options) for real in (known, rounded)))
    close(cj.sdd_loss(known, rounded, None, **options), 0.0)  # none of it is the rounding's


def test_a_reference_with_frequencies_serves_the_spectral_estimator():
    known = cj.reference(REAL, cj.RBF(1.0), T)
    close(*(cj.sdd_parts(real, SIDE, T, alpha=ALPHAS) for real in (known, REAL)))
    blank = dataclasses.replace(known, rows=known.rows.with_values(0 * ROWS))
    close(*(cj.sdd_loss(real, SIDE, T, alpha=ALPHAS) for real in (blank, REAL)))  # by the sketch
    with pytest.raises(ValueError, match="sketch has 11 frequencies"):
        cj.sdd_loss(known, SIDE, T[:5])
