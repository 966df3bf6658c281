"""One experiment: what its stages share, built from a configuration and checked before they run.

The first seed of `config.method` writes to the working directory itself; other seeds and the
baselines write to `runs/<method>-seed<k>` in it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from csdm_jax import networks
from csdm_jax.distillation import methods
from csdm_jax.distillation.loop import Loop
from csdm_jax.distillation.methods.matching.sketched import FromSketches
from csdm_jax.evaluation import evaluate
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import sections, settled
from csdm_jax.experiment.basis import Basis
from csdm_jax.experiment.sections import COMMON, Kind
from csdm_jax.experiment.supplies import Supplies
from csdm_jax.runtime import cluster, interruption
from csdm_jax.training import extractors
from csdm_jax.training.trainer import LOSSES, Recipe, Trainer


class Experiment(Basis):
    """What the stages share: the basis, and what is trained, distilled and tested on it.

    Arguments and errors as of `Basis`.
    """

    @functools.cached_property
    def supplies(self) -> Supplies:
        """The networks that methods are supplied with."""
        return Supplies(self, None if self.base is None else self.base.supplies)

    def identity(self, method: str, seed: int) -> dict[str, Any]:
        """What a run's images depend on: a flat dict, the same for the same images."""
        skipped = {*configuration.MAY_CHANGE, "method"} | configuration.of_others(method)
        skipped |= methods.kind(method).unread(self.config)
        settings = {
            name: value
            for name, value in configuration.flatten(self.config).items()
            if name not in skipped and not name.startswith("evaluate.")
        }
        if not settings["distill.seconds"]:  # runs from before there were budgets go on
            del settings["distill.seconds"]
        return {"method": method, "seed": seed, "data": self.data_identity} | settings

    def pool_accuracies(
        self, network: networks.Network, pool: extractors.Pool
    ) -> list[tuple[float, np.ndarray]]:
        """Accuracy of each trained network of a pool, as `evaluate.accuracy_by_class`."""
        accuracies = []
        trained = jax.device_get(pool.trained)  # a slice on the device is a program a shape
        for k in range(pool.size):
            interruption.check("between two extractors")
            params = jax.tree.map(lambda leaf, k=k: leaf[k], trained)
            accuracies.append(
                evaluate.accuracy_by_class(network, params, self.test_set, self.normaliser)
            )
        return accuracies

    def trainer(self, architecture: str, kind: Kind = COMMON) -> Trainer:
        """Trains evaluation networks; one for all runs, so that its step is compiled once."""
        section = sections.evaluation_section(self.config.evaluate, kind)
        return self._trainer_of(architecture, sections.recipe(section))

    @functools.cache  # noqa: B019 (an experiment lives as long as the program)
    def _trainer_of(self, architecture: str, recipe: Recipe) -> Trainer:
        if self.base is not None and self.shares("network"):
            return self.base._trainer_of(architecture, recipe)
        network = self.create_network(architecture)
        return Trainer(network, recipe, self.normaliser, self.config.parallel)

    def evaluation_settings(self, kind: Kind = COMMON) -> dict[str, Any]:
        """What one evaluation depends on beside the set and the network's seed."""
        section = sections.evaluation_section(self.config.evaluate, kind)
        settings = {
            name: value
            for name, value in section.to_dict().items()
            if name not in ("networks", "count", "seed") and not name.startswith("soft_")
        }
        if section.soft_loss != LOSSES[0]:
            settings["loss"] = section.soft_loss
        return settings | {
            "format": evaluate.FORMAT,
            "network": self.config.network.to_dict(),
            "mean": self.dataset.mean,
            "std": self.dataset.std,
            "data": self.data_identity,
            "tested_on": self.test_identity,
        }

    @property
    def evaluation_seeds(self) -> range:
        """Seeds of the evaluation networks."""
        settings = self.config.evaluate
        return range(settings.seed, settings.seed + settings.count)

    def evaluate(
        self,
        architecture: str,
        images: jax.Array,
        targets: jax.Array,
        *,
        kept: evaluate.ResultStore,
        label: str,
        seeds: range | None = None,
        replicate: int = 0,
        kind: Kind = COMMON,
    ) -> list[evaluate.Result]:
        """Trains fresh networks on a set by the recipe of `config.evaluate` and tests them.

        Args:
          architecture: a name of `csdm_jax.networks`.
          images: `[n, H, W, ch]`, as `evaluate.evaluate` takes them.
          targets: `[n, K]` class probabilities.
          kept: where finished networks are kept.
          label: name in the progress line.
          seeds: of the networks; those of the configuration when left out.
          replicate: the seed of the distillation, see `evaluate.evaluate`.
          kind: what the set asks for.
        """
        return evaluate.evaluate(
            images,
            targets,
            self.test_set,
            trainer=self.trainer(architecture, kind),
            seeds=self.evaluation_seeds if seeds is None else seeds,
            replicate=replicate,
            check_every=self.config.evaluate.check_every,
            label=label,
            kept=kept,
        )

    @functools.cached_property
    def context(self) -> methods.base.Context:
        """What methods may use of it."""
        settings = self.config.distill
        return methods.base.Context(
            host=self.host,
            network=self.create_network(self.config.network.name, settings.dtype),
            normaliser=self.normaliser,
            stored_as=(settings.parameterisation, settings.factor),
            devices=self.devices,
            start=settings.initialisation,
            first=self.first,
            sketches=None if self.sketched is None else self.sketched.sketches(),
        )

    @functools.cache  # noqa: B019
    def settled(self, method: str) -> dict[str, Any]:
        """The fields that the configuration leaves open to a method, and what it sets them to."""
        folders = [self.folder(method, seed) for seed in self.config.distill.seeds]
        file = settled.Kept(self.workdir, method, lambda: self.identity(method, 0), folders)
        kept = file.read() if cluster.is_first() else None
        if not cluster.first_says(kept is not None):
            kept = self._settle(method)
            if cluster.is_first() and kept:
                file.write(kept)
        found = cluster.told(kept)
        if found:
            logging.info("%s: %s", method, ", ".join(f"{n} = {v:g}" for n, v in found.items()))
        return found

    def _settle(self, method: str) -> dict[str, Any]:
        """What the rules of the method set them to."""
        given, config = self.supplies.of(method), self.config
        already = {} if self.sketched is None else self.sketched.facts["settled"]
        config = config.copy_and_resolve_references()
        config.update_from_flattened_dict(already)
        fields = already | methods.kind(method).settle(config, self.context, given)
        return fields | self._steps_in_time(method, fields)

    def _steps_in_time(self, method: str, fields: dict[str, Any]) -> dict[str, int]:
        """As many steps as fit into `distill.seconds`; nothing where no budget is set."""
        seconds = self.config.distill.seconds
        loop = self._create_loop(method, fields) if seconds else None
        if loop is None or not loop.method.phases:
            return {}
        per_step = loop.seconds_a_step(jax.random.key(self.config.distill.seeds[0]))
        return {"distill.steps": max(1, int(seconds / per_step))}

    @functools.cache  # noqa: B019
    def loop(self, method: str) -> Loop:
        """The loop of a method; one for all seeds, so that its step is compiled once."""
        return self._create_loop(method, self.settled(method))

    def _create_loop(self, method: str, fields: dict[str, Any]) -> Loop:
        config = self.config.copy_and_resolve_references()
        config.update_from_flattened_dict(fields)
        made = methods.create(method, config, self.context)
        given = self.supplies.of(method)
        if self.sketched is not None:
            made, given = FromSketches(made), (self.context.sketches, *given)
        return Loop(made, self.training_data, given, self.devices)

    @property
    def runs(self) -> list[tuple[str, int]]:
        """All (method, distillation seed) pairs, the baselines first."""
        return runs_of(self.config)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, the baselines first."""
        return tuple(dict.fromkeys(method for method, _ in self.runs))

    def folder(self, method: str, seed: int) -> Path:
        """Where a run writes."""
        return run_folder(self.config, self.workdir, method, seed)


def runs_of(config: Any) -> list[tuple[str, int]]:
    """All (method, distillation seed) pairs of a configuration, the baselines first."""
    return [
        (method, seed)
        for method in (*config.baselines, config.method)
        for seed in config.distill.seeds
    ]


def run_folder(config: Any, workdir: Path, method: str, seed: int) -> Path:
    """Where the run of a method and a seed writes."""
    if (method, seed) == (config.method, config.distill.seeds[0]):
        return workdir
    return workdir / "runs" / f"{method}-seed{seed}"
