"""Draws from the training set on the device."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from csdm_jax.data import device
from csdm_jax.data.dataset import Dataset
from csdm_jax.data.device import (
    DeviceData,
    draw_class_batches,
    epoch_batches,
    present,
    to_device,
)
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import build_longtail
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment.experiment import Experiment

ROOT = Path(__file__).parent.parent.parent


def _numbered(per_class=48, classes=4):
    """Each image's two pixels hold its class and its number within the class."""
    labels = np.tile(np.arange(classes, dtype=np.int32), per_class)
    numbers = np.repeat(np.arange(per_class), classes)
    images = np.stack([labels, numbers], 1).astype(np.uint8)[:, None, :, None]
    names = tuple(map(str, range(classes)))
    return Dataset("numbered", images, labels, images, labels, names, (0.5,), (0.5,))


@pytest.fixture(scope="module")
def stored():
    dataset = _numbered()
    return to_device(
        HostData.create(dataset, build_longtail(dataset.train_labels, 4, imbalance_factor=8))
    )


def _stored(dataset, imbalance_factor):
    longtail = build_longtail(dataset.train_labels, 4, imbalance_factor=imbalance_factor)
    return to_device(HostData.create(dataset, longtail))


def _batch(data, key, per_class):
    drawn = draw_class_batches(data.counts, key, per_class)
    return data.images[drawn.values], drawn.ids


def _drawn(data, seed, per_class):
    images, labels = _batch(data, jax.random.key(seed), per_class)
    return np.asarray(images)[:, 0, :, 0], np.asarray(labels)


def test_store_is_class_major_uint8_with_static_counts(stored):
    assert stored.counts == (48, 24, 12, 6)
    assert stored.images.dtype == np.uint8
    assert np.array_equal(stored.images[:, 0, 0, 0], stored.labels)
    assert np.array_equal(stored.labels, np.repeat(np.arange(4), stored.counts))
    assert jax.tree.structure(stored) != jax.tree.structure(
        dataclasses.replace(stored, counts=(1, 2, 3, 4))
    )


@pytest.mark.parametrize("per_class", [1, 6, 10, 48, 1000])
def test_draw_is_distinct_and_from_the_stored_class(stored, per_class):
    pixels, labels = _drawn(stored, 0, per_class)
    sizes = [min(n, per_class) for n in stored.counts]
    assert np.array_equal(labels, np.repeat(np.arange(4), sizes))
    assert np.array_equal(pixels[:, 0], labels)
    assert len(np.unique(pixels, axis=0)) == len(pixels)
    members = {tuple(p) for p in np.asarray(stored.images)[:, 0, :, 0]}
    assert {tuple(p) for p in pixels} <= members


def test_small_classes_are_taken_whole(stored):
    pixels, labels = _drawn(stored, 3, 12)
    for c in (2, 3):
        everything = np.asarray(stored.images)[np.asarray(stored.labels) == c][:, 0, 1, 0]
        assert sorted(pixels[labels == c, 1]) == sorted(everything)


def test_draw_is_a_pure_function_of_the_key(stored):
    first, again, other = (_drawn(stored, seed, 8)[0] for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_classes_draw_independently():
    dataset = _numbered()
    data = to_device(
        HostData.create(dataset, build_longtail(dataset.train_labels, 4, imbalance_factor=1))
    )
    stored = np.asarray(data.images)[:, 0, 1, 0].reshape(4, 48)
    pixels, labels = _drawn(data, 0, 8)
    # Positions in the store, so that its own order, another one per class, cannot hide a shared
    # draw.
    positions = {tuple(np.argsort(stored[c])[pixels[labels == c, 1]]) for c in range(4)}
    assert len(positions) == 4


def test_draw_is_uniform_over_each_class(stored):
    keys = jax.random.split(jax.random.key(0), 4000)
    images, labels = jax.vmap(lambda key: _batch(stored, key, 5))(keys)
    images, labels = np.asarray(images)[..., 0, 1, 0], np.asarray(labels)
    for c, count in enumerate(stored.counts):
        _, seen = np.unique(images[labels == c], return_counts=True)
        assert len(seen) == count
        expected = 4000 * 5 / count
        # Without replacement the counts vary less than a multinomial's, by (n - 5) / (n - 1).
        statistic = np.sum((seen - expected) ** 2) / expected * (count - 1) / (count - 5)
        assert 1e-4 < stats.chi2.sf(statistic, count - 1) < 1 - 1e-4


def test_jit_equals_eager_and_compiles_once_for_all_keys(stored):
    jitted = jax.jit(_batch, static_argnums=2)
    for seed in range(3):
        key = jax.random.key(seed)
        for a, b in zip(jitted(stored, key, 9), _batch(stored, key, 9), strict=True):
            assert np.array_equal(a, b)
    assert jitted._cache_size() == 1


def test_draw_of_no_image_is_refused(stored):
    with pytest.raises(ValueError, match=r"per_class must be at least 1, got 0"):
        draw_class_batches(stored.counts, jax.random.key(0), 0)


def test_some_classes_are_drawn_and_small_ones_padded(stored):
    seen = set()
    for seed in range(30):
        drawn = draw_class_batches(stored.counts, jax.random.key(seed), 10, 3)
        classes = np.asarray(drawn.classes)
        assert len(set(classes)) == 3 and (np.diff(classes) > 0).all()
        seen |= set(classes.tolist())
        assert drawn.sizes == (10, 10, 10) and len(drawn.values) == 30
        present = np.asarray(drawn.weights).reshape(3, 10).sum(1)
        np.testing.assert_array_equal(present, np.minimum(np.array(stored.counts)[classes], 10))
        labels = stored.labels[np.asarray(drawn.values)]
        np.testing.assert_array_equal(labels, np.repeat(classes, 10))
        np.testing.assert_array_equal(labels, drawn.ids)
        rows = np.asarray(drawn.values)[np.asarray(drawn.weights) > 0]
        assert len(set(rows.tolist())) == len(rows)
    assert seen == {0, 1, 2, 3}


def test_all_classes_in_number_are_all_classes(stored):
    for count in (0, 4):
        drawn = draw_class_batches(stored.counts, jax.random.key(0), 10, count)
        assert drawn.weights is None and drawn.sizes == (10, 10, 10, 6)


def test_more_classes_than_there_are_are_refused(stored):
    with pytest.raises(ValueError, match=r"classes_per_step must lie in 0..4, got 5"):
        draw_class_batches(stored.counts, jax.random.key(0), 10, 5)


def test_subset_of_other_labels_is_refused():
    dataset = _numbered()
    other = build_longtail(np.repeat(np.arange(4), 48), 4, imbalance_factor=2)
    with pytest.raises(ValueError, match=r"do not match the labels of numbered"):
        HostData.create(dataset, other)
    larger = build_longtail(np.tile(np.arange(4), 200), 4, imbalance_factor=2)
    with pytest.raises(ValueError, match=r"do not match the labels of numbered"):
        HostData.create(dataset, larger)


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (8, 4), (3, 7), (1, 1)])
def test_epoch_shows_every_example_once_and_marks_the_rest(size, batch):
    indices = np.asarray(epoch_batches(jax.random.key(1), size, batch))
    weights = np.stack([present(np.int32(row), size, batch) for row in range(len(indices))])
    assert indices.shape == weights.shape == (-(-size // batch), batch)
    assert indices.dtype == np.int32 and weights.dtype == np.float32
    assert sorted(indices[weights == 1]) == list(range(size))
    assert weights.sum() == size and set(weights.ravel()) <= {0.0, 1.0}
    order = indices[weights == 1]
    np.testing.assert_array_equal(indices[weights == 0], np.resize(order, np.sum(weights == 0)))


def test_epochs_differ_by_key_and_repeat_with_it():
    first, again, other = (np.asarray(epoch_batches(jax.random.key(s), 40, 8)) for s in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(("size", "batch"), [(0, 4), (4, 0)])
def test_empty_epoch_or_batch_is_refused(size, batch):
    with pytest.raises(ValueError, match=r"size >= 1 and batch >= 1, got size"):
        epoch_batches(jax.random.key(0), size, batch)


@pytest.mark.parametrize(
    ("placement", "share", "kind", "where"),
    [
        ("auto", 0.5, DeviceData, "1 device(s)"),
        ("auto", 1e-12, HostData, "host, read batch by batch"),
        ("device", 1e-12, DeviceData, "1 device(s)"),
        ("host", 0.5, HostData, "host, read batch by batch"),
    ],
)
def test_images_lie_where_they_fit_or_where_they_are_asked_to(
    placement, share, kind, where, tmp_path, monkeypatch, caplog
):
    """`share`: of the device's memory that images may take."""
    config = configuration.load(str(ROOT / "configs/digits_lt.py"))
    config.data.placement = placement
    monkeypatch.setattr(device, "SHARE", share)
    caplog.set_level("INFO", logger="absl")
    assert isinstance(Experiment(config, tmp_path).training_data, kind)
    assert f"MB of training images on the {where}" in caplog.text
