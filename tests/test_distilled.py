import dataclasses

import numpy as np
import pytest

from csdm_jax import distilled
from csdm_jax.distilled import DistilledSet


def example(**changes):
    generator = np.random.default_rng(0)
    base = DistilledSet(
        images=generator.uniform(size=(6, 8, 8, 3)).astype(np.float32),
        labels=np.repeat(np.arange(3, dtype=np.int32), 2),
        parameterisation="mosaic",
        factor=2,
        num_classes=3,
    )
    return dataclasses.replace(base, **changes)


def test_a_set_survives_saving_and_loading(tmp_path):
    distilled.save(tmp_path, example(), {"method": "csdm"})
    loaded, card = distilled.load(tmp_path)
    np.testing.assert_array_equal(loaded.images, example().images)
    np.testing.assert_array_equal(loaded.labels, example().labels)
    assert (loaded.parameterisation, loaded.factor, loaded.num_classes) == ("mosaic", 2, 3)
    assert card["method"] == "csdm" and card["label_kind"].startswith("hard")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.json", "distilled.npz"]


def test_training_data_repeats_a_label_for_every_tile():
    images, targets = example().training_data()
    assert images.shape == (24, 8, 8, 3)
    np.testing.assert_array_equal(targets.argmax(1), np.repeat(np.arange(3), 8))
    np.testing.assert_allclose(targets.sum(1), 1)


def test_soft_labels_are_used_as_they_are():
    soft = np.tile(np.array([0.7, 0.2, 0.1], np.float32), (6, 1))
    _, targets = example(labels=soft, parameterisation="pixels").training_data()
    np.testing.assert_allclose(targets, soft)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.full((6, 8, 8, 3), 1.5, np.float32)}, r"within \[0, 1\], got .* 1.5"),
        ({"images": np.full((6, 8, 8, 3), np.nan, np.float32)}, "must be finite"),
        ({"images": np.zeros((6, 8, 8), np.float32)}, r"floats \[n, H, W, ch\], got .*\(6, 8, 8\)"),
        ({"labels": np.zeros(5, np.int32)}, "6 distilled images need as many labels, got 5"),
        ({"labels": np.full(6, 3, np.int32)}, r"lie in 0..2, got 3..3"),
        ({"labels": np.tile(np.float32([2, -1, 0]), (6, 1))}, r"probabilities \[n, 3\]"),
        ({"labels": np.ones((6, 3), np.float32)}, r"probabilities \[n, 3\].* sum to 3"),
    ],
)
def test_a_broken_set_is_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        distilled.save(tmp_path, example(**changes), {})
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_says_which_stage_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run the stage 'distill'"):
        distilled.load(tmp_path)


def test_pickled_objects_are_not_loaded(tmp_path):
    distilled.save(tmp_path, example(), {})
    objects = np.array([{}] * 6, dtype=object)
    np.savez(tmp_path / "distilled.npz", images=objects, labels=objects)
    with pytest.raises(ValueError, match="allow_pickle"):
        distilled.load(tmp_path)
