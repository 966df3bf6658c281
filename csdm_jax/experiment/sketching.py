"""Writing sketches: what of a training set a matching method reads, without its images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from csdm_jax.data import Dataset
from csdm_jax.data.host import HostData
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation import methods
from csdm_jax.distillation.methods.matching import sketched
from csdm_jax.distillation.methods.matching.matching import Matching
from csdm_jax.distillation.needs import Pool
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import sketch_files
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.experiment.sketch_files import SketchFile
from csdm_jax.runtime import interruption
from csdm_jax.runtime.progress import Progress
from csdm_jax.runtime.seeds import root_key
from csdm_jax.runtime.version import __version__
from csdm_jax.storage import lock
from csdm_jax.training import extractors

WHOLE = (1, 1)


def write(
    config: Any,
    workdir: Path,
    out: Path,
    *,
    part: tuple[int, int] = WHOLE,
    like: Path | None = None,
    dataset: Dataset | None = None,
) -> SketchFile:
    """Writes a file of `distill.views` sketches of whole classes for `config.method`.

    Args:
      config: of the experiment whose first distillation seed draws the views.
      workdir: of the experiment; its extractors are used, or trained there.
      out: the file, which must not exist.
      part: k and n: every n-th image of each class from the k-th on, k from 1.
      like: a file whose extractors, normalisation, settings and keys are used in place of those
        that these data give, so that both can be merged.
      dataset: in place of the one that the configuration names.

    Raises:
      ValueError: for a method that keeps more of the images than sums, before anything is trained,
        or a file `like` of other settings.
      OSError: when the file exists or cannot be written.
    """
    _check_new(out)
    config = configuration.of_method(config, config.method).copy_and_resolve_references()
    config.distill.sketches, config.baselines = "", ()
    if "distill.loss_scale" in methods.kind(config.method).fields:
        config.distill.loss_scale = 1.0  # no view depends on it
    given = None if like is None else SketchFile.read(like)
    if given is not None:
        _check_alike(given, config)
    experiment = Experiment(config, workdir, dataset=dataset)
    if given is not None:
        if given.facts["class_names"] != [*experiment.dataset.class_names]:
            raise ValueError(
                f"{given.name} has the classes {given.facts['class_names']}, these data "
                f"{[*experiment.dataset.class_names]}: give data with the same ones"
            )
        experiment.normaliser = Normaliser(*(tuple(given.facts[n]) for n in ("mean", "std")))
        experiment.supplies.pool = given.pool(experiment.network)
    _check_sums(experiment)
    with lock.held(experiment.workdir):
        file = _file_of(experiment, part, given)
        file.write(out)
    return file


def merge(paths: Sequence[Path], out: Path) -> SketchFile:
    """Writes the file of several parts of the data together.

    Raises:
      ValueError: for files that do not belong together, or fewer than two.
      OSError: when the file exists or cannot be written.
    """
    _check_new(out)
    if len(paths) < 2:
        raise ValueError(f"--merge takes two files or more, got {len(paths)}: name them")
    merged = functools.reduce(SketchFile.merged, map(SketchFile.read, paths))
    merged.write(out)
    return merged


def described(file: SketchFile) -> str:
    """A file's content in a line."""
    views, classes = file.sums["weight"].shape
    return (
        f"{views} views of {sum(file.counts)} images in {classes} classes "
        f"({min(file.counts)} to {max(file.counts)}), for {file.facts['method']}"
    )


def _check_new(out: Path) -> None:
    if out.exists():
        raise FileExistsError(f"{out} exists: give another --out")


def _check_alike(given: SketchFile, config: Any) -> None:
    """Raises a ValueError when other sketches would be drawn than those of the file."""
    given.check_fields(config, config.method)
    if config.distill.views != len(given.key_data):
        raise ValueError(
            f"{given.name} has {len(given.key_data)} views, distill.views is "
            f"{config.distill.views}: give as many"
        )


def _method(experiment: Experiment, settled: dict[str, Any]) -> Matching:
    """The method with views; what does not bear on them is set to anything."""
    config = experiment.config.copy_and_resolve_references()
    config.update_from_flattened_dict(settled)
    config.distill.view_uses, config.distill.classes_per_step = 2, 0
    made = methods.create(config.method, config, experiment.context)
    if not isinstance(made, Matching):
        raise ValueError(f"the method {config.method!r} reads images: choose csdm, dm or ncfm")
    if made.schedule.needs != (Pool(),):
        raise ValueError(
            f"distill.extractor = {config.distill.extractor!r}: sketches are of extractors of a "
            "pool: choose blended, trained or fresh"
        )
    return made


def _check_sums(experiment: Experiment) -> None:
    """Refuses, by shapes alone, what keeps more than sums."""
    network, count = experiment.network, experiment.config.extractors.count
    open_scales = {
        name: 1.0
        for name in ("sdd.scale", "ncfm.scale")
        if not configuration.flatten(experiment.config)[name]
    }
    method = _method(experiment, open_scales)
    sizes = experiment.longtail.counts
    images = jax.ShapeDtypeStruct((sum(sizes), *experiment.dataset.image_shape), np.uint8)
    supplied = tuple(
        jax.eval_shape(lambda: extractors.like(network, count))
        for _ in methods.kind(experiment.config.method).needed(experiment.config)
    )
    jax.eval_shape(sketched.draw(method, sizes), supplied, images, jax.random.key(0))


def _file_of(experiment: Experiment, part: tuple[int, int], given: SketchFile | None) -> SketchFile:
    """Draws the views and puts everything together."""
    config, dataset = experiment.config, experiment.dataset
    supplied = experiment.supplies.of(config.method)
    if given is None:
        settled = methods.kind(config.method).settle(config, experiment.context, supplied)
        keys = _keys(config)
    else:
        settled = given.facts["settled"]
        keys = jax.random.wrap_key_data(jnp.asarray(given.key_data))
    rows, counts = _rows(experiment.host.counts, *part)
    sums = _sums(_method(experiment, settled), supplied, experiment.host, rows, counts, keys)
    normaliser = experiment.normaliser
    facts = {
        "method": config.method,
        "fields": sketch_files.fields_of(config, config.method),
        "settled": settled,
        "class_names": [*dataset.class_names],
        "counts": [*counts],
        "image_shape": [*dataset.image_shape],
        "mean": [*normaliser.mean],
        "std": [*normaliser.std],
        "parts": [{"data": experiment.data_identity["images_sha256"], "part": [*part]}],
        "versions": {"csdm_jax": __version__, "jax": jax.__version__},
    }
    key_data = np.asarray(jax.random.key_data(keys))
    facts["drawn"] = sketch_files.drawn_by(key_data)
    return SketchFile(facts, sums, key_data, sketch_files.weights_of(experiment.supplies.pool))


def _keys(config: Any) -> jax.Array:
    """`[V]`, of the views that the first seed of a run draws."""
    run_key = jax.random.split(root_key("distillation", config.distill.seeds[0]))[1]
    numbers = jnp.arange(config.distill.views)
    return jax.vmap(lambda number: jax.random.fold_in(run_key, number))(numbers)


def _rows(counts: tuple[int, ...], number: int, parts: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """The class-major rows of a part of each class, and how many of each it has."""
    starts = np.cumsum(counts) - counts
    own = [
        start + np.arange(number - 1, count, parts)
        for start, count in zip(starts, counts, strict=True)
    ]
    return np.concatenate(own), tuple(map(len, own))


def _sums(
    method: Matching,
    supplied: tuple[Any, ...],
    host: HostData,
    rows: np.ndarray,
    counts: tuple[int, ...],
    keys: jax.Array,
) -> dict[str, np.ndarray]:
    """The sums of every view, float32 `[V, C, ...]` by name."""
    draw = jax.jit(sketched.draw(method, counts))
    images, found = jnp.asarray(host.take(rows)), []
    progress = Progress("sketches", len(keys))
    for number, key in enumerate(keys):
        interruption.check("between two sketches")
        sums, finite = draw(supplied, images, key)
        if not finite:
            raise FloatingPointError(
                f"features are not finite in view {number}: check the extractors and the data"
            )
        found.append(jax.device_get(sums))
        progress.reach(number + 1)
    progress.close()
    logging.info("sketches: %d views of %d images", len(keys), len(rows))
    return {name: np.stack([one[name] for one in found]) for name in found[0]}
