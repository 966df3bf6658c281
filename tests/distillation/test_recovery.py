"""Recovery, RLDD and G-VBSM: their statistics and losses against NumPy."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from csdm_jax import networks
from csdm_jax.distillation import methods
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods.recovery import gvbsm, statistics
from csdm_jax.distillation.methods.recovery.recovery import Sight
from csdm_jax.distillation.methods.recovery.statistics import Spread
from tests.distillation.test_families import run as finished
from tests.distillation.test_rivals import configured, problem, quick
from tests.problem import make_loop, rounds

COUNTS = (9, 2, 1)


@functools.cache
def setting():
    """Classes of nine, two and one images, and a network with batch norm."""
    host, _, normaliser = problem()
    starts = np.cumsum((0, *host.counts[:-1]))
    rows = np.concatenate([s + np.arange(n) for s, n in zip(starts, COUNTS, strict=True)])
    host = dataclasses.replace(host, indices=host.indices[rows], counts=COUNTS)
    network = networks.create(
        "convnet_batch_norm", num_classes=3, image_shape=(8, 8, 3), depth=2, width=3
    )
    return host, network, normaliser


def made(name, **distill):
    config = configured(**{"learning_rate": 0.02, "augmentation": "none"} | distill)
    return methods.create(name, config, base.Context(*setting(), ("pixels", 1)))


def convolutions(params, images):
    """Inputs and outputs of each convolution, in float64."""
    return [tuple(map(np.float64, layer)) for layer in _seen(params, images)]


@quick
def _seen(params, images):
    _, network, normaliser = setting()
    return network.apply_with_convolutions(params, normaliser(images))[2]


def by_hand(maps):
    """Mean and variance of each channel over all images and pixels."""
    return maps.mean((0, 1, 2)), maps.var((0, 1, 2))


def patches_by_hand(maps):
    _, height, width, _ = maps.shape
    side = min(4, height)
    blocks = [
        maps[:, i : i + side, j : j + side]
        for i in range(0, height, side)
        for j in range(0, width, side)
    ]
    return np.array([b.mean() for b in blocks]), np.array([b.var() for b in blocks])


def test_pooled_statistics_are_those_of_all_images_together():
    maps = np.random.default_rng(0).normal(1, 2, (5, 9, 8, 3))
    pairs = ((statistics.of_channels, by_hand), (statistics.of_patches, patches_by_hand))
    for found, expected in pairs:
        cut = maps[:, :8] if found is statistics.of_patches else maps
        own = found(jnp.float32(maps))
        np.testing.assert_allclose(statistics.pooled(own), expected(cut), rtol=1e-5)
        groups = [statistics.pooled(jax.tree.map(lambda x, s=s: x[s], own)) for s in
                  (slice(0, 4), slice(4, 5))]  # fmt: skip
        both = jax.tree.map(lambda *x: np.stack(x), *groups)
        np.testing.assert_allclose(statistics.pooled(both, [4, 1]), expected(cut), rtol=1e-5)


def test_a_network_is_recalibrated_by_the_mean_over_classes_and_matched_as_it_then_is():
    method, params = made("rldd"), setting()[1].init(jax.random.key(0))
    edges = np.cumsum((0, *COUNTS))

    def expected(params):
        each = []
        for _, given in convolutions(params, setting()[0].take(np.arange(edges[-1]))):
            own = [by_hand(given[a:b]) for a, b in itertools.pairwise(edges)]
            each.append(tuple(np.stack(x) for x in zip(*own, strict=True)))
        return each

    fair, real = method.observe(params)
    for place, (mean, variance) in enumerate(expected(params)):
        own = fair[f"BatchNorm_{place}"]
        np.testing.assert_allclose(own["mean"], mean.mean(0), atol=1e-5)
        np.testing.assert_allclose(own["variance"], variance.mean(0), atol=1e-5)
        assert np.all(variance[2] > 0)  # of one image, over its pixels
    for own, (mean, variance) in zip(real, expected(fair), strict=True):
        np.testing.assert_allclose(own.mean, mean, atol=1e-5)
        np.testing.assert_allclose(own.variance, variance, atol=1e-5)


def test_distances_and_their_gradient_are_those_written_out():
    generator = np.random.default_rng(0)
    own, real = (generator.normal(0, 1, (2, 4, 3)) for _ in range(2))

    def expected(own):
        pooled = own[0].mean(0), own[1].mean(0) + own[0].var(0)
        wanted = real[0, 0], real[1, 0]
        return sum(np.sqrt(((a - b) ** 2).sum()) for a, b in zip(pooled, wanted, strict=True))

    def found(own):
        pooled = statistics.pooled(Spread(*own))
        return statistics.distance(pooled, Spread(*jnp.float32(real[:, 0])))

    value, gradient = quick(jax.value_and_grad(found))(jnp.float32(own))
    np.testing.assert_allclose(value, expected(own), rtol=1e-5)
    direction = generator.normal(size=own.shape)
    slope = (expected(own + 1e-5 * direction) - expected(own - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=1e-4)
    same = Spread(*jnp.float32(real))
    assert not np.any(jax.grad(lambda x: statistics.distance(x, same).sum())(same).mean)


def kl(p, q):
    return (p * np.log(p / q)).sum()


def softmax(x):
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def test_diversity_is_that_of_the_eigenvalues_and_its_gradient_keeps_the_target():
    x = np.random.default_rng(0).normal(0, 0.3, (2, 4, 2, 3))

    def eigenvalues(x):
        return [np.linalg.eigvalsh(own.reshape(4, -1) @ own.reshape(4, -1).T) for own in x]

    targets = [softmax(own / 4) for own in eigenvalues(x)]

    def expected(x):
        pairs = zip(targets, eigenvalues(x), strict=True)
        return sum(kl(target, softmax(own)) for target, own in pairs)

    value, gradient = quick(jax.value_and_grad(gvbsm.diversity))(jnp.float32(x))
    np.testing.assert_allclose(value, expected(x), rtol=1e-4)
    direction = np.random.default_rng(1).normal(size=x.shape)
    slope = (expected(x + 1e-5 * direction) - expected(x - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=1e-3)
    one = gvbsm.diversity(jnp.float32(x[:, :1]))  # a class of one image has nothing to keep apart
    np.testing.assert_allclose(one, 0, atol=1e-6)


@functools.cache
def loop_of(name):
    fields = {"gvbsm.drop": 0.0, "gvbsm.statistics": 0.5, "rldd.statistics": 0.5}
    config = configured(fields, learning_rate=0.02, augmentation="none")
    return make_loop(name, config, *setting(), form=("pixels", 1))


@functools.cache
def run(name):
    """Nine rounds, and the state before the first."""
    return loop_of(name).begin(jax.random.key(0))[0], *rounds(loop_of(name), 9)


def rldd_by_hand(params, images, real):
    layers, total = convolutions(params, images), 0.0
    for (_, given), own in zip(layers, real, strict=True):
        for c in range(3):
            wanted = own.mean[c], own.variance[c]
            found = by_hand(given[2 * c : 2 * c + 2])
            total += sum(np.linalg.norm(a - b) for a, b in zip(found, wanted, strict=True)) / 3
    return total


def gvbsm_by_hand(params, images, real):
    total = 0.0
    whole = convolutions(params, setting()[0].take(np.arange(sum(COUNTS))))
    for place, (layer, reference) in enumerate(
        zip(convolutions(params, images), whole, strict=True)
    ):
        first = 10 if place == 0 else 1
        for weight, own, all_, kind in (
            (1, layer[1], reference[1], by_hand),
            (first, layer[0], reference[0], by_hand),
            (first, layer[0], reference[0], patches_by_hand),
        ):
            gaps = [a - b for a, b in zip(kind(own), kind(all_), strict=True)]
            total += weight * sum(map(np.linalg.norm, gaps))
    return total


@pytest.mark.parametrize(("name", "hand"), [("rldd", rldd_by_hand), ("gvbsm", gvbsm_by_hand)])
def test_the_first_step_reports_the_loss_written_out(name, hand):
    start, _, metrics = run(name)
    params, real = jax.tree.map(lambda leaf: leaf[0], start.observed)
    expected = hand(params, start.stored["images"], real)
    np.testing.assert_allclose(metrics.scalars["statistics"][0], expected, rtol=1e-3)
    scalars = metrics.scalars
    whole = scalars["cross_entropy"] + 0.5 * scalars["statistics"] + scalars.get("regulariser", 0)
    np.testing.assert_allclose(metrics.loss, whole, rtol=1e-5)


@pytest.mark.parametrize("name", ["rldd", "gvbsm"])
def test_images_move_the_loss_falls_and_the_networks_label(name):
    start, state, metrics = run(name)
    images = state.stored["images"]
    assert images.min() >= 0 and images.max() <= 1
    assert np.mean(images != start.stored["images"]) > 0.5
    # The two networks take turns: steps 0 and 8 see the first.
    assert metrics.loss[8] < metrics.loss[0] and metrics.loss[7] < metrics.loss[1]
    result = loop_of(name).method.result(state)
    _, network, normaliser = setting()
    logits = [
        network.apply(jax.tree.map(lambda x, k=k: x[k], state.observed.networks),
                      normaliser(images))[0] for k in range(2)
    ]  # fmt: skip
    assert result.logits
    np.testing.assert_allclose(result.labels, np.mean(logits, axis=0), atol=1e-5)


def test_the_average_begins_with_its_first_part_and_keeps_a_share_of_the_older_ones():
    _, state, _ = run("gvbsm")
    assert state.memory.steps.tolist() == [5, 4]
    method = made("gvbsm")
    first, second = (
        [Spread(jnp.full((2, 3), value), jnp.ones((2, 3)))] * 3 for value in (1.0, 2.0)
    )
    observed = state.observed._replace(real=[Spread(jnp.zeros((2, 3)), jnp.zeros((2, 3)))] * 3)
    memory = method.memory(observed)
    real = [jax.tree.map(lambda x: x[0], own) for own in observed.real]
    gap = quick(method.gap)
    for own in (first, second):
        sight = Sight(own, real, jnp.arange(1), jnp.int32(1), jax.random.key(0))
        _, memory = gap(sight, memory)
    np.testing.assert_allclose(memory.own[0].mean, [[0] * 3, [0.8 * 1 + 0.2 * 2] * 3], rtol=1e-6)


def test_the_newest_part_of_the_average_has_its_whole_gradient():
    value, slope = jax.value_and_grad(lambda new: gvbsm._moved(0.8, 2.0, new))(3.0)
    np.testing.assert_allclose((value, slope), (0.8 * 2 + 0.2 * 3, 1.0), rtol=1e-6)


def test_a_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    loop = loop_of("gvbsm")
    whole = finished(loop, tmp_path / "whole")
    monkeypatch.setattr(loop.method, "steps", 2)
    assert finished(loop, tmp_path / "part") != whole
    monkeypatch.setattr(loop.method, "steps", 4)
    assert finished(loop, tmp_path / "part") == whole
