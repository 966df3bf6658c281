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
from csdm_jax.distillation.methods.base import Inputs
from csdm_jax.distillation.methods.matching import cafe, m3d, moments, wmdd
from csdm_jax.metric.ragged import Ragged
from csdm_jax.training.trajectories import Trajectories
from tests.problem import (
    DIM,
    make_loop,
    read,
    small_network,
    tiny_config,
    tiny_dataset,
    tiny_pool,
)

SIZES, OWN = (1, 2, 30), (3, 3, 3)
COUNTS = (40, 6, 1)
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
quick = functools.partial(jax.jit, compiler_options=QUICK)
"""Compiled in half the time, for programs that run a few times."""


@functools.cache
def problem():
    """Classes of 40, 6 and 1 images, and a network."""
    dataset = tiny_dataset()
    longtail = build_longtail(dataset.train_labels, 3, imbalance_factor=40, rule="seeded", seed=0)
    host = HostData.create(dataset, longtail)
    assert host.counts == COUNTS
    return host, small_network(), Normaliser(dataset.mean, dataset.std)


def configured(fields=(), **distill):
    given = {"loss_scale": 30.0, "learning_rate": 0.02, "ipc": 2, "augmentation": "none"}
    config = tiny_config(**given | distill)
    config.update_from_flattened_dict(dict(fields))
    return config


def created(name, fields=(), stored_as=("pixels", 1), **distill):
    context = base.Context(*problem(), stored_as)
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

    value, gradient = quick(jax.value_and_grad(found))(ragged(synthetic).values)

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
    compare = quick(lambda side: method.compare(side, synthetic, jax.random.key(1), memory)[0])
    values = [compare(side) for side in (ragged(real), padded(real, 30))]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-4)


def test_a_view_keeps_what_the_distance_needs():
    method = created("iid", FIELDS)
    real, synthetic = ragged(samples(0, SIZES)), ragged(samples(1, OWN))
    known = method._summarise(real, jax.random.key(1))
    memory = method.memory(jax.random.key(0), ())
    compare = quick(lambda one: method.compare(one, synthetic, jax.random.key(1), memory)[0])
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
    _, gap = quick(moments.gaps)(ragged(real), ragged(synthetic))
    expected = ((covariance(real[0]) - covariance(synthetic[0])) ** 2).sum()
    np.testing.assert_allclose(gap[0], expected, rtol=1e-4)


def test_m3d_with_one_bandwidth_is_mmd2():
    real, synthetic = samples(0, (20,)), samples(1, (4,))
    found = quick(m3d.multi_scale_mmd, static_argnums=2)(ragged(real), ragged(synthetic), (1.0,))
    kernel = RBF((2 / bandwidth(real[0], synthetic[0])) ** 0.5)
    expected = quick(mmd2, static_argnums=2)(real[0], synthetic[0], kernel)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)


def test_m3d_of_one_image_and_its_copy_is_zero():
    both = ragged(samples(0, (1,)))
    of = quick(jax.value_and_grad(lambda v: m3d.multi_scale_mmd(both, both.with_values(v))[0]))
    value, gradient = of(both.values)
    assert abs(value) < 1e-6 and np.isfinite(gradient).all()


@pytest.mark.parametrize(("stored_as", "tiles"), [(("pixels", 1), 1), (("mosaic", 2), 4)])
def test_compactness_is_the_spread_of_the_trained_features(stored_as, tiles):
    method = created("iid", {"iid.compactness": 0.3}, stored_as)
    rows = samples(0, (4, 1, 3))
    expected = 0.3 * sum(((x - x.mean(0)) ** 2).sum() for x in rows) / tiles
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
    found = quick(wmdd.plan, static_argnums=3)(jnp.float32(cost), sample[1], 0.1, 500)
    reference = ot.sinkhorn(weights, atoms, cost, 0.1 * cost.mean(), method="sinkhorn_log",
                            numItermax=20_000)  # fmt: skip
    np.testing.assert_allclose(found, reference, atol=1e-5)
    exact = ot.lp.free_support_barycenter([rows], [weights], start, b=atoms, numItermax=20)
    found = wmdd.barycentre(*sample, jnp.float32(start), 20, 0.01, 500)
    np.testing.assert_allclose(found, exact, atol=2e-2)


@pytest.mark.parametrize("name", ["cafe", "datadam", "dsdm", "idm", "iid", "m3d", "tgdd", "wmdd"])
def test_the_loss_of_a_batch_falls_and_the_images_move(name):
    config = configured({"dsdm.anchor_after": 6, "cafe.discrimination": 0.1}, calibration=0.1)
    loop = make_loop(name, config, *problem(), form=("pixels", 1))
    state, given = read(loop)
    start, losses = state.stored["images"], []
    step = quick(loop.method.step)
    for number in range(15):
        state, metrics = step(state, given._replace(number=jnp.int32(number)))
        losses.append(float(metrics.scalars["matching"]))
    images = state.stored["images"]
    assert images.min() >= 0 and images.max() <= 1 and np.mean(images != start) > 0.5
    # At the start the images of a class of one are its copies: a distance of 0, in any units.
    assert np.isfinite(losses).all() and 0 < losses[-1] < 0.96 * losses[1]
    if name == "dsdm":
        assert state.memory.steps == 15


def test_extractors_are_blended_trained_or_fresh_and_features_unit_or_raw():
    _, network, _ = problem()
    pool = tiny_pool(network)
    trained = [at(pool.trained, which)["last"] for which in range(2)]
    keys = jax.random.split(jax.random.key(0), 6)
    found = {}
    for name in ("blended", "trained", "fresh"):
        method = created("dm", extractor=name)
        found[name] = [method.networks((pool,), (), key) for key in keys]
        for matched, calibrating in found[name]:
            which = int(np.array_equal(calibrating["last"], trained[1]))
            np.testing.assert_array_equal(calibrating["last"], trained[which])
            own = np.array_equal(matched["last"], calibrating["last"])
            assert own == (name == "trained")
    fresh = np.array([matched["last"] for matched, _ in found["fresh"]])
    known = np.concatenate([leaf["last"] for leaf in pool])
    assert len(np.unique([*fresh[:, 0, 0], *known[:, 0, 0]])) == 6 + 4
    rows = jnp.array([[3.0, 4.0]])
    for features, expected in (("unit", [[0.6, 0.8]]), ("raw", rows)):
        np.testing.assert_allclose(created("dm", features=features)._features(rows), expected)


def attention_by_hand(maps, power):
    rows = (np.abs(np.asarray(maps, np.float64)) ** power).sum(-1).reshape(len(maps), -1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("features", ["unit", "raw"])
def test_datadam_compares_attentions_and_last_features(features):
    host, network, normaliser = problem()
    method = created("datadam", {"datadam.last": 0.3, "datadam.power": 3}, features=features)
    params = network.init(jax.random.key(0))
    images = normaliser(jnp.asarray(host.take(np.arange(47))))
    found = method._context.network.apply(params, images)[1]
    _, last, (first, _) = network.apply_with_maps(params, images)
    last = np.asarray(last, np.float64)
    if features == "unit":
        last = last / np.linalg.norm(last, axis=1, keepdims=True)
    synthetic, real = slice(44, 47), slice(0, 40)
    expected = sum(
        weight * ((x[real].mean(0) - x[synthetic].mean(0)) ** 2).sum()
        for weight, x in ((1.0, attention_by_hand(first, 3)), (0.3, last))
    )
    x, y = (Ragged(found[s], (s.stop - s.start,)) for s in (real, synthetic))
    value, _ = method.compare(x, y, jax.random.key(0), ())
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert found.shape == (47, method._context.network.feature_dim) == (47, 64 + DIM)


def test_a_convnet_tells_what_its_blocks_give_before_they_pool():
    network = networks.create("convnet", num_classes=3, image_shape=(8, 8, 3), depth=2, width=4)
    params, images = (
        network.init(jax.random.key(0)),
        jax.random.normal(jax.random.key(1), (5, 8, 8, 3)),
    )
    logits, features, maps = quick(network.apply_with_maps)(params, images)
    assert [each.shape for each in maps] == [(5, 8, 8, 4), (5, 4, 4, 4)]
    pooled = np.asarray(maps[1]).reshape(5, 2, 2, 2, 2, 4).mean((2, 4)).reshape(5, -1)
    np.testing.assert_allclose(features, pooled, rtol=1e-5)
    for found, expected in zip((logits, features), network.apply(params, images), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_datadam_wants_a_network_that_tells_its_maps():
    with pytest.raises(ValueError, match=r"'vgg11' tells no maps.*choose convnet"):
        methods.kind("datadam").check(configured({"network.name": "vgg11"}))


def cafe_by_hand(real, synthetic, last, weight):
    """Gaps of all columns; the classifier reads the last ones."""
    centres = np.array([y.mean(0) for y in synthetic])
    value = sum(((x.mean(0) - y) ** 2).sum() for x, y in zip(real, centres, strict=True))
    for own, x in enumerate(real):
        logits = x[:, -last:] @ centres[:, -last:].T
        value += weight * np.mean(np.log(np.exp(logits).sum(1)) - logits[:, own])
    return value


@pytest.mark.parametrize("pad", [False, True])
def test_cafe_compares_means_and_tells_real_images_apart_by_them(pad):
    context = base.Context(*problem(), ("pixels", 1))
    method = cafe.CAFE(configured({"cafe.discrimination": 3.0}), context, last=6)
    real, synthetic = samples(0, SIZES), samples(1, OWN)
    side = padded(real, 30) if pad else ragged(real)
    # Which classes of the data these are says nothing of their place in the step.
    side = Ragged(side.values, side.sizes, jnp.array([2, 5, 7], jnp.int32), side.weights)

    def found(values):
        own = ragged(synthetic).with_values(values)
        return method.compare(side, own, jax.random.key(1), ())[0]

    value, gradient = quick(jax.value_and_grad(found))(ragged(synthetic).values)
    np.testing.assert_allclose(value, cafe_by_hand(real, synthetic, 6, 3.0), rtol=1e-4)
    for seed in (2, 3):
        direction = samples(seed, OWN)

        def moved(step, direction=direction):
            return [y + step * d for y, d in zip(synthetic, direction, strict=True)]

        ends = [cafe_by_hand(real, moved(step), 6, 3.0) for step in (1e-5, -1e-5)]
        slope = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(
            np.vdot(np.float64(gradient), np.concatenate(direction)), slope, rtol=2e-3
        )


@pytest.mark.parametrize("features", ["unit", "raw"])
def test_cafe_weighs_the_layers(features):
    host, network, normaliser = problem()
    method = created("cafe", features=features)
    params = network.init(jax.random.key(0))
    images = normaliser(jnp.asarray(host.take(np.arange(5))))
    found = method._context.network.apply(params, images)[1]
    _, last, maps = network.apply_with_maps(params, images)
    levels = [np.asarray(level, np.float64).reshape(5, -1) for level in (*maps, last)]
    if features == "unit":
        levels = [level / np.linalg.norm(level, axis=1, keepdims=True) for level in levels]
    distance = sum(
        weight * ((level[0] - level[1]) ** 2).sum()
        for weight, level in zip((0.1, 1.0, 1.0), levels, strict=True)
    )
    np.testing.assert_allclose(((found[0] - found[1]) ** 2).sum(), distance, rtol=1e-4)
    np.testing.assert_allclose(found[:, -DIM:], levels[-1], rtol=1e-4, atol=1e-6)
    assert method._last == DIM and found.shape[1] == method._context.network.feature_dim


CYCLE = {"cafe.updates": 2, "cafe.train_steps": 3, "cafe.learning_rate": 0.1}


@pytest.mark.parametrize("batch", [256, 4])
def test_the_network_of_cafe_is_trained_on_the_images_and_makes_way(batch):
    _, network, normaliser = problem()
    loop, state, _, (_, train) = stepped("cafe", CYCLE | {"cafe.batch": batch})
    assert loop.method.phases[1].times == 3
    start = np.random.default_rng(0).uniform(size=(6, 8, 8, 3)).astype(np.float32)  # no copies
    state = state._replace(stored={"images": jnp.array(start)})
    images, labels = normaliser(jnp.array(start)), np.repeat(np.arange(3), 2)

    @quick
    def gradients(weights):
        def loss(weights, row):
            logits = network.apply(weights, images[row][None])[0][0]
            return -jax.nn.log_softmax(logits)[jnp.asarray(labels)[row]]

        return jax.vmap(jax.grad(loss), (None, 0))(weights, jnp.arange(6))

    for number in range(7):
        before, key = state.memory, jax.random.fold_in(jax.random.key(7), number)
        state, metrics = train(state, Inputs((), None, key, jnp.int32(number)))
        each = jax.device_get(gradients(before))
        # Which images a batch has is unknown here: those of all that could be, one fits.
        fitting = [
            some
            for some in itertools.combinations(range(6), min(6, batch))
            if gap(before, state.memory, jax.tree.map(lambda g, s=some: g[list(s)].mean(0), each))
            < 1e-5
        ]
        assert len(fitting) == (number != 5)  # then a fresh one
        assert np.isfinite(metrics.loss)
    np.testing.assert_array_equal(state.stored["images"], start)


def gap(before, after, gradient):
    """How far weights are from those after a step of rate 0.1."""
    leaves = map(jax.tree.leaves, (before, after, gradient))
    return max(np.abs(w - 0.1 * g - a).max() for w, a, g in zip(*leaves, strict=True))


def test_cafe_matches_its_own_network_and_calibrates_by_an_extractor():
    method = created("cafe")
    pool = tiny_pool(problem()[1])
    own = method.memory(jax.random.key(3), (pool,))
    matched, trained = method.networks((pool,), own, jax.random.key(1))
    assert matched is own
    assert any(np.array_equal(trained["last"], at(pool.trained, i)["last"]) for i in range(2))


def sampled_by_hand(layers, noise):
    rows = np.float64(noise)
    for number, layer in enumerate(layers):
        rows = rows @ np.float64(layer.kernel)
        rows = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
        rows = rows * np.float64(layer.scale) + np.float64(layer.shift)
        rows = np.tanh(rows) if number == 2 else np.where(rows > 0, rows, 0.2 * rows)
    return rows


def ncfm_by_hand(layers, noise, real, synthetic):
    t = sampled_by_hand(layers, noise)
    phi = [[np.exp(1j * x @ t.T).mean(0) for x in side] for side in (real, synthetic)]
    gaps = (np.abs(a - b) for a, b in zip(*phi, strict=True))
    return sum(gap.mean() for gap in gaps) / np.sqrt(2)


def test_the_sampler_gives_the_frequencies_and_its_gradient_is_that_written_out():
    method = created("ncfm_sampler", {"sdd.num_frequencies": 24})
    layers, key = method.memory(jax.random.key(0), ()), jax.random.key(1)
    noise = jax.random.normal(key, (24, DIM))
    real, synthetic = samples(0, SIZES), samples(1, OWN)

    def found(layers):
        return method.compare(ragged(real), ragged(synthetic), key, layers)[0]

    value, gradient = quick(jax.value_and_grad(found))(layers)
    np.testing.assert_allclose(value, ncfm_by_hand(layers, noise, real, synthetic), rtol=1e-4)
    generator = np.random.default_rng(5)
    along = jax.tree.map(lambda leaf: generator.normal(0, 1, leaf.shape), layers)

    def moved(step):
        at = jax.tree.map(lambda leaf, d: np.float64(leaf) + step * d, layers, along)
        return ncfm_by_hand(at, noise, real, synthetic)

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    product = sum(map(np.vdot, jax.tree.leaves(gradient), jax.tree.leaves(along)))
    np.testing.assert_allclose(product, slope, rtol=5e-3)


def stepped(name, fields=(), **distill):
    """A loop, its state before the first round, what the first phase reads, and both steps."""
    loop = make_loop(name, configured(fields, **distill), *problem(), form=("pixels", 1))
    return (
        loop,
        *read(loop),
        [quick(phase.step) for phase in loop.method.phases],
    )


def test_the_sampler_ascends_what_the_images_descend():
    _, state, given, (descend, ascend) = stepped("ncfm_sampler", learning_rate=1e-6,
        fields={"ncfm_sampler.learning_rate": 1e-3})  # fmt: skip
    start = state.stored["images"]
    values = []
    for _ in range(8):
        state, metrics = ascend(state, given)
        values.append(float(metrics.scalars["ascended"]))
    np.testing.assert_array_equal(state.stored["images"], start)
    assert values == sorted(values) and values[-1] > 1.01 * values[0]
    after, metrics = descend(state, given)
    # The same batch, extractor and noise, at images that have not moved yet.
    assert 30 * metrics.scalars["matching"] > values[-1]
    assert np.mean(after.stored["images"] != start) > 0.5
    jax.tree.map(np.testing.assert_array_equal, after.memory, state.memory)


def test_tgdd_matches_on_a_snapshot_and_calibrates_by_a_later_one():
    method = created("tgdd", {"tgdd.window": 3})
    paths = Trajectories({"weight": jnp.arange(20.0).reshape(2, 10)})
    draw = quick(jax.vmap(lambda key: method.networks((paths,), (), key)))
    first, later = (one["weight"] for one in draw(jax.random.split(jax.random.key(0), 400)))
    np.testing.assert_array_equal(first // 10, later // 10)  # of one training
    assert set(np.unique(first)) == set(range(20)) and set(np.unique(later - first)) == {0, 1, 2}


@functools.partial(quick, static_argnums=0)
def trained_by_hand(network, weights, trace, images, labels):
    """Weights after a step of rate 0.1, momentum 0.9 and weight decay 5e-4."""

    def loss(weights):
        logits = network.apply(weights, images)[0]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels])

    leaves = map(jax.tree.leaves, (jax.grad(loss)(weights), weights))
    return [w - 0.1 * (g + 5e-4 * w + 0.9 * t) for g, w, t in zip(*leaves, trace, strict=True)]


QUEUE = {"idm.queue": 4, "idm.first": 3, "idm.interval": 2, "idm.trained": 2, "idm.train_steps": 3,
         "idm.batch": 16, "idm.learning_rate": 0.1}  # fmt: skip


def test_networks_of_the_queue_are_trained_and_make_way():
    host, network, normaliser = problem()
    loop, state, _, (_, train) = stepped("idm", QUEUE)
    phase, turns = loop.method.phases[1], {}
    assert phase.times == 6 and state.queue.pushed == 3
    for number in range(13):
        key = jax.random.fold_in(jax.random.key(7), number)
        rows = phase.draw(key)
        pixels = jnp.asarray(host.take(np.asarray(rows.values)))
        before, given = (
            jax.device_get(state.queue),
            Inputs((), rows.with_values(pixels), key, jnp.int32(number)),
        )
        state, _ = train(state, given)
        after = jax.device_get(state.queue)
        fresh = {int(before.pushed) % 4} if number % 12 == 0 else set()
        assert after.pushed == 4 + number // 12
        changed = {place for place in range(4) if differ(before.weights, after.weights, place)}
        (place,) = changed - fresh or fresh
        turns.setdefault(number // 3, set()).add(place)
        if not fresh:  # one network alone: its step written out
            labels = host.labels[np.asarray(rows.values)]
            old, trace = at(before.weights, place), jax.tree.leaves(at(before.moments, place))
            expected = trained_by_hand(network, old, trace, normaliser(pixels), labels)
            close(jax.tree.leaves(at(after.weights, place)), expected)
    assert all(len(places) == 1 for places in turns.values())  # one turn, one network
    assert np.all(after.accuracies <= 1) and np.any(after.accuracies > 0)


def at(tree, place):
    return jax.tree.map(lambda leaf: leaf[place], tree)


def differ(one, other, place):
    both = jax.tree.leaves(at(one, place)), jax.tree.leaves(at(other, place))
    return any((a != b).any() for a, b in zip(*both, strict=True))


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_an_idm_step_uses_one_network_of_the_queue_for_both_and_trusts_it_as_far_as_it_is_right():
    method = created("idm", QUEUE)
    queue = method.schedule.begin(jax.random.key(0))
    queue = queue._replace(accuracies=jnp.array([0.1, 0.4, 0.7, 1]))
    drawn = set()
    for number in range(20):
        key = jax.random.key(number)
        matched, trained = method.networks((), (), key, queue)
        trust = float(method.schedule.trust(queue, key))
        place = [0.1, 0.4, 0.7].index(round(trust, 3))  # the fourth is not in use yet
        own = jax.tree.map(lambda leaf, place=place: leaf[place], queue.weights)
        jax.tree.map(np.testing.assert_array_equal, matched, own)
        jax.tree.map(np.testing.assert_array_equal, trained, own)
        drawn.add(place)
    assert drawn == {0, 1, 2}
