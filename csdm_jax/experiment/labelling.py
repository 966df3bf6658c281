"""The soft track: a run's images with labels by one teacher, the mean of the pool's extractors.

A label is the mean over the extractors of their logits, divided by the temperature, as class
probabilities; of each image that networks train on, so that every tile of a mosaic has one of its
own. Networks train on them as on any soft labels, see `evaluate.soft_loss`. All methods share the
teacher: the extractors of the configuration, whatever a method's published settings are.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from csdm_jax.distillation import features
from csdm_jax.evaluation import softening
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.sets import distilled, tracks
from csdm_jax.storage import files
from csdm_jax.training import extractors

EVALUATION = "evaluation_format"
"""Field of a card: the format of the evaluation whose accuracies it holds."""
MEASURED = ("accuracies", "test_images", EVALUATION)
"""Fields of a card on networks that were trained with the set's labels."""
SETTINGS = ("soft_labels", "soft_temperature", "soft_correction", "soft_loss")
"""Fields of `config.evaluate` that say how images are labelled."""
FEW = 50.0  # percent of the images whose own class is the likeliest; fewer are warned of
LOSSES = {
    "cross_entropy": "cross-entropy with these probabilities",
    "squared_error": "squared error of the logits, those of the labels their logarithms",
}


def teacher_of(experiment: Experiment) -> Experiment:
    """The experiment whose pool labels: that of the configuration itself."""
    return experiment.base or experiment


def is_labelled(experiment: Experiment, run: Path) -> bool:
    """Whether a run's images have soft labels as the configuration wants them.

    Soft labels that are damaged are set aside.

    Raises:
      FileNotFoundError, ValueError: when the run has no set, or a damaged one.
    """
    folder = run / tracks.FOLDER
    _, own = distilled.load(run)
    try:
        _, card = distilled.load(folder)
    except FileNotFoundError:
        return False
    except ValueError as error:
        for name in (distilled.ARRAYS, distilled.CARD):
            if (folder / name).exists():
                files.set_aside(folder / name, error)
        return False
    found, wanted = card.get(tracks.SOFT, {}), _identity(experiment, own)
    return all(found.get(name) == value for name, value in wanted.items())


def label(experiment: Experiment, run: Path) -> None:
    """Leaves a run's images with soft labels in a folder of their own.

    Args:
      experiment: of the run.
      run: its folder, with a distilled set.
    """
    result, card = distilled.load(run)
    labels, facts = _labels(experiment, result)
    soft = dataclasses.replace(result, labels=labels, logits=False)
    kept = {name: value for name, value in card.items() if name not in MEASURED}
    kept["config"]["evaluate"] |= {n: experiment.config.evaluate[n] for n in SETTINGS}
    folder = run / tracks.FOLDER
    distilled.save(folder, soft, kept | {tracks.SOFT: _identity(experiment, card) | facts})


def _labels(
    experiment: Experiment, result: distilled.DistilledSet
) -> tuple[np.ndarray, dict[str, Any]]:
    """float32 `[n * tiles, K]`, and what was found on the way."""
    settings, teacher = experiment.config.evaluate, teacher_of(experiment)
    images = np.asarray(result.training_data()[0])
    # Labels are made in float32, whatever images were distilled in.
    context = dataclasses.replace(teacher.context, network=teacher.network)
    logits = features.mean_logits(context, teacher.supplies.pool, images.__getitem__, len(images))
    softened = logits.astype(np.float64) / settings.soft_temperature
    counts, own = teacher.host.counts, own_classes(result, len(images))
    adsa = settings.soft_correction == "adsa"
    tau = softening.chosen(softened, own, counts) if adsa else 0.0
    spreads = [softening.spread(softened, own, counts, one) for one in (0.0, tau)]
    logging.info("soft labels: tau %g, spread of the confidence %.3f -> %.3f", tau, *spreads)
    if tau == softening.GRID[-1]:
        logging.warning("soft labels: tau is the largest that is tried, %g", tau)
    labels = softening.corrected(softened, counts, tau).astype(np.float32)
    share = 100 * float(np.mean(labels.argmax(axis=1) == own))
    logging.info("soft labels: of %.0f %% of the images the own class is the likeliest", share)
    if share < FEW:
        logging.warning(
            "soft labels: for most images another class is the likeliest, which is what networks "
            "learn: train the extractors longer%s",
            "" if adsa else ", or set evaluate.soft_correction = 'adsa'",
        )
    facts = {
        "tau": tau,
        "confidence_spread": [round(one, 4) for one in spreads],
        "loss": LOSSES[settings.soft_loss],
    }
    return labels, facts


def own_classes(result: distilled.DistilledSet, images: int) -> np.ndarray:
    """int `[images]`: the class that each training image was made for.

    Hard labels say it. Soft ones may be surer of another class; but a set is class-major, with as
    many images of each class.
    """
    if not result.soft:
        return np.repeat(result.labels, images // len(result.labels))
    return np.repeat(np.arange(result.num_classes), images // result.num_classes)


def _identity(experiment: Experiment, own: dict[str, Any]) -> dict[str, Any]:
    """What soft labels depend on, as JSON gives it back."""
    teacher, settings = teacher_of(experiment), experiment.config.evaluate
    description = teacher.supplies.pool_description(teacher.network, teacher.data_identity)
    told = {n: v for n, v in description.items() if n not in ("data", "mean", "std")}
    identity = {
        "set": own[distilled.DIGEST],
        "teacher": told
        | {"count": teacher.config.extractors.count, "pool": extractors.pool_name(description)},
        "temperature": settings.soft_temperature,
        "correction": settings.soft_correction,
    }
    return json.loads(json.dumps(identity))
