"""The rivals of distribution matching: each loss against float64 NumPy, and each run on a tail."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax import RBF, mmd2, networks
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import build_longtail
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation import methods
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods.matching import m3d, moments, wmdd
from csdm_jax.metric.ragged import Ragged
from tests.problem import make_loop, read, tiny_config, tiny_dataset

SIZES, OWN, DIM = (1, 2, 30), (3, 3, 3), 16
COUNTS = (40, 6, 1)


@functools.cache
def problem():
    """Classes of 40, 6 and 1 images, and a network."""
    dataset = tiny_dataset()
    longtail = build_longtail(dataset.train_labels, 3, imbalance_factor=40, rule="seeded", seed=0)
    network = networks.create("convnet", num_classes=3, image_shape=(8, 8, 3), depth=2, width=4)
    assert network.feature_dim == DIM
    host = HostData.create(dataset, longtail)
    assert host.counts == COUNTS
    return host, network, Normaliser(dataset.mean, dataset.std)


def configured(fields=(), **distill):
    given = {"loss_scale": 30.0, "learning_rate": 0.02, "ipc": 2, "augmentation": "none"}
    config = tiny_config(**given | distill)
    config.update_from_flattened_dict(dict(fields))
    return config


def created(name, fields=(), **distill):
    context = base.Context(*problem(), ("pixels", 1))
    return methods.create(name, configured(fields, **distill), context)


def samples(seed, sizes):
    """Rows of classes of these sizes, unit vectors in float64."""
    generator = np.random.default_rng(seed)
    rows = [generator.normal(0.5 * c, 1, (size, DIM)) for c, size in enumerate(sizes)]
    return [x / np.linalg.norm(x, axis=1, keepdims=True) for x in rows]


def ragged(rows):
    values = jnp.asarray(np.concatenate(rows), jnp.float32)
    sizes = tuple(map(len, rows))
    return Ragged(values, sizes, jnp.arange(len(rows), dtype=jnp.int32))


def squares(x, y):
    return ((x[:, None] - y[None]) ** 2).sum(-1)


def bandwidth(x, y):
    pairs = itertools.combinations(np.concatenate([x, y]), 2)
    return np.mean([((a - b) ** 2).sum() for a, b in pairs])


def m3d_by_hand(x, y, at):
    width = bandwidth(x, at)

    def mean(a, b):
        return sum(np.exp(-squares(a, b) / (width * 2.0**j)).mean() for j in range(-2, 3))

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def moments_by_hand(weight, x, y, at):
    means = ((x.mean(0) - y.mean(0)) ** 2).sum()
    covariances = (np.cov(x.T, bias=True) - np.cov(y.T, bias=True)) ** 2
    return means + weight * covariances.sum()


def sinkhorn(cost, entropy, iterations):
    kernel = np.exp(-cost / (entropy * cost.mean()))
    v = np.ones(cost.shape[1])
    for _ in range(iterations):
        u = 1 / len(cost) / (kernel @ v)
        v = 1 / cost.shape[1] / (kernel.T @ u)
    return u[:, None] * kernel * v


def wmdd_by_hand(x, y, at):
    for _ in range(3):
        sent = sinkhorn(squares(x, at), 0.1, 50)
        at = (sent.T @ x) / sent.sum(0)[:, None]
    return np.sqrt(((y - at) ** 2).sum(1).mean())


BY_HAND = {
    "dance": functools.partial(moments_by_hand, 0.0),
    "dsdm": functools.partial(moments_by_hand, 3.0),
    "iid": functools.partial(moments_by_hand, 2.0),
    "m3d": m3d_by_hand,
    "wmdd": wmdd_by_hand,
}
"""Distances of one class, from real and synthetic rows and the rows that constants are taken at."""
FIELDS = {
    "dsdm.covariance": 3.0,
    "dsdm.anchor_after": 1,
    "dsdm.anchor": 5.0,
    "iid.covariance": 2.0,
    "wmdd.entropy": 0.1,
    "wmdd.iterations": 50,
    "wmdd.rounds": 3,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_distance_and_its_gradient_are_those_written_out(name):
    method = created(name, FIELDS)
    real, synthetic = samples(0, SIZES), samples(1, OWN)
    memory = method.memory(jax.random.key(0), ())

    def found(values):
        side = ragged(synthetic).with_values(values)
        return method.compare(ragged(real), side, jax.random.key(1), memory)[0]

    value, gradient = jax.jit(jax.value_and_grad(found))(ragged(synthetic).values)

    def expected(step, direction):
        each = zip(real, synthetic, direction, strict=True)
        return sum(BY_HAND[name](x, y + step * d, y) for x, y, d in each)

    zero = [np.zeros_like(y) for y in synthetic]
    np.testing.assert_allclose(value, expected(0, zero), rtol=2e-4)
    for seed in (2, 3):
        direction = samples(seed, OWN)
        slope = (expected(1e-5, direction) - expected(-1e-5, direction)) / 2e-5
        np.testing.assert_allclose(
            np.vdot(np.float64(gradient), np.concatenate(direction)), slope, rtol=2e-3, atol=1e-4
        )


def padded(rows, size):
    """Rows of classes, filled up with others that do not count."""
    filled = [np.concatenate([x, np.full((size - len(x), DIM), 7.0)]) for x in rows]
    weights = np.concatenate([np.arange(size) < len(x) for x in rows]).astype(np.float32)
    side = ragged(filled)
    return Ragged(side.values, side.sizes, side.classes, jnp.asarray(weights))


@pytest.mark.parametrize("name", ["iid", "m3d", "wmdd"])
def test_rows_that_pad_a_class_do_not_count(name):
    method = created(name, FIELDS)
    real, synthetic = samples(0, SIZES), ragged(samples(1, OWN))
    memory = method.memory(jax.random.key(0), ())
    compare = jax.jit(lambda side: method.compare(side, synthetic, jax.random.key(1), memory)[0])
    values = [compare(side) for side in (ragged(real), padded(real, 30))]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-4)


def test_a_view_keeps_what_the_distance_needs():
    method = created("iid", FIELDS)
    real, synthetic = ragged(samples(0, SIZES)), ragged(samples(1, OWN))
    known = method._summarise(real, jax.random.key(1))
    memory = method.memory(jax.random.key(0), ())
    compare = jax.jit(lambda one: method.compare(one, synthetic, jax.random.key(1), memory)[0])
    values = [compare(one) for one in (real, known)]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-2)  # rows in half precision


def test_covariances_are_second_derivatives_of_the_log_characteristic_function():
    """IID, Theorem B.1: of the logarithm of the characteristic function at 0, negated."""
    step = 1e-3

    def covariance(x):
        def log_phi(t):
            return np.log(np.mean(np.exp(1j * x @ t)))

        basis = step * np.eye(DIM)
        return np.array(
            [
                [
                    sum(s * r * log_phi((s * a + r * b) / 2) for s in (1, -1) for r in (1, -1))
                    for a in basis
                ]
                for b in basis
            ]
        ).real / -(step**2)

    real, synthetic = samples(0, (30,)), samples(1, (4,))
    _, gap = jax.jit(moments.gaps)(ragged(real), ragged(synthetic))
    expected = ((covariance(real[0]) - covariance(synthetic[0])) ** 2).sum()
    np.testing.assert_allclose(gap[0], expected, rtol=1e-4)


def test_m3d_with_one_bandwidth_is_mmd2():
    real, synthetic = samples(0, (20,)), samples(1, (4,))
    found = jax.jit(m3d.multi_scale_mmd, static_argnums=2)(ragged(real), ragged(synthetic), (1.0,))
    kernel = RBF((2 / bandwidth(real[0], synthetic[0])) ** 0.5)
    expected = jax.jit(mmd2, static_argnums=2)(real[0], synthetic[0], kernel)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)


def test_m3d_of_one_image_and_its_copy_is_zero():
    both = ragged(samples(0, (1,)))
    of = jax.jit(jax.value_and_grad(lambda v: m3d.multi_scale_mmd(both, both.with_values(v))[0]))
    value, gradient = of(both.values)
    assert abs(value) < 1e-6 and np.isfinite(gradient).all()


def test_compactness_is_the_spread_of_the_trained_features():
    method = created("iid", {"iid.compactness": 0.3})
    rows = samples(0, (4, 1, 3))
    expected = 0.3 * sum(((x - x.mean(0)) ** 2).sum() for x in rows)
    np.testing.assert_allclose(method.compactness(ragged(rows)), expected, rtol=1e-5)


def test_the_anchor_is_a_moving_average_and_counts_when_its_time_has_come():
    method = created("dsdm", FIELDS | {"dsdm.anchor_after": 2})
    real, sides = ragged(samples(0, SIZES)), [samples(seed, OWN) for seed in (1, 2, 3)]
    memory, gaps = method.memory(jax.random.key(0), ()), []
    for side in sides:
        loss, parts = method.compare(real, ragged(side), jax.random.key(1), memory)
        base_loss = np.sum(parts["means"] + 3.0 * parts["covariances"])
        np.testing.assert_allclose(loss, base_loss + 5.0 * parts["from_anchor"].sum(), rtol=1e-5)
        gaps.append(parts["from_anchor"])
        memory = method.remember(memory, ragged(side))
    means = [np.array([x.mean(0) for x in side]) for side in sides]
    anchor = 0.99 * means[0] + 0.01 * means[1]
    assert not np.any(gaps[:2])
    np.testing.assert_allclose(gaps[2], ((means[2] - anchor) ** 2).sum(1), rtol=1e-4)
    np.testing.assert_allclose(memory.anchor, 0.99 * anchor + 0.01 * means[2], atol=1e-6)
    assert memory.steps == 3 and memory.seen.tolist() == [3, 3, 3]


def test_the_anchor_of_a_class_that_no_step_has_drawn_does_not_count():
    method = created("dsdm", FIELDS | {"dsdm.anchor_after": 0})
    (first, second) = (
        Ragged(side.values, side.sizes, jnp.array([own], jnp.int32))
        for own, side in enumerate(ragged(samples(seed, (3,))) for seed in (1, 2))
    )
    memory = method.remember(method.memory(jax.random.key(0), ()), first)
    for side, counts in ((first, False), (second, False)):
        parts = method.compare(side, side, jax.random.key(1), memory)[1]
        assert bool(parts["from_anchor"][0] > 1e-9) == counts
    moved = second.with_values(first.values + 0.1)
    assert method.compare(moved, moved, jax.random.key(1), memory)[1]["from_anchor"][0] == 0
    assert memory.seen.tolist() == [1, 0, 0]


def test_atoms_are_those_of_pot():
    ot = pytest.importorskip("ot", reason="the reference of barycentres is POT: pip install pot")
    generator = np.random.default_rng(0)
    rows = np.concatenate([generator.normal(c, 0.1, (6, 2)) for c in (-1, 0, 1)])
    start = generator.normal(0, 1, (3, 2))
    weights = np.full(len(rows), 1 / len(rows))
    atoms = np.full(3, 1 / 3)
    cost = squares(rows, start)
    sample = jnp.float32(rows), jnp.float32(weights)
    found = jax.jit(wmdd.plan, static_argnums=3)(jnp.float32(cost), sample[1], 0.1, 500)
    reference = ot.sinkhorn(weights, atoms, cost, 0.1 * cost.mean(), method="sinkhorn_log",
                            numItermax=20_000)  # fmt: skip
    np.testing.assert_allclose(found, reference, atol=1e-5)
    exact = ot.lp.free_support_barycenter([rows], [weights], start, b=atoms, numItermax=20)
    found = wmdd.barycentre(*sample, jnp.float32(start), 20, 0.01, 500)
    np.testing.assert_allclose(found, exact, atol=2e-2)


@pytest.mark.parametrize("name", sorted(set(BY_HAND) - {"dance"}))
def test_the_loss_of_a_batch_falls_and_the_images_move(name):
    config = configured({"dsdm.anchor_after": 6}, calibration=0.1)
    loop = make_loop(name, config, *problem(), form=("pixels", 1))
    state, given = read(loop)
    start, losses = state.stored["images"], []
    step = jax.jit(loop.method.step)
    for number in range(15):
        state, metrics = step(state, given._replace(number=jnp.int32(number)))
        losses.append(float(metrics.scalars["matching"]))
    images = state.stored["images"]
    assert images.min() >= 0 and images.max() <= 1 and np.mean(images != start) > 0.5
    assert np.isfinite(losses).all() and losses[-1] < 0.95 * losses[0]
    if name == "dsdm":
        assert state.memory.steps == 15
