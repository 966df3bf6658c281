"""Trains networks on a distilled set and on real images, and makes a score of their accuracies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from tqdm import tqdm

from csdm_jax.evaluation import evaluate, statistics
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.experiment.sections import Kind
from csdm_jax.scoring import robustness, table
from csdm_jax.scoring.references import RealSet, References
from csdm_jax.scoring.scored import Scored, read
from csdm_jax.sets.formats.facts import Facts
from csdm_jax.storage import files, lock


def run(
    config: Any,
    path: Path,
    workdir: Path,
    *,
    references: Path | None,
    said: Facts | None = None,
    format_name: str | None = None,
) -> dict[str, Any]:
    """Scores a set; writes `score.json` and `score.md`.

    Args:
      config: see `csdm_jax.experiment.config`; of its fields `data`, `network`, `evaluate` and, for
        networks trained on all real images, `extractors` are used.
      path: file, or folder of the set.
      workdir: where the score and finished networks are written.
      references: where networks trained on real images are kept; None to leave them out, and with
        them the label-robust and the augmentation-robust score.
      said: see `read`.
      format_name: see `read`.

    Returns:
      What is in `score.json`.

    Raises:
      ConfigError: for a configuration that breaks a rule.
      FileNotFoundError, ImportError, ValueError: as `read`, before anything is compiled.
      Interrupted: when a signal asked for the end; finished networks are kept.
      FloatingPointError: when a training diverges.
      LockedError, OSError: when the directory is in use, and for files that cannot be written.
    """
    config = config.copy_and_resolve_references()
    # Nothing is distilled: a set of any number of images is scored, however few are in the tail.
    config.distill.update({"parameterisation": "pixels", "ipc": 1})
    experiment = Experiment(config, workdir)
    scored = read(path, experiment.dataset, said or Facts(), format_name)
    with lock.held(workdir):
        scorer = Scorer(experiment, scored)
        score = scorer.describe() | {
            "accuracy": {name: scorer.accuracy(name) for name in config.evaluate.networks}
        }
        _write(workdir, score)  # for whoever does not wait for the references
        if references is not None:
            score["robust"] = scorer.robust(References(experiment, references))
            score["real_settings"] = config.extractors.to_dict()
            _write(workdir, score)
    print(table.markdown(score))
    print(f"score: {workdir / 'score.json'}, {workdir / 'score.md'}")
    return score


def _write(workdir: Path, score: dict[str, Any]) -> None:
    files.write_json(workdir / "score.json", score)
    files.write_bytes(workdir / "score.md", table.markdown(score).encode())


class Scorer:
    """Trains and tests networks on one set.

    Args:
      experiment: data, networks and recipes; its working directory keeps finished networks.
      scored: the set.
    """

    def __init__(self, experiment: Experiment, scored: Scored):
        self._experiment = experiment
        self._scored = scored
        self._pace: dict[str, float] = {}  # seconds that an architecture takes for an image

    def describe(self) -> dict[str, Any]:
        """What is scored, and on what."""
        experiment = self._experiment
        settings = experiment.evaluation_settings(self._kind())
        del settings["data"]
        return {
            "set": self._scored.facts | {"per_class": self._scored.per_class},
            "data": experiment.data_identity,
            "class_names": list(experiment.dataset.class_names),
            "settings": settings | {"seeds": list(experiment.evaluation_seeds)},
        }

    def accuracy(self, architecture: str) -> dict[str, Any]:
        """Accuracy in percent of networks trained on the set with its own labels."""
        results = self._results(architecture)
        by_class = statistics.mean_by_class([one.by_class for one in results])
        counts = self._experiment.longtail.counts
        return {
            "last": _summary([one.last for one in results]),
            "best": _summary([one.best for one in results]),
            "by_class": statistics.listed(by_class),
            "groups": statistics.group_accuracies(by_class, counts),
        }

    def robust(self, references: References) -> dict[str, dict[str, Any]]:
        """Both scores of every architecture against every set of references, as fractions."""
        robust: dict[str, dict[str, Any]] = {}
        for architecture in self._experiment.config.evaluate.networks:
            self._announce(architecture, references)
            own = {
                "hard": self._last(architecture, hard=True),
                "own": self._last(architecture),
                "own_plain": self._last(architecture, augmented=False),
            }
            robust[architecture] = {
                real.name: _scores(own | self._references(references, architecture, real))
                for real in references.sets
            }
        return robust

    def _references(
        self, references: References, architecture: str, real: RealSet
    ) -> dict[str, list[float]]:
        """Accuracies in percent of the networks trained on real images."""
        random, random_plain = (
            references.random(
                architecture,
                real,
                self._scored.per_class,
                soft=self._scored.soft,
                augmented=augmented,
            )
            for augmented in (True, False)
        )
        full = references.full(architecture, real)
        return {"full": full, "random": random, "random_plain": random_plain}

    def _kind(self, hard: bool = False, augmented: bool = True) -> Kind:
        return Kind(augmented, self._scored.lr, soft=self._scored.soft and not hard)

    def _last(self, architecture: str, **kind: bool) -> list[float]:
        return [result.last for result in self._results(architecture, **kind)]

    def _results(
        self, architecture: str, *, hard: bool = False, augmented: bool = True
    ) -> list[evaluate.Result]:
        """Networks trained on the set.

        Args:
          architecture: a name of `csdm_jax.networks`.
          hard: whether with hard labels instead of the set's own.
          augmented: whether with the augmentation of the evaluation, or without.
        """
        experiment, scored = self._experiment, self._scored
        hard = hard and scored.soft
        kind = "hard" if hard else "own" if augmented else "plain"
        asked = self._kind(hard, augmented)
        identity = {
            "set": scored.facts["sha256"],
            "kind": kind,
            "settings": experiment.evaluation_settings(asked),
        }
        kept = evaluate.ResultStore(
            experiment.workdir / "evaluations" / architecture / kind, identity
        )
        missing = sum(kept.get(seed) is None for seed in experiment.evaluation_seeds)
        start = time.monotonic()
        results = experiment.evaluate(
            architecture,
            scored.images,
            scored.hard_targets if hard else scored.targets,
            kept=kept,
            label=f"evaluate {architecture}{'' if kind == 'own' else ', ' + kind}",
            kind=asked,
        )
        if missing:
            passes = missing * len(scored.images) * experiment.config.evaluate.epochs
            self._pace[architecture] = (time.monotonic() - start) / passes
        return results

    def _announce(self, architecture: str, references: References) -> None:
        """Says what the scores of an architecture take, if nothing of them is there yet."""
        config = self._experiment.config
        whole = sum(len(real.images) for real in references.sets) * config.extractors.epochs
        trainings = 2 * len(references.sets) + 1 + self._scored.soft  # the set's own: plain, hard
        small = trainings * len(self._scored.images) * config.evaluate.epochs
        passes = config.evaluate.count * (whole + small)
        pace = self._pace.get(architecture)
        time_left = tqdm.format_interval(pace * passes) if pace else "an unknown time"
        logging.info(
            "scores of %s: at most %d more networks, %.3g images, %s at the pace of the set; those "
            "of real images stay in %s for the next set (--references=none: accuracy alone)",
            architecture,
            (len(references.sets) + trainings) * config.evaluate.count,
            passes,
            time_left,
            references.folder,
        )


def _scores(percent: dict[str, list[float]]) -> dict[str, Any]:
    """Both scores with all that they are made of, from accuracies in percent of each network.

    As in DD-Ranking a score is taken of each round, the networks of one number, and averaged.
    """
    found = {name: np.array(values) / 100 for name, values in percent.items()}
    derived = {
        "hlr": robustness.difference(found["full"], found["hard"]),
        "ior": robustness.difference(found["own"], found["random"]),
        "lrs": robustness.label_robust_score(
            *(found[name] for name in ("full", "hard", "own", "random"))
        ),
        "ars": robustness.augmentation_robust_score(
            *(found[name] for name in ("own", "random", "own_plain", "random_plain"))
        ),
    }
    return {name: _summary(values) for name, values in (found | derived).items()}


def _summary(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """Mean over networks, half of its 95 % interval (None for one network), and the values."""
    mean, half = statistics.interval(values)
    return {"mean": mean, "half_width": half, "values": np.asarray(values, float).tolist()}
