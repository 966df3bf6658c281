"""One experiment: data, extractors, distillation of each method and seed, evaluation, report.

Every stage reads what the stage before left in the working directory, so each can be run alone.
The first seed of `config.method` writes to the working directory itself; other seeds and the
baselines write to `runs/<method>-seed<k>` in it.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from csdm_jax import config as configuration
from csdm_jax import (
    data,
    distilled,
    evaluate,
    extractors,
    files,
    methods,
    networks,
    parameterisations,
    report,
)
from csdm_jax.augment import Augmentation
from csdm_jax.data.device import to_device
from csdm_jax.data.longtail import build_longtail, check_ipc, tuning_split
from csdm_jax.distill import Loop
from csdm_jax.preprocessing import Normaliser
from csdm_jax.training import Recipe, Trainer

STAGES = ("extractors", "distill", "evaluate", "report")
TUNING_PER_CLASS = 500
PACKAGES = ("csdm_jax", "jax", "flax", "optax", "numpy")


class Experiment:
    """What the stages share, built from a valid configuration.

    Args:
      config: a ConfigDict with the fields of `csdm_jax.config.SCHEMA`.
      workdir: where everything is written.

    Raises:
      ConfigError: for a field that breaks its rule.
      ValueError, FileNotFoundError: for data that cannot be used, before anything is compiled.
    """

    def __init__(self, config: Any, workdir: Path):
        configuration.validate(config)
        self.config = config
        self.workdir = Path(workdir)
        self.form = parameterisations.create(config.distill.parameterisation, config.distill.factor)
        self.dataset = data.load(
            config.data.name,
            data_dir=config.data.data_dir or None,
            cache_dir=config.data.cache_dir or None,
        )
        self.longtail = build_longtail(
            self.dataset.train_labels,
            self.dataset.num_classes,
            imbalance_factor=config.data.imbalance_factor,
            rule=config.data.rule,
            seed=config.data.seed,
        )
        self.form.check(self.dataset.image_shape)
        self._check_ipc()
        self.network = self.create_network(config.network.name)
        self.normaliser = Normaliser(self.dataset.mean, self.dataset.std)
        self._check_late_settings()

    def _check_ipc(self) -> None:
        """Refuses an IPC for which the smallest class has too few real images to start from."""
        settings = self.config.distill
        if not settings.reuse_images:
            check_ipc(
                self.longtail.counts,
                settings.ipc * self.form.tiles,
                remedy="choose a smaller distill.ipc, distill.factor or data.imbalance_factor, or "
                "--config.distill.reuse_images=True to use real images more than once",
            )

    def _check_late_settings(self) -> None:
        """Builds now what is needed only hours later, so that a mistake shows at once."""
        config = self.config
        for architecture in config.evaluate.networks:
            self.create_network(architecture)
        for section in (config.extractors, config.evaluate, config.distill):
            Augmentation.parse(section.augmentation, mode=section.augmentation_mode)
        methods.csdm.check_frequencies(config.sdd)

    def create_network(self, name: str) -> networks.Network:
        """A network for this data; the ConvNet takes depth and width from `config.network`."""
        settings = self.config.network
        options = {"depth": settings.depth, "width": settings.width} if name == "convnet" else {}
        return networks.create(
            name,
            num_classes=self.dataset.num_classes,
            image_shape=self.dataset.image_shape,
            **options,
        )

    @functools.cached_property
    def device_data(self):
        """The long-tailed training set on the device."""
        return to_device(self.dataset, self.longtail)

    @functools.cached_property
    def data_identity(self) -> dict[str, Any]:
        """Name, rule, seed and hashes of the long-tailed set: its indices and its pixels."""
        pixels = np.ascontiguousarray(self.dataset.train_images[self.longtail.indices])
        return {
            "name": self.dataset.name,
            **self.longtail.describe(),
            "images_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        }

    @functools.cached_property
    def test_set(self) -> evaluate.TestSet:
        """The whole test set on the device, or what stands in for it while tuning."""
        dataset = self.dataset
        if self.config.evaluate.on == "tuning":
            dataset = tuning_split(dataset, self.longtail, TUNING_PER_CLASS)
        return evaluate.TestSet.create(
            dataset.test_images, dataset.test_labels, dataset.num_classes
        )

    @functools.cached_property
    def pool(self) -> extractors.Pool:
        """The extractors: loaded, or trained where they are missing."""
        settings = self.config.extractors
        described = settings.to_dict() | {
            "network": self.config.network.to_dict(),
            "data": self.data_identity,
            "mean": self.dataset.mean,
            "std": self.dataset.std,
        }
        for field in ("count", "pool_dir"):  # a larger pool starts with the smaller one
            del described[field]
        return extractors.ensure_pool(
            Path(settings.pool_dir or self.workdir / "extractors"),
            described,
            network=self.network,
            trainer=Trainer(self.network, recipe(settings), self.normaliser),
            data=self.device_data,
            count=settings.count,
            seed=settings.seed,
        )

    @functools.cache  # noqa: B019 (an experiment lives as long as the program)
    def trainer(self, architecture: str) -> Trainer:
        """Trains evaluation networks; one for all runs, so that its step is compiled once."""
        return Trainer(
            self.create_network(architecture), recipe(self.config.evaluate), self.normaliser
        )

    @functools.cache  # noqa: B019
    def loop(self, method: str) -> Loop:
        """The loop of a method; one for all seeds, so that its step is compiled once."""
        context = methods.base.Context(
            data=self.device_data,
            network=self.network,
            pool=None if method == "random" else self.pool,
            normaliser=self.normaliser,
            parameterisation=self.form,
        )
        return Loop(methods.create(method, self.config, context))

    @property
    def runs(self) -> list[tuple[str, int]]:
        """All (method, distillation seed) pairs, the baselines first."""
        return [
            (method, seed)
            for method in (*self.config.baselines, self.config.method)
            for seed in self.config.distill.seeds
        ]

    def folder(self, method: str, seed: int) -> Path:
        """Where a run writes."""
        if (method, seed) == (self.config.method, self.config.distill.seeds[0]):
            return self.workdir
        return self.workdir / "runs" / f"{method}-seed{seed}"


def recipe(settings: Any) -> Recipe:
    """The training recipe in a section of the configuration."""
    return Recipe(
        epochs=settings.epochs,
        batch=settings.batch,
        optimiser=settings.optimiser,
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        decay_at=settings.decay_at,
        decay=settings.decay,
        augmentation=Augmentation.parse(settings.augmentation, mode=settings.augmentation_mode),
        cutmix=settings.cutmix,
        logit_adjustment=settings.get("logit_adjustment", 0.0),
    )


def run(config: Any, workdir: Path, *, stage: str = "all") -> tuple[Experiment, list[dict]]:
    """Runs an experiment, or one stage of it.

    Args:
      config: see `csdm_jax.config`.
      workdir: made when missing.
      stage: "all" or one of `STAGES`.

    Returns:
      The experiment and the rows of its result table (empty before evaluation).
    """
    experiment = Experiment(config, workdir)
    logging.info("%s", report.describe_data(experiment.dataset.name, experiment.longtail))
    experiment.workdir.mkdir(parents=True, exist_ok=True)
    if stage != "report":
        files.write_json(experiment.workdir / "config.json", config.to_dict())
    if stage in ("all", "extractors"):
        _extractor_stage(experiment)
    for method, seed in experiment.runs:
        if stage in ("all", "distill"):
            _distill_stage(experiment, method, seed)
        if stage in ("all", "evaluate"):
            _evaluate_stage(experiment, method, seed)
    if stage in ("all", "report"):
        folders = [experiment.folder(*one) for one in experiment.runs]
        return experiment, report.write(experiment.workdir, folders)
    return experiment, []


def _extractor_stage(experiment: Experiment) -> None:
    """Trains the pool and says how good it is (shown only: nothing is selected by it)."""
    start = time.monotonic()
    pool = experiment.pool
    accuracies = [
        evaluate.accuracy_by_class(
            experiment.network,
            jax.tree.map(lambda leaf, k=k: leaf[k], pool.trained),
            experiment.test_set,
            experiment.normaliser,
        )
        for k in range(pool.size)
    ]
    summary = {
        "count": pool.size,
        "evaluated_on": experiment.config.evaluate.on,
        "accuracy": [round(float(overall), 2) for overall, _ in accuracies],
        "accuracy_by_class": evaluate.listed(np.mean([row for _, row in accuracies], axis=0)),
        "seconds": round(time.monotonic() - start, 1),
    }
    files.write_json(experiment.workdir / "extractors.json", summary)
    logging.info("extractors: accuracy %s (shown only)", summary["accuracy"])


def _distill_stage(experiment: Experiment, name: str, seed: int) -> None:
    """Distils with one method and seed, and saves the set with its card."""
    start = time.monotonic()
    config = experiment.config
    loop = experiment.loop(name)
    folder = experiment.folder(name, seed)
    state = loop.run(
        jax.random.key(seed),
        log_every=config.distill.log_every,
        metrics_file=folder / "metrics.jsonl",
        label=f"{name} seed {seed}",
    )
    num_classes = experiment.dataset.num_classes
    result = distilled.DistilledSet(
        images=np.asarray(loop.method.stored(state)),
        labels=methods.base.stored_labels(num_classes, config.distill.ipc),
        parameterisation=config.distill.parameterisation,
        factor=config.distill.factor,
        num_classes=num_classes,
    )
    seconds = {"distillation": round(time.monotonic() - start, 1)}
    distilled.save(folder, result, _card(experiment, name, seed) | {"seconds": seconds})


def _card(experiment: Experiment, method: str, seed: int) -> dict[str, Any]:
    """The facts that a user of the distilled set needs."""
    dataset = experiment.dataset
    return {
        "method": method,
        "seed": seed,
        "ipc": experiment.config.distill.ipc,
        "value_range": [0.0, 1.0],
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "preprocessing": "(decoded image - mean) / std; test images: uint8 / 255, then the same",
        "layout": "NHWC, class-major",
        "class_names": list(dataset.class_names),
        "data": experiment.data_identity,
        "config": experiment.config.to_dict(),
        "versions": {name: metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "device": jax.devices()[0].device_kind,
    }


def _check_same_run(
    experiment: Experiment, name: str, seed: int, folder: Path, card: dict[str, Any]
) -> None:
    """Refuses to score a set that another configuration left in the folder."""
    expected = _card(experiment, name, seed)
    for field in ("method", "seed", "ipc", "data"):
        if card[field] != expected[field]:
            raise ValueError(
                f"the distilled set in {folder} has {field} {card[field]}, this configuration "
                f"{expected[field]}: give the configuration or the workdir that belong together"
            )


def _evaluate_stage(experiment: Experiment, name: str, seed: int) -> None:
    """Trains fresh networks on a saved set and adds their accuracies to its card."""
    start = time.monotonic()
    settings = experiment.config.evaluate
    folder = experiment.folder(name, seed)
    result, card = distilled.load(folder)
    _check_same_run(experiment, name, seed, folder, card)
    images, targets = result.training_data()
    accuracies = {}
    for architecture in settings.networks:
        evaluations = evaluate.evaluate(
            images,
            targets,
            experiment.test_set,
            trainer=experiment.trainer(architecture),
            seeds=range(settings.seed, settings.seed + settings.count),
            check_every=settings.check_every,
            label=f"evaluate {name} seed {seed} {architecture}",
        )
        accuracies[architecture] = [vars(one) for one in evaluations]
    card["config"]["evaluate"] = settings.to_dict()  # what gives the accuracies below
    seconds = card["seconds"] | {"evaluation": round(time.monotonic() - start, 1)}
    distilled.save(folder, result, card | {"accuracies": accuracies, "seconds": seconds})
