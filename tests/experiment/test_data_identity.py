"""What tells training images from others: by the data's rule, and with the names of the classes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import stages
from csdm_jax.experiment.experiment import Experiment

ROOT = Path(__file__).parent.parent.parent


def test_the_digits_are_those_of_the_committed_card(tmp_path):
    config = configuration.load(f"{ROOT}/configs/digits_lt.py")
    card = json.loads((ROOT / "results" / "digits_lt" / "card.json").read_text())
    found = json.loads(json.dumps(Experiment(config, tmp_path).data_identity))
    assert found == card["data"]
    assert card["data"]["imbalance_factor"] == 10.0


def test_a_set_whose_classes_have_other_names_is_not_taken_up(tmp_path):
    config = configuration.load(f"{ROOT}/configs/digits_lt.py")
    experiment = Experiment(config, tmp_path)
    card = {
        "method": "csdm",
        "seed": 0,
        "ipc": 2,
        "class_names": list(experiment.dataset.class_names),
        "data": experiment.data_identity,
        "config": config.to_dict(),
    }
    stages._check_same_run(experiment, "csdm", 0, tmp_path, card)
    experiment.dataset = dataclasses.replace(
        experiment.dataset, class_names=tuple(reversed(experiment.dataset.class_names))
    )
    with pytest.raises(ValueError, match=r"has class_names \['0', .* this configuration \['9', "):
        stages._check_same_run(experiment, "csdm", 0, tmp_path, card)


def arrays(tmp_path, counts):
    """An npz of grey images."""
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8), np.uint8)
    np.savez(tmp_path / "own.npz", x_train=images, y_train=labels)
    return str(tmp_path / "own.npz")


def experiment(tmp_path, **fields):
    config = configuration.load(f"{ROOT}/configs/own_data.py:source=npz,holdout=0.2,ipc=2")
    config.update_from_flattened_dict(
        {"data.data_dir": arrays(tmp_path, (30, 500, 7, 120))} | fields
    )
    return Experiment(config, tmp_path)


def test_a_naturally_long_tailed_set_keeps_every_image_and_says_so(tmp_path):
    found = experiment(tmp_path)
    identity = found.data_identity
    assert identity["counts"] == [24, 400, 6, 96] and identity["rule"] == "none"
    assert (identity["holdout"], identity["holdout_seed"]) == (0.2, 0)
    assert found.longtail.own_factor == pytest.approx(400 / 6)
    assert np.bincount(found.dataset.test_labels).tolist() == [6, 100, 1, 24]


def test_alphas_go_by_the_count_and_not_by_the_label(tmp_path):
    from csdm_jax.metric import class_alphas

    counts = np.array(experiment(tmp_path).longtail.counts)
    alphas = np.asarray(class_alphas(counts, head=0.7, tail=0.3))
    assert alphas.argmax() == 1 and alphas.argmin() == 2
    assert np.argsort(alphas).tolist() == np.argsort(counts).tolist()


def test_too_few_images_for_a_start_name_the_class_and_its_true_count(tmp_path):
    with pytest.raises(ValueError, match=r"takes 8 distinct .*class '2' has 6: .*reuse_images"):
        experiment(tmp_path, **{"distill.reuse_images": False})
