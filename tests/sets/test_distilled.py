import dataclasses

import numpy as np
import pytest

from csdm_jax.sets import distilled, tracks
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.storage import files


def example(**changes):
    generator = np.random.default_rng(0)
    base = DistilledSet(
        stored=generator.uniform(size=(6, 8, 8, 3)).astype(np.float32),
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


def test_every_tile_may_have_a_label_of_its_own(tmp_path):
    soft = np.random.default_rng(1).dirichlet(np.ones(3), 24).astype(np.float32)
    distilled.save(tmp_path, example(labels=soft), {})
    loaded, _ = distilled.load(tmp_path)
    assert loaded.tiles_labelled and not example().tiles_labelled
    np.testing.assert_array_equal(loaded.training_data()[1], soft)
    np.testing.assert_array_equal(distilled.decoded(loaded).labels, soft)
    expected = [soft[4 * k : 4 * k + 4].sum(0).argmax() for k in range(6)]
    np.testing.assert_array_equal(loaded.classes, expected)
    for label in range(3):
        np.testing.assert_array_equal(
            loaded.of_class(label), loaded.images[np.equal(expected, label)]
        )


def test_soft_labels_are_used_as_they_are():
    soft = np.tile(np.array([0.7, 0.2, 0.1], np.float32), (6, 1))
    _, targets = example(labels=soft, parameterisation="pixels").training_data()
    np.testing.assert_allclose(targets, soft)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stored": np.full((6, 8, 8, 3), 1.5, np.float32)}, r"within \[0, 1\], got .* 1.5"),
        ({"stored": np.full((6, 8, 8, 3), np.nan, np.float32)}, "must be finite"),
        ({"stored": np.zeros((6, 8, 8), np.float32)}, r"floats \[n, H, W, ch\], got .*\(6, 8, 8\)"),
        (
            {"labels": np.zeros(5, np.int32)},
            r"as many labels, .* got shape \(5,\)",
        ),
        ({"labels": np.full(6, 3, np.int32)}, r"lie in 0..2, got 3..3"),
        ({"labels": np.tile(np.float32([2, -1, 0]), (6, 1))}, r"probabilities \[n, 3\]"),
        ({"labels": np.ones((6, 3), np.int32)}, r"probabilities \[n, 3\]"),
        ({"labels": np.zeros(6, np.float32)}, "must be integers, class numbers from 0"),
        ({"labels": np.zeros((6, 1, 1), np.int32)}, r"labels must be \[n\] or \[n, K\]"),
        ({"stored": np.zeros((0, 8, 8, 3), np.float32)}, "floats"),
        ({"factor": 0}, "factor must be an integer of at least 1, got 0"),
        ({"num_classes": True}, "num_classes must be an integer of at least 1, got True"),
        ({"parameterisation": "jpeg"}, "parameterisation"),
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
    card = files.read_sealed_json(tmp_path / "card.json")
    card["distilled_sha256"] = files.sha256(tmp_path / "distilled.npz")
    files.write_sealed_json(tmp_path / "card.json", card)
    with pytest.raises(ValueError, match="Python objects, which could run code"):
        distilled.load(tmp_path)


@pytest.mark.parametrize("name", ["distilled.npz", "card.json"])
def test_a_flipped_bit_is_noticed(name, tmp_path):
    distilled.save(tmp_path, example(), {"method": "csdm"})
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(files.DamagedError, match=name):
        distilled.load(tmp_path)


def test_a_card_without_its_fields_is_refused(tmp_path):
    distilled.save(tmp_path, example(), {})
    files.write_sealed_json(tmp_path / "card.json", {"factor": 2})
    with pytest.raises(ValueError, match="lacks parameterisation, num_classes, distilled_sha256"):
        distilled.load(tmp_path)


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        distilled.save(tmp_path / folder, example(), {"method": "csdm"})
    for name in ("distilled.npz", "card.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_damaged_soft_labels_are_passed_over_and_damage_of_the_run_is_not(tmp_path):
    distilled.save(tmp_path, example(), {"method": "csdm"})
    digest = files.read_sealed_json(tmp_path / distilled.CARD)[distilled.DIGEST]
    soft = tmp_path / tracks.FOLDER
    distilled.save(soft, example(), {tracks.SOFT: {"set": digest}})
    assert tracks.soft(tmp_path) == soft
    (soft / distilled.CARD).write_text("{}")
    assert tracks.soft(tmp_path) is None
    (tmp_path / distilled.CARD).write_text("{}")
    with pytest.raises(files.DamagedError):
        tracks.soft(tmp_path)
