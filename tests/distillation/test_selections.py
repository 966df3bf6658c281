"""Coresets against greedy algorithms written out, on few points, many, and classes of one image."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from csdm_jax.data.host import HostData
from csdm_jax.distillation import features, methods
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods.selection import forgetting, graph_cut, k_center
from csdm_jax.distillation.starts import base as starts_base
from csdm_jax.distillation.starts import herding
from csdm_jax.experiment import config as configuration
from csdm_jax.training.trajectories import Trajectories
from tests.problem import stacked, supplied, tiny_pool

CORESETS = ("forgetting", "graph_cut", "herding", "k_center", "kmeans")
SIZES = (1, 2, 9)


@pytest.fixture
def points():
    return np.random.default_rng(3).normal(1.0, 1.0, (10, 4))


@pytest.fixture(scope="module")
def context(tiny):
    """Classes of one, two and nine images, stored as mosaics."""
    rows = np.arange(sum(SIZES))
    host = HostData(tiny.dataset.train_images, rows * 8, SIZES)
    return base.Context(host, tiny.network, tiny.normaliser, ("mosaic", 2))


def greedy(count, n, value):
    """Of all images that are left the one with the least value, again and again."""
    chosen = []
    for _ in range(count):
        left = [i for i in range(n) if i not in chosen]
        chosen.append(min(left, key=lambda i: value(chosen, i)))
    return chosen


@pytest.mark.parametrize("count", [1, 4, 10])
def test_herding_keeps_the_running_mean_next_to_the_mean(points, count):
    def distance(chosen, i):
        return np.linalg.norm(points.mean(0) - points[[*chosen, i]].mean(0))

    assert herding.herding(points, count).tolist() == greedy(count, 10, distance)


def test_a_herded_half_has_nearly_the_mean_of_the_class(points):
    """Taking the farthest, as a widely copied code does, ends among the worst of all halves."""
    gaps = sorted(
        np.linalg.norm(points.mean(0) - points[list(half)].mean(0))
        for half in itertools.combinations(range(10), 5)
    )
    own = np.linalg.norm(points.mean(0) - points[herding.herding(points, 5)].mean(0))
    assert own < gaps[len(gaps) // 5]


@pytest.mark.parametrize("count", [1, 4, 10])
def test_k_center_takes_the_farthest_from_all_that_are_chosen(points, count):
    def nearness(chosen, i):
        return -min(np.linalg.norm(points[i] - points[j]) for j in chosen) if chosen else i != 7

    assert k_center.k_center(points, count, 7).tolist() == greedy(count, 10, nearness)


@pytest.mark.parametrize("count", [1, 4, 10])
@pytest.mark.parametrize("networks", [1, 3])
def test_graph_cut_is_greedy_on_gradients_written_out(networks, count):
    generator, label = np.random.default_rng(5), 2
    said = [tuple(generator.normal(size=(10, n)) for n in (3, 4)) for _ in range(networks)]
    likeness = np.zeros((10, 10))
    for logits, embedding in said:
        residual = softmax(logits, axis=1) - np.eye(3)[label]
        weights = residual[:, :, None] * embedding[:, None]
        gradient = np.concatenate([residual, weights.reshape(10, -1)], axis=1)
        gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
        likeness += (0.5 + 0.5 * gradient @ gradient.T) / networks

    def loss(chosen, i):
        return 2 * likeness[i, chosen].sum() - likeness[i].sum()

    factors = [graph_cut.factors(*one, label) for one in said]
    found = graph_cut.graph_cut(factors, count)
    assert found.tolist() == greedy(count, 10, loss)


def test_graph_cut_takes_an_image_without_a_residual_for_like_none():
    logits = np.array([[0.0, 500.0], [2.0, 0.0], [0.0, 0.0]], np.float32)
    residuals, embedding = graph_cut.factors(logits, np.ones((3, 2), np.float32), 1)
    assert residuals[0].tolist() == [0.0, 0.0] and np.isfinite(embedding).all()
    np.testing.assert_allclose(np.linalg.norm(residuals[1:], axis=1), 1, rtol=1e-6)
    assert sorted(graph_cut.graph_cut([(residuals, embedding)], 3)) == [0, 1, 2]


def test_forgetting_counts_the_snapshots_at_which_an_image_turns_wrong():
    history = ["101010", "111111", "000000", "011100", "110110"]
    right = np.array([[sign == "1" for sign in one] for one in history]).T
    counts = forgetting.forgotten(right)
    assert counts.tolist() == [3, 0, 0, 1, 2]
    assert forgetting.forgotten(np.stack([right, right])).sum(0).tolist() == [6, 0, 0, 2, 4]
    assert forgetting.most(counts, 4).tolist() == [0, 4, 3, 1]  # of equals the first


def test_forgetting_reads_every_network_at_every_snapshot_but_the_first(context):
    weights = [stacked(context.network, range(3 * k, 3 * k + 3)) for k in range(2)]
    paths = Trajectories(jax.tree.map(lambda *leaf: jnp.stack(leaf), *weights))
    images = context.normaliser(jnp.asarray(context.host.take(np.arange(12))))
    found = forgetting.right(context, paths)
    assert found.shape == (2, 2, 12) and 0 < found.mean() < 1
    for network, snapshot in itertools.product(range(2), range(2)):
        params = context.network.init(jax.random.key(3 * network + snapshot + 1))
        expected = (
            jax.jit(context.network.apply)(params, images)[0].argmax(1) == context.host.labels
        )
        np.testing.assert_array_equal(found[network, snapshot], expected)


def large(count):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(count, 16))
    return features, generator.normal(size=(count, 10))


@pytest.mark.parametrize("n", [1, 2, 5000])
def test_coresets_of_classes_of_one_two_and_many_images(n):
    embedding, logits = large(n)
    count = min(n, 40)
    found = {
        "herding": herding.herding(embedding, count),
        "k_center": k_center.k_center(embedding, count, n - 1),
        "graph_cut": graph_cut.graph_cut([graph_cut.factors(logits, embedding, 3)], count),
        "forgetting": forgetting.most(np.arange(n) % 7, count),
    }
    for name, rows in found.items():
        assert rows.shape == (count,) and len(set(rows.tolist())) == count, name
        assert rows.min() >= 0 and rows.max() < n, name
    if n == 5000:
        gap, typical = (np.linalg.norm(embedding[rows].mean(0) - embedding.mean(0))
                        for rows in (found["herding"], np.arange(count)))  # fmt: skip
        assert gap < 0.1 * typical


@pytest.mark.parametrize("points", [np.ones((4, 3)), np.zeros((4, 3))])
def test_equal_images_are_chosen_once_each(points):
    for rows in (
        herding.herding(points, 4),
        k_center.k_center(points, 4, 2),
        graph_cut.graph_cut([graph_cut.factors(points, points, 0)], 4),
    ):
        assert sorted(rows.tolist()) == [0, 1, 2, 3]


def test_a_small_class_is_used_again_in_the_order_of_choice():
    rows = starts_base.of_every_class((2, 5), 5, lambda label, own, count: np.arange(count)[::-1])
    assert rows.tolist() == [1, 0, 1, 0, 1, 6, 5, 4, 3, 2]


def said(context, pool, images):
    """Logits and features of normalised images under each trained extractor."""
    networks = [jax.tree.map(lambda leaf, k=k: leaf[k], pool.trained) for k in range(pool.size)]
    return [jax.jit(context.network.apply)(params, images) for params in networks]


def chosen_rows(context, made):
    """The real images that are stored, one in each tile."""
    tiles = np.asarray(context.parameterisation.decode(made.stored))
    real = starts_base.real_images(context, np.repeat(np.arange(len(context.host)), 4))
    single = context.parameterisation.decode(context.parameterisation.encode(real))[::4]
    gaps = np.abs(tiles[:, None] - np.asarray(single)[None]).max((2, 3, 4))
    assert gaps.min(1).max() < 1e-6
    return gaps.argmin(1)


@pytest.mark.parametrize("name", CORESETS)
def test_a_mosaic_holds_as_many_chosen_images_as_it_has_tiles(name, context, key):
    config = configuration.default_config()
    config.distill.ipc = 2
    method = methods.create(name, config, context)
    made = method.result(method.init(key, supplied(context.network, name)))
    rows = chosen_rows(context, made).reshape(3, 8)
    assert set(rows[0]) == {0}
    assert sorted(rows[1].tolist()) == [1] * 4 + [2] * 4
    assert len(set(rows[2].tolist())) == 8 and rows[2].min() >= 3
    np.testing.assert_array_equal(made.labels, [0, 0, 1, 1, 2, 2])


def test_methods_choose_by_the_mean_features_of_the_pool(context, key):
    pool = tiny_pool(context.network)
    images = context.normaliser(jnp.asarray(context.host.take(np.arange(12))))
    every = [
        jax.jit(context.network.apply)(
            jax.tree.map(lambda leaf, k=k: leaf[k], pool.trained), images
        )[1]
        for k in range(2)
    ]
    mean = np.mean([np.asarray(one, np.float64) for one in every], axis=0)
    np.testing.assert_allclose(features.mean_features(context, pool), mean, rtol=1e-4, atol=1e-5)
    mean = mean[3:]

    def distance(chosen, i):
        return np.linalg.norm(mean.mean(0) - mean[[*chosen, i]].mean(0))

    rows = 3 + np.array(greedy(4, 9, distance))
    found = herding.images(context, 4, key, pool)[8:]
    np.testing.assert_array_equal(found, starts_base.real_images(context, rows))


def test_graph_cut_sees_each_class_under_every_extractor(context, key):
    pool = tiny_pool(context.network)
    images = context.normaliser(jnp.asarray(context.host.take(np.arange(12))))
    factors = [
        graph_cut.factors(*(np.asarray(one)[3:] for one in outputs), 2)
        for outputs in said(context, pool, images)
    ]
    expected = starts_base.real_images(context, 3 + graph_cut.graph_cut(factors, 4))
    np.testing.assert_array_equal(graph_cut.images(context, 4, key, pool)[8:], expected)


@pytest.mark.parametrize("count", [1, 7])
def test_outputs_in_chunks_are_those_of_all_images_at_once(context, count, monkeypatch):
    params = context.network.init(jax.random.key(1))
    images = context.normaliser(jnp.asarray(context.host.take(np.arange(count))))
    monkeypatch.setattr(features, "CHUNK", 4)
    found = features.outputs(context, params, context.host.take, count)
    for one, expected in zip(found, jax.jit(context.network.apply)(params, images), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-5)


def test_rded_labels_are_the_mean_logits_at_the_tiles(context, key):
    config = configuration.default_config()
    config.distill.ipc = 2
    method = methods.create("rded", config, context)
    (pool,) = given = supplied(context.network, "rded")
    made = method.result(method.init(key, given))
    assert made.label_kind == "logits" and made.labels.shape == (6, 3)
    tiles = context.normaliser(context.parameterisation.decode(made.stored))
    every = [
        jax.jit(context.network.apply)(
            jax.tree.map(lambda leaf, k=k: leaf[k], pool.trained), tiles
        )[0]
        for k in range(2)
    ]
    expected = np.mean(every, axis=0).reshape(6, 4, 3).mean(1)
    np.testing.assert_allclose(made.labels, expected, rtol=1e-4, atol=1e-5)
    images, targets = made.training_data()
    assert images.shape == (24, 8, 8, 3)
    np.testing.assert_allclose(targets[::4], softmax(expected, axis=1), rtol=1e-4, atol=1e-5)
