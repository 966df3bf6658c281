"""What chooses the first images: k-means, realism, and which methods can have which start."""

import dataclasses
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.cluster import KMeans

from csdm_jax.data.host import HostData
from csdm_jax.distillation import methods, starts
from csdm_jax.distillation.methods import base
from csdm_jax.distillation.methods.matching import matching, schedules
from csdm_jax.distillation.needs import Pool, Untrained
from csdm_jax.distillation.starts import kmeans, realism
from csdm_jax.experiment.experiment import Experiment
from tests.experiment.test_families import small
from tests.problem import tiny_loop, tiny_pool

POOLED = [name for name, start in starts.STARTS.items() if start.reads_pool]
SIZES = (1, 2, 9)


@pytest.fixture(scope="module")
def context(tiny):
    """Classes of one, two and nine images."""
    host = HostData(tiny.dataset.train_images, np.arange(sum(SIZES)) * 8, SIZES)
    return base.Context(host, tiny.network, tiny.normaliser, ("pixels", 1))


@pytest.fixture(scope="module")
def pool(tiny):
    return tiny_pool(tiny.network)


def test_representatives_belong_to_the_clusters_of_least_squares():
    generator = np.random.default_rng(4)
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    points = centres[[0, 0, 0, 0, 1, 1, 1, 2]] + generator.normal(0, 0.5, (8, 2))

    def inertia(labels):
        return sum(
            np.sum((points[labels == k] - points[labels == k].mean(0)) ** 2) for k in set(labels)
        )

    every = map(np.array, itertools.product(range(3), repeat=8))
    best = min((labels for labels in every if len(set(labels)) == 3), key=inertia)
    assert inertia(best) == pytest.approx(KMeans(3, n_init=1, random_state=1).fit(points).inertia_)
    nearest = {
        min(
            np.flatnonzero(best == k),
            key=lambda i, k=k: np.linalg.norm(points[i] - points[best == k].mean(0)),
        )
        for k in range(3)
    }
    assert set(kmeans.representatives(points, 3, 1).tolist()) == nearest


@pytest.mark.parametrize("n", [1, 2, 5000])
def test_representatives_of_classes_of_one_two_and_many_images(n):
    points = np.random.default_rng(0).normal(size=(n, 4))
    count = min(n, 20)
    rows = kmeans.representatives(points, count, 0)
    assert len(set(rows.tolist())) == count and rows.max() < n
    if n == 5000:

        def scatter(some):
            gaps = ((points[:, None] - points[some][None]) ** 2).sum(2)
            return gaps.min(1).sum()

        assert scatter(rows) < 0.9 * scatter(np.arange(count))


def test_equal_images_fill_up_what_clusters_leave_open():
    points = np.array([[0.0], [0.0], [5.0], [0.0]])
    assert sorted(kmeans.representatives(points, 2, 0).tolist()) in ([0, 2], [1, 2], [2, 3])
    assert sorted(kmeans.representatives(points, 4, 0).tolist()) == [0, 1, 2, 3]


def test_a_crop_is_its_part_of_the_image_enlarged():
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    whole, part = (
        np.asarray(realism.crop(image, np.array([box], np.float32)))[0]
        for box in ([1.0, 0.0, 0.0], [0.5, 0.25, 0.5])
    )
    real = image[0].astype(np.float64) / 255
    np.testing.assert_allclose(whole, real, atol=1e-6)
    y, x = 2 + (np.arange(8) + 0.5) / 2 - 0.5, 4 + (np.arange(8) + 0.5) / 2 - 0.5
    x = np.minimum(x, 7)  # beyond the last pixel there is none
    low = np.floor(y).astype(int), np.floor(x).astype(int)
    high = np.minimum(low[0] + 1, 7), np.minimum(low[1] + 1, 7)
    down, right = (y - low[0])[:, None, None], (x - low[1])[None, :, None]
    rows = [real[side][:, low[1]] * (1 - right) + real[side][:, high[1]] * right
            for side in (low[0], high[0])]  # fmt: skip
    np.testing.assert_allclose(part, rows[0] * (1 - down) + rows[1] * down, atol=1e-5)


def test_boxes_lie_in_the_image():
    side, top, left = realism.draw_boxes(1000, np.random.default_rng(0)).T
    assert (side**2).min() >= realism.LEAST_AREA - 1e-6 and side.max() <= 1
    assert np.mean(side**2) == pytest.approx(0.54, abs=0.03)
    for place in (top, left):
        assert place.min() >= 0 and (place + side).max() <= 1 + 1e-6


def test_the_best_crop_of_every_image_comes_before_the_second_best_of_any():
    scores = np.array([[3.0, 1.0, 2.0], [0.5, 0.4, 9.0], [7.0, 7.0, 8.0]])
    assert realism.order(scores).tolist() == [4, 1, 6, 3, 2, 7, 0, 8, 5]


@pytest.mark.parametrize("form", [("pixels", 1), ("mosaic", 2)])
def test_the_most_realistic_crops_have_the_least_cross_entropy(
    form, context, pool, key, monkeypatch
):
    """Against every crop, scored one by one as it will be stored."""
    context = dataclasses.replace(context, stored_as=form)
    drawn = []
    draw_boxes = realism.draw_boxes
    monkeypatch.setattr(realism, "draw_boxes", lambda *a: drawn.append(draw_boxes(*a)) or drawn[0])
    found = np.asarray(realism.images(context, 3, key, pool))[6:]  # of the class of nine
    assert drawn[0].shape == (12 * realism.CROPS, 3)
    row_key = jax.random.split(key)[0]
    rows = starts.random.initial_rows(SIZES, SIZES, row_key)[3:]
    crops = realism.crop(
        context.host.take(np.repeat(rows, realism.CROPS)), drawn[0][3 * realism.CROPS :]
    )
    small = jax.image.resize(crops, (len(crops), *(8 // form[1],) * 2, 3), "bilinear")
    stored = jax.image.resize(small, crops.shape, "bilinear")
    scores = np.zeros(len(crops))
    for k in range(2):
        params = jax.tree.map(lambda leaf, k=k: leaf[k], pool.trained)
        logits = jax.jit(context.network.apply)(params, context.normaliser(stored))[0]
        scores -= log_softmax(np.asarray(logits, np.float64), axis=1)[:, 2] / 2
    scores = scores.reshape(9, realism.CROPS)
    winners = sorted(range(9), key=lambda i: scores[i].min())[:3]
    expected = [crops[i * realism.CROPS + scores[i].argmin()] for i in winners]
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-6)


@pytest.mark.parametrize("name", starts.STARTS)
def test_a_start_gives_every_class_as_many_images(name, context, pool, key):
    found = starts.images(name, context, 7, key, (None, pool))
    assert found.shape == (21, 8, 8, 3) and found.dtype == jnp.float32
    assert found.min() >= 0 and found.max() <= 1
    np.testing.assert_array_equal(found, starts.images(name, context, 7, key, (None, pool)))
    colours = np.asarray(found).reshape(3, 7, 64, 3).mean((1, 2))
    own = np.asarray(context.host.take(np.arange(12)) / 255.0)
    own = [part.mean((0, 1, 2)) for part in np.split(own, [1, 3])]
    if not starts.STARTS[name].reads_images:
        own = [context.normaliser.mean] * 3
    np.testing.assert_allclose(colours, own, atol=0.08)


@pytest.mark.parametrize("name", POOLED)
def test_a_matching_method_starts_where_its_start_says(name):
    loop = tiny_loop(initialisation=name)
    made, plain = (
        one.method.result(one.begin(jax.random.key(0))[0]).images for one in (loop, tiny_loop())
    )
    assert made.shape == plain.shape and not np.array_equal(made, plain)
    context, supplied = loop.method._context, loop.supplied
    init_key = jax.random.split(jax.random.key(0))[0]
    images = starts.STARTS[name].images(context, 8, init_key, *supplied)
    expected = context.parameterisation.encode(images)["images"]
    np.testing.assert_array_equal(made, expected)


def test_the_loss_scale_is_set_at_the_images_of_the_start(monkeypatch):
    class Asked(Exception):
        pass

    def start(context, ipc, key, supplied):
        raise Asked(context.start, supplied)

    monkeypatch.setattr(matching, "initial_images", start)
    loop = tiny_loop(name="dm", initialisation="herding")
    with pytest.raises(Asked) as asked:
        loop.method.gradient_norms(loop.supplied)
    assert asked.value.args == ("herding", loop.supplied)


@pytest.mark.parametrize("name", POOLED)
def test_a_start_that_reads_extractors_is_refused_without_any(name, monkeypatch, context, key):
    kind = dataclasses.replace(methods.kind("dm"), needs=(Untrained(2),))
    monkeypatch.setitem(methods.METHODS, "own", kind)
    config = small("own", **{"distill.initialisation": name})
    rule = f"distill.initialisation = '{name}' reads the extractors, and the method 'own' is "
    with pytest.raises(ValueError, match=f"{rule}supplied with none: choose noise, random for it"):
        Experiment(config, "unused")
    with pytest.raises(ValueError, match="hand `initial_images` what the method is supplied with"):
        base.initial_images(dataclasses.replace(context, start=name), 1, key)
    config.method = "random"  # it chooses for itself
    Experiment(config, "unused")
    starts.check("random", "own", kind.needed(config))
    starts.check(name, "dm", (Pool(),))


def test_noise_has_the_moments_of_the_data_and_is_cut_to_the_range_of_pixels(context, key):
    found = np.asarray(starts.images("noise", context, 500, key, ()), np.float64)
    assert found.min() == 0 and found.max() == 1
    for moment, value in (("mean", 0.4), ("std", 0.25)):
        pixels = np.clip(np.random.default_rng(0).normal(0.4, 0.25, 10**6), 0, 1)
        assert getattr(context.normaliser, moment) == (value,) * 3
        expected = getattr(pixels, moment)()
        np.testing.assert_allclose(getattr(found, moment)((0, 1, 2)), expected, atol=2e-3)
    other = starts.images("noise", context, 500, jax.random.key(1), ())
    assert abs(np.corrcoef(found.ravel(), np.asarray(other).ravel())[0, 1]) < 0.01


def test_the_table_has_a_line_for_every_start():
    lines = starts.table().splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == [*starts.STARTS]
    for line, start in zip(lines, starts.STARTS.values(), strict=True):
        _, idea, reads = line.strip("| ").split(" | ")
        assert len(idea) > 20 and reads == ("yes" if start.reads_pool else "no")


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match=r"unknown start 'kmean'.*did you mean 'kmeans'"):
        starts.check("kmean", "dm", (Pool(),))


def test_the_random_method_takes_no_start():
    made = []
    for name in ("random", "herding"):
        loop = tiny_loop(name="random", initialisation=name)
        made.append(loop.method.result(loop.begin(jax.random.key(0))[0]).images)
    np.testing.assert_array_equal(*made)


def test_the_page_on_long_tails_names_every_start_and_schedule():
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "tails.md").read_text()
    for name in (*starts.STARTS, *schedules.SCHEDULES):
        assert f"| `{name}` |" in page
