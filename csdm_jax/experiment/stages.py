"""The stages of an experiment: extractors, distillation, evaluation, report.

Every stage reads what the stage before left in the working directory, so each can be run alone;
and each leaves alone what is finished, so that the same command goes on after a stop. Timings go to
`timings.json`, apart from the results, which are the same bytes in every run.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from csdm_jax.data import Dataset
from csdm_jax.distillation import methods
from csdm_jax.distillation.loop import Cadence, Finished
from csdm_jax.distillation.methods.matching import spectral
from csdm_jax.distillation.needs import Pool, Teacher
from csdm_jax.evaluation import evaluate, statistics
from csdm_jax.experiment import claims, labelling
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.experiment.sections import Kind
from csdm_jax.experiment.supplies import POOL
from csdm_jax.reporting import compared, page, spectra, table
from csdm_jax.runtime import cluster, extras, interruption, memory
from csdm_jax.runtime.seeds import root_key
from csdm_jax.runtime.version import __version__
from csdm_jax.sets import distilled, tracks
from csdm_jax.storage import files
from csdm_jax.storage.journal import METRICS

STAGES = ("extractors", "distill", "evaluate", "report")
SHOWN = 5  # classes that a warning names
EVALUATION = labelling.EVALUATION
PACKAGES = ("jax", "flax", "optax", "numpy")


def run(
    config: Any,
    workdir: Path,
    *,
    stage: str = "all",
    dataset: Dataset | None = None,
    only: str | None = None,
) -> tuple[Experiment, list[dict]]:
    """Runs an experiment, or one stage of it, from where an earlier call left it.

    Args:
      config: see `csdm_jax.experiment.config`.
      workdir: made when missing.
      stage: "all" or one of `STAGES`.
      dataset: in place of the one that the configuration names.
      only: one of the methods, whose sets alone are distilled and evaluated, and nothing reported;
        others may run in other processes meanwhile.

    Returns:
      The experiment and the rows of its result table (empty before evaluation).

    Raises:
      ConfigError: for a configuration that breaks a rule, or another one than the directory's.
      LockedError: when another process works in the directory.
      Interrupted: when a signal asked for the end.
      ValueError: for a method that is not among the configuration's.
      FloatingPointError: when a number is no longer finite.
      MissingError: when the report needs a package that is not installed.
      ValueError, OSError: for data that cannot be used, and files that cannot be written.
    """
    experiment = prepared(config, workdir, stage=stage, dataset=dataset)
    wanted = (only,) if only else experiment.methods
    if not {*wanted} <= {*experiment.methods}:
        raise ValueError(f"only = {only!r}: it must be one of {', '.join(experiment.methods)}")
    if only and stage in ("extractors", "report"):
        raise ValueError(f"stage = {stage!r} is of all methods, not of {only!r}: leave only out")
    done = [one for one in STAGES if stage in ("all", one)]
    if only:
        done = [one for one in done if one in ("distill", "evaluate")]
    if not cluster.is_first():
        follow(experiment, done, wanted)
        return experiment, []
    with claims.claimed(experiment, only):
        rows = _run_stages(experiment, done, wanted)
    cluster.wait("the end")
    return experiment, rows


def prepared(
    config: Any, workdir: Path, *, stage: str = "all", dataset: Dataset | None = None
) -> Experiment:
    """The experiment, looked through for what would stop it; arguments and errors as of `run`."""
    if stage in ("all", "report"):
        extras.check("report", "jinja2", "matplotlib")
    experiment = Experiment(config, workdir, dataset=dataset)
    if stage in ("all", "evaluate"):
        experiment.check_tested()
    if stage == "report":
        experiment.check_images("show")
    logging.info("%s", table.describe_data(experiment.dataset.name, experiment.longtail))
    return experiment


def follow(experiment: Experiment, stages: Collection[str], wanted: Sequence[str]) -> None:
    """The part of a process that is not the first: the pool it is told, and every step."""
    if "extractors" in stages:
        _supply(experiment)
    if _evaluates_alone(stages):
        _supply_teacher(experiment)
    for method, seed in experiment.runs:
        if method in wanted and "distill" in stages and not cluster.first_says(False):
            distill(experiment.of(method), method, seed, identity={})
    cluster.wait("the end")


def _evaluates_alone(stages: Collection[str]) -> bool:
    """Whether sets that lie there are evaluated, and no stage before has supplied anything."""
    return [*stages] == ["evaluate"]


def _run_stages(
    experiment: Experiment, stages: Collection[str], wanted: Sequence[str]
) -> list[dict]:
    interruption.check("before the first stage")
    if "extractors" in stages:
        extractor_stage(experiment)
    if _evaluates_alone(stages):
        _supply_teacher(experiment)
    for method in wanted:
        method_stages(experiment, method, stages)
    if "report" in stages:
        interruption.check("before the report")
        return report_stage(experiment)
    return []


def method_stages(
    experiment: Experiment, method: str, stages: Collection[str] = ("distill", "evaluate")
) -> None:
    """Distils and evaluates the sets of one method, those of all seeds."""
    own = experiment.of(method)
    for seed in experiment.config.distill.seeds:
        interruption.check("between two runs")
        if "distill" in stages:
            distill_stage(own, method, seed)
        if "evaluate" in stages:
            evaluate_stage(own, method, seed)


def extractor_stage(experiment: Experiment) -> None:
    """Makes what the methods need, and says how good a pool is (nothing is selected by it)."""
    start = time.monotonic()
    if not _supply(experiment):
        logging.info("extractors: no method needs a pool")
        return
    pool = experiment.supplies.pool
    if not experiment.tested:
        logging.info("extractors: %d; no image to test them on", pool.size)
        return
    accuracies = experiment.pool_accuracies(experiment.network, pool)
    by_class = np.mean([row for _, row in accuracies], axis=0)
    groups = statistics.group_accuracies(by_class, experiment.host.counts)
    summary = {
        "count": pool.size,
        "evaluated_on": experiment.config.evaluate.on,
        "accuracy": [round(float(overall), 2) for overall, _ in accuracies],
        "accuracy_by_class": statistics.listed(by_class),
        "accuracy_by_group": {name: round(value, 2) for name, value in groups.items()},
    }
    files.write_json(experiment.workdir / "extractors.json", summary)
    _add_timing(experiment.workdir, extractors=time.monotonic() - start)
    shown = ", ".join(f"{name} {value:.1f}" for name, value in groups.items())
    where = f"on {summary['evaluated_on']} images"
    logging.info("extractors: accuracy %s, %s, %s (shown only)", summary["accuracy"], shown, where)
    _warn_of_missed(experiment, by_class)


def _warn_of_missed(experiment: Experiment, by_class: np.ndarray) -> None:
    """Says which classes no extractor is ever right about: features and labels of them say little.

    Args:
      experiment: of the extractors.
      by_class: percent, the mean over them; NaN for a class without images to test on.
    """
    names, settings = experiment.dataset.class_names, experiment.config.extractors
    missed = [name for name, own in zip(names, by_class, strict=True) if own == 0]
    if missed:
        some = ", ".join(missed[:SHOWN]) + (", ..." if len(missed) > SHOWN else "")
        against = "" if settings.logit_adjustment else ", or set extractors.logit_adjustment = 1"
        logging.warning(
            "extractors: right about no image of %d of %d classes (%s), their features and labels "
            "say little of these: raise extractors.epochs (%d, of %d images)%s",
            *(len(missed), len(names), some, settings.epochs, len(experiment.host), against),
        )


def _supply(experiment: Experiment) -> bool:
    """Makes what the methods of all runs need; whether the configuration's pool is among it."""
    pooled = False
    for method in experiment.methods:
        own = experiment.of(method)
        own.supplies.of(method)
        wanted = any(
            isinstance(one, Pool | Teacher) for one in methods.kind(method).needed(own.config)
        )
        pooled |= wanted and (own is experiment or own.shares(*POOL))
    if experiment.config.evaluate.soft_labels:
        pooled |= experiment.supplies.pool.size > 0
    return pooled


def _supply_teacher(experiment: Experiment) -> None:
    """Has every process take part in making the extractors, where labels are to come from them."""
    if not experiment.config.evaluate.soft_labels:
        return
    missing = cluster.is_first() and not all(
        labelling.is_labelled(experiment.of(method), experiment.folder(method, seed))
        for method, seed in experiment.runs
    )
    if cluster.first_says(missing):
        logging.info("%d extractors label the images", experiment.supplies.pool.size)


def distill_stage(experiment: Experiment, name: str, seed: int) -> None:
    """Distils with one method and seed, and saves the set with its card."""
    folder = experiment.folder(name, seed)
    if cluster.first_says(_is_distilled(experiment, name, seed)):
        logging.info("%s seed %d: distilled before", name, seed)
        return
    finished = distill(experiment, name, seed, identity=experiment.identity(name, seed))
    result = experiment.loop(name).method.result(finished.state)
    distilled.save(folder, result, _card(experiment, name, seed, finished))
    _add_timing(folder, distillation=finished.seconds, since_the_start=True)


def distill(experiment: Experiment, name: str, seed: int, *, identity: dict[str, Any]) -> Finished:
    """All steps of one method and seed; every process takes part."""
    settings = experiment.config.distill
    return experiment.loop(name).run(
        root_key("distillation", seed),
        Cadence(
            log_every=settings.log_every,
            checkpoint_every=settings.checkpoint_every,
            keep_checkpoints=settings.keep_checkpoints,
            on_nonfinite=settings.on_nonfinite,
            tensorboard=settings.tensorboard,
        ),
        folder=experiment.folder(name, seed),
        identity=identity,
        label=f"{name} seed {seed}",
    )


def _is_distilled(experiment: Experiment, name: str, seed: int) -> bool:
    """Whether the folder holds this run's finished set; what is damaged there is set aside."""
    folder = experiment.folder(name, seed)
    try:
        _, card = distilled.load(folder)
    except FileNotFoundError:
        return False
    except ValueError as error:
        for path in (folder / distilled.ARRAYS, folder / distilled.CARD):
            if path.exists():
                files.set_aside(path, error)
        return False
    _check_same_run(experiment, name, seed, folder, card)
    metrics = folder / METRICS
    return (
        card["config"]["distill"]["steps"] == experiment.config.distill.steps
        and metrics.exists()
        and files.sha256(metrics) == card.get("metrics_sha256")
    )


def _card(experiment: Experiment, method: str, seed: int, finished: Finished) -> dict[str, Any]:
    """The facts that a user of the distilled set needs."""
    dataset = experiment.dataset
    return {
        "method": method,
        "deviations": methods.deviations(method),
        "seed": seed,
        "ipc": experiment.config.distill.ipc,
        "value_range": [0.0, 1.0],
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "preprocessing": "(decoded image - mean) / std; test images: uint8 / 255, then the same",
        "layout": "NHWC, class-major",
        "image_shape": list(dataset.image_shape),
        "class_names": list(dataset.class_names),
        "rollbacks": finished.rollbacks,
        "metrics_sha256": files.sha256(experiment.folder(method, seed) / METRICS),
        "data": experiment.data_identity,
        "config": experiment.config.to_dict(),
        "settled": experiment.settled(method),
        "versions": {"csdm_jax": __version__}
        | {name: metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "device": jax.devices()[0].device_kind,
    }


def _check_same_run(
    experiment: Experiment, name: str, seed: int, folder: Path, card: dict[str, Any]
) -> None:
    """Refuses a set that another configuration left in the folder."""
    expected = {
        "method": name,
        "seed": seed,
        "ipc": experiment.config.distill.ipc,
        "class_names": list(experiment.dataset.class_names),
        "data": experiment.data_identity,
    }
    for field, value in expected.items():
        if card.get(field) != value:
            raise ValueError(
                f"the distilled set in {folder} has {field} {card.get(field)}, this configuration "
                f"{value}: give the configuration or the workdir that belong together"
            )
    if changed := changed_fields(card, experiment.config):
        raise ValueError(
            f"the distilled set in {folder} was made with another configuration "
            f"({'; '.join(changed)}): give the configuration or the workdir that belong together"
        )


def changed_fields(card: dict[str, Any], config: Any) -> list[str]:
    """The fields by which a card's run is another one, whatever its method and seed."""
    changed = configuration.differences(
        configuration.flatten(card["config"]), configuration.flatten(config)
    )
    free = {"method", "distill.seeds"} | configuration.of_others(card["method"])
    return [text for text in changed if text.partition(":")[0] not in free]


def evaluate_stage(experiment: Experiment, name: str, seed: int) -> None:
    """Trains fresh networks on a saved set and adds their accuracies to its card.

    And on the same images with soft labels, where the configuration asks for these.
    """
    start = time.monotonic()
    folder = experiment.folder(name, seed)
    _, card = distilled.load(folder)
    _check_same_run(experiment, name, seed, folder, card)
    if card["config"]["distill"]["steps"] != experiment.config.distill.steps:
        raise ValueError(
            f"the distilled set in {folder} has {card['config']['distill']['steps']} steps, "
            f"config.distill.steps is {experiment.config.distill.steps}: run the stage 'distill' "
            "there first"
        )
    _evaluate(experiment, folder, seed, f"evaluate {name} seed {seed}")
    _add_timing(folder, evaluation=time.monotonic() - start)
    if experiment.config.evaluate.soft_labels:
        start = time.monotonic()
        if not labelling.is_labelled(experiment, folder):
            labelling.label(experiment, folder)
        _evaluate(
            experiment, folder / tracks.FOLDER, seed, f"evaluate {name} seed {seed}, soft labels,"
        )
        _add_timing(folder, soft_evaluation=time.monotonic() - start)


def _evaluate(experiment: Experiment, folder: Path, seed: int, label: str) -> None:
    """Trains fresh networks on the set in a folder and adds their accuracies to its card."""
    result, card = distilled.load(folder)
    accuracies, kind = {}, Kind(lr=result.lr, soft=result.soft)
    for architecture in experiment.config.evaluate.networks:
        identity = {
            "distilled": card[distilled.DIGEST],
            "replicate": seed,
            "settings": experiment.evaluation_settings(kind),
        }
        evaluations = experiment.evaluate(
            architecture,
            *result.training_data(),
            kind=kind,
            kept=evaluate.ResultStore(folder / "evaluations" / architecture, identity),
            label=f"{label} {architecture}",
            replicate=seed,
        )
        accuracies[architecture] = [vars(one) for one in evaluations]
    card["config"]["data"]["data_dir"] = experiment.config.data.data_dir  # of the same images
    tested = int((np.asarray(experiment.test_set.labels) >= 0).sum())  # the rest is padding
    scored = {"accuracies": accuracies, "test_images": tested, EVALUATION: evaluate.FORMAT}
    distilled.save(folder, result, card | scored)


def report_stage(experiment: Experiment, comparison: dict[str, Any] | None = None) -> list[dict]:
    """Draws what is finished; returns the rows of the table.

    Args:
      experiment: at least one of its sets is there.
      comparison: numbers of `csdm_jax.reporting.compared`; those of an earlier comparison in the
        working directory, brought up to date, when left out.
    """
    comparison = comparison or compared.renewed(experiment.workdir, experiment.methods)
    host, names = experiment.host, experiment.dataset.class_names
    folders = [experiment.folder(*one) for one in experiment.runs]
    if (experiment.workdir / distilled.CARD).exists():
        _keep_spectrum(experiment, names)
        interruption.check("before the figures of the report")
    first = np.concatenate([[0], np.cumsum(host.counts)])
    real = {
        label: host.take(first[label] + np.arange(min(page.SHOWN_IMAGES, host.counts[label])))
        for label in page.shown_classes(host.counts)
    }
    section = compared.section(comparison) if comparison else None
    return table.write(experiment.workdir, folders, configuration.OF_THE_RUN, real, section)


def _keep_spectrum(experiment: Experiment, names: Sequence[str]) -> None:
    """Measures the characteristic functions of the set in the working directory, once."""
    result, card = distilled.load(experiment.workdir)
    if spectra.read(experiment.workdir, card) is not None:
        return
    experiment = experiment.of(experiment.config.method)
    params = experiment.supplies.first_extractor()
    if params is None:  # no method needed one
        return
    logging.info("report: characteristic functions of a head and a tail class")
    config = experiment.config.copy_and_resolve_references()
    config.update_from_flattened_dict(card.get("settled", {}))
    measured = spectra.measure(
        result,
        experiment.host,
        names,
        network=experiment.network,
        params=params,
        normaliser=experiment.normaliser,
        kernel=spectral.kernel_of(spectral.scaled(config)),
    )
    spectra.write(experiment.workdir, card, measured)


def _add_timing(folder: Path, *, since_the_start: bool = False, **seconds: float) -> None:
    """Adds seconds to the folder's timings, which are over all calls that worked there.

    Beside them the peak memory of the program up to now, the largest of all calls.
    `since_the_start`: the seconds themselves are over all calls.
    """
    path = folder / "timings.json"
    try:
        timings = files.read_sealed_json(path)
    except (FileNotFoundError, files.DamagedError):
        timings = {}
    for stage, spent in seconds.items():
        before = 0.0 if since_the_start else timings.get(stage, 0.0)
        timings[stage] = round(before + spent, 1)
        peaks = timings.setdefault("peak_memory_bytes", {})
        peaks[stage] = max(peaks.get(stage, 0), memory.peak())
    files.write_sealed_json(path, timings)
