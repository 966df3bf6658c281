"""What methods need, made (see `csdm_jax.distillation.needs`): networks found in their folder, or
trained there.

Every process asks for the same ones in the same order; the first trains, and tells the others.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax import networks
from csdm_jax.data.device import DeviceData, fits, to_device
from csdm_jax.data.host import HostData
from csdm_jax.distillation import methods, needs
from csdm_jax.experiment import sections
from csdm_jax.experiment.basis import Basis
from csdm_jax.runtime import cluster, paths
from csdm_jax.runtime.seeds import root_key
from csdm_jax.training import experts, extractors, trajectories
from csdm_jax.training.balanced import SecondStage
from csdm_jax.training.experts import Experts
from csdm_jax.training.trainer import Recipe, Trainer

POOL = ("extractors", "network")
"""Sections on which extractors depend."""


class Supplies:
    """The networks that methods are supplied with, on the real images of an experiment.

    Args:
      basis: configuration, data and network.
      lender: those of `basis.base`, which are taken where nothing sets these apart.
    """

    def __init__(self, basis: Basis, lender: Supplies | None):
        self._basis, self._lender = basis, lender
        self.config = basis.config

    def _lent(self, *more: str) -> Supplies | None:
        """Those of the lender, where extractors and these sections are the same there."""
        return self._lender if self._basis.shares(*POOL, *more) else None

    def of(self, method: str) -> tuple[Any, ...]:
        """What a method needs, in the order of its `needs`."""
        return tuple(map(self._supply, methods.kind(method).needed(self.config)))

    def _supply(self, need: needs.Need) -> Any:
        match need:
            case needs.Pool():
                return self.pool
            case needs.Teacher():
                return jax.tree.map(lambda leaf: leaf[0], self.pool.trained)
            case needs.Trajectories(every):
                return self.trajectories(every)
            case needs.Experts(flat, balanced):
                return self.experts(flat, balanced)
            case needs.Untrained(count):
                return self.untrained(count)

    @functools.cached_property
    def pool(self) -> extractors.Pool:
        """The extractors: loaded, or trained where they are missing, by the first process.

        Those of a file of sketches, where that stands for the training set.
        """
        if lender := self._lent():
            return lender.pool
        if self._basis.sketched is not None:
            return self._basis.sketched.pool(self._basis.network)
        on_host = self._basis.stays_on_host  # every process has to ask
        pool = self._own_pool(on_host)
        cluster.wait("the extractors")
        return cluster.broadcast(pool)

    @functools.cache  # noqa: B019
    def untrained(self, count: int) -> Any:
        """Weights of `count` networks before any training, stacked; the same on every process."""
        if lender := self._lent():
            return lender.untrained(count)
        key = root_key("untrained", self.config.extractors.seed)
        weights = [self._basis.network.init(jax.random.fold_in(key, k)) for k in range(count)]
        cluster.wait("the untrained networks")
        return cluster.broadcast(jax.tree.map(lambda *leaf: jnp.stack(leaf), *weights))

    @functools.cache  # noqa: B019
    def trajectories(self, every: int) -> trajectories.Trajectories:
        """Weights along the training of the extractors, like `pool`.

        Args:
          every: epochs between two snapshots.
        """
        if lender := self._lent():
            return lender.trajectories(every)
        on_host, settings = self._basis.stays_on_host, self.config.extractors
        shape = settings.count, trajectories.length(settings.epochs, every)
        found = trajectories.like(self._basis.network, *shape)
        if cluster.is_first():
            trainer = self._trainer(self._basis.network, sections.recipe(settings))
            images = self._for_training(self._basis.host, on_host)
            found = trajectories.ensure_trajectories(
                self._folder,
                self.pool_description(self._basis.network, self._basis.data_identity),
                trainer=trainer,
                data=images,
                count=settings.count,
                every=every,
                seed=settings.seed,
                second=self._second_stage(trainer, images),
            )
        cluster.wait("the trajectories")
        return cluster.broadcast(found)

    @functools.cache  # noqa: B019
    def experts(self, flat: bool, balanced: bool) -> Experts:
        """Networks whose whole training is kept: opened, or trained where they are missing.

        Processes that are not the first hold what the first has on its disk.

        Args:
          flat, balanced: see `csdm_jax.distillation.needs.Experts`.
        """
        if lender := self._lent("experts"):
            return lender.experts(flat, balanced)
        on_host, settings = self._basis.stays_on_host, self.config.experts
        more = settings.classifier_epochs if balanced else 0
        if not cluster.is_first():
            found = experts.like(self._basis.network, settings.count, settings.epochs, more)
        else:
            found = self._own_experts(flat, balanced, more, on_host)
        cluster.wait("the experts")
        return Experts(cluster.broadcast(found.rows), found.epochs)

    def _own_experts(self, flat: bool, balanced: bool, more: int, on_host: bool) -> Experts:
        settings = self.config.experts
        own = sections.recipe(settings)
        if flat:
            radius, gap = settings.sharpness, settings.surrogate_gap
            own = dataclasses.replace(own, sharpness=radius, surrogate_gap=gap)
        if balanced:
            own = dataclasses.replace(own, weight_decay=settings.balancing_decay)
        trainer = self._trainer(self._basis.network, own)
        described = {"experts": dataclasses.asdict(own), "seed": settings.seed}
        return experts.ensure_experts(
            self._folder,
            described | self._of_any_network(self._basis.network, self._basis.data_identity),
            trainer=trainer,
            data=self._for_training(self._basis.host, on_host),
            count=settings.count,
            seed=settings.seed,
            classifier_epochs=more,
        )

    def _own_pool(self, on_host: bool) -> extractors.Pool:
        settings = self.config.extractors
        if not cluster.is_first():
            return extractors.like(self._basis.network, settings.count)
        return self.train_pool(
            self._basis.network,
            self._basis.host,
            self._basis.data_identity,
            folder=self._folder,
            count=settings.count,
            on_host=on_host,
        )

    @property
    def _folder(self) -> Path:
        given = self.config.extractors.pool_dir
        return paths.given(given) if given else self._basis.workdir / "extractors"

    def train_pool(
        self,
        network: networks.Network,
        host: HostData,
        identity: dict[str, Any],
        *,
        folder: Path,
        count: int,
        on_host: bool = False,
    ) -> extractors.Pool:
        """Networks trained on real images by the recipe of `config.extractors`.

        Args:
          network: architecture.
          host: the images.
          identity: what tells these images from others.
          folder: where pools live; networks that are there are loaded, the others trained.
          count: how many networks.
          on_host: whether images stay on the host even where they would fit on the device.
        """
        settings = self.config.extractors
        trainer = self._trainer(network, sections.recipe(settings))
        images = self._for_training(host, on_host)
        return extractors.ensure_pool(
            folder,
            self.pool_description(network, identity),
            network=network,
            trainer=trainer,
            data=images,
            count=count,
            seed=settings.seed,
            second=self._second_stage(trainer, images),
        )

    def _second_stage(self, trainer: Trainer, images: DeviceData | HostData) -> SecondStage | None:
        """Of the extractors' training, where the configuration asks for one."""
        settings = self.config.extractors
        if not settings.classifier_epochs:
            return None
        return SecondStage(
            trainer,
            images,
            epochs=settings.classifier_epochs,
            learning_rate=settings.classifier_rate,
            seed=settings.seed,
        )

    @staticmethod
    def _for_training(host: HostData, on_host: bool) -> DeviceData | HostData:
        return to_device(host) if not on_host and fits(host) else host

    def pool_description(
        self, network: networks.Network, identity: dict[str, Any]
    ) -> dict[str, Any]:
        """All that the weights of a pool on the images of that identity depend on."""
        described = self.config.extractors.to_dict() | self._of_any_network(network, identity)
        for field in ("count", "pool_dir"):  # a larger pool starts with the smaller one
            del described[field]
        for field in ("consistency", "reweighting", "classifier_epochs"):
            if not described[field]:  # pools are older than these
                del described[field]
        if "classifier_epochs" not in described:
            del described["classifier_rate"]
        return described

    def _of_any_network(
        self, network: networks.Network, identity: dict[str, Any]
    ) -> dict[str, Any]:
        """What the weights of a network that is trained on these images depend on, but for how."""
        return {
            "network": self.config.network.to_dict() | {"name": network.name},
            "data": identity,
            "mean": self._basis.dataset.mean,
            "std": self._basis.dataset.std,
        }

    def first_extractor(self) -> Any | None:
        """Weights of the first extractor, when it has been trained; nothing is trained here."""
        described = self.pool_description(self._basis.network, self._basis.data_identity)
        return extractors.trained(self._folder, described, self._basis.network)

    def _trainer(self, network: networks.Network, recipe: Recipe) -> Trainer:
        return Trainer(network, recipe, self._basis.normaliser, self.config.parallel)
