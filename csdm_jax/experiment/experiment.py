"""One experiment: what its stages share, built from a configuration and checked before they run.

The first seed of `config.method` writes to the working directory itself; other seeds and the
baselines write to `runs/<method>-seed<k>` in it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from csdm_jax import data, networks, parameterisations
from csdm_jax.augment import Augmentation
from csdm_jax.data import longtail
from csdm_jax.data.device import DeviceData, check_classes_per_step, fits, to_device
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import check_ipc, left_out, tuning_split
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation import methods, starts
from csdm_jax.distillation.loop import Loop
from csdm_jax.distillation.methods.matching.sketched import FromSketches
from csdm_jax.evaluation import evaluate
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import sections, sketch_files, supplies
from csdm_jax.experiment.sections import COMMON, Kind
from csdm_jax.runtime import cluster, interruption, paths
from csdm_jax.runtime.seeds import root_key
from csdm_jax.runtime.sharding import Devices
from csdm_jax.sets import distilled
from csdm_jax.storage import events, files
from csdm_jax.training import experts, extractors, trajectories
from csdm_jax.training.balanced import SecondStage
from csdm_jax.training.experts import Experts
from csdm_jax.training.trainer import LOSSES, Recipe, Trainer

TUNING_PER_CLASS = 500
POOL = ("extractors", "network")
"""Sections on which extractors depend."""
SETTLED = "settled"
"""Folder in the working directory: what methods have set for themselves, a file each."""


def _load(settings: Any) -> data.Dataset:
    """The data set that the section `data` of a configuration names."""
    return data.load(
        settings.name,
        data_dir=settings.data_dir or None,
        cache_dir=settings.cache_dir or None,
        reading=data.Reading.of(settings),
    )


T = TypeVar("T")


def _of_the_data(make: Callable[[Any], T]) -> functools.cached_property[T]:
    """A cached property that depends on the data alone: experiments on the same data share it."""

    @functools.wraps(make)
    def get(experiment: Any) -> T:
        base = experiment.base
        return make(experiment) if base is None else getattr(base, make.__name__)

    return functools.cached_property(get)


class Experiment:
    """What the stages share, built from a valid configuration.

    Args:
      config: a ConfigDict with the fields of `csdm_jax.experiment.config.schema`.
      workdir: where everything is written.
      base: an experiment on the same data and in the same directory, whose data are shared.
      dataset: in place of the one that the section `data` names.

    Where `distill.sketches` names a file, that stands for the training set, and the data set gives
    first images, where the start reads some, and nothing else.

    Raises:
      ConfigError: for a field that breaks its rule.
      ValueError, FileNotFoundError: for data that cannot be used, before anything is compiled.
    """

    def __init__(
        self,
        config: Any,
        workdir: Path,
        base: Experiment | None = None,
        dataset: data.Dataset | None = None,
    ):
        configuration.validate(config)
        self.config = config
        self.workdir = Path(workdir)
        self.codec = parameterisations.create(
            config.distill.parameterisation, config.distill.factor
        )
        self.base = base
        self.sketched: sketch_files.SketchFile | None = (
            base.sketched if base else sketch_files.named_by(config)
        )
        self.dataset, self.longtail = self._data(dataset)
        self.first = self._first_images(dataset)
        self.codec.check(self.dataset.image_shape)
        self._check_ipc()
        self._check_form()
        self.network = self.create_network(config.network.name)
        self.normaliser = Normaliser(self.dataset.mean, self.dataset.std)
        self._check_late_settings()

    def _data(self, given: data.Dataset | None) -> tuple[data.Dataset, longtail.LongTail]:
        """The data set and what is trained on of it; without images where there are sketches."""
        if self.base is not None:
            return self.base.dataset, self.base.longtail
        if self.sketched is not None:
            return self.sketched.dataset(), self.sketched.longtail()
        loaded = given or _load(self.config.data)
        return loaded, longtail.build(loaded, self.config.data)

    def _first_images(self, given: data.Dataset | None) -> HostData | None:
        """Images for the start alone, where sketches stand for the training set."""
        if self.sketched is None or not self._start.reads_images:
            return None
        if self.base is not None and self.base.first is not None:
            return self.base.first
        loaded = given or _load(self.config.data)
        for name in ("class_names", "image_shape"):
            own, theirs = getattr(self.dataset, name), getattr(loaded, name)
            if own != theirs:
                raise ValueError(
                    f"the sketches have {name} {own}, the images of {loaded.name} for the start "
                    f"{theirs}: give images of the same kind, or distill.initialisation=noise"
                )
        return HostData.create(loaded, longtail.build(loaded, self.config.data))

    @property
    def _start(self) -> starts.Start:
        return starts.STARTS[self.config.distill.initialisation]

    def _check_ipc(self) -> None:
        """Refuses an IPC for which the smallest class has too few real images to start from."""
        settings = self.config.distill
        if self.sketched is not None and self.first is None:
            return
        if not settings.reuse_images:
            check_ipc(
                (self.first or self.longtail).counts,
                settings.ipc * self.codec.tiles,
                names=self.dataset.class_names,
                remedy="choose a smaller distill.ipc, distill.factor or data.imbalance_factor, or "
                "--config.distill.reuse_images=True to use real images more than once",
            )

    def _check_form(self) -> None:
        """Refuses a parameterisation of classes with too few stored images, or no real ones."""
        settings = self.config.distill
        if not isinstance(self.codec, parameterisations.OfClasses):
            return
        self.codec.check_ipc(self.dataset.image_shape, settings.ipc)
        if self.sketched is not None and self.first is None:
            raise ValueError(
                f"distill.parameterisation = {settings.parameterisation!r} is fitted to real "
                "images, and a start from noise beside sketches has none: choose another "
                "distill.initialisation, or 'pixels' or 'mosaic'"
            )

    def _check_late_settings(self) -> None:
        """Builds now what is needed only hours later, so that a mistake shows at once."""
        config = self.config
        if config.distill.tensorboard:
            events.writer()
        if config.evaluate.on == "tuning" and self.sketched is None:
            left_out(self.dataset, self.longtail)
        check_classes_per_step(config.distill.classes_per_step, self.dataset.num_classes)
        for architecture in config.evaluate.networks:
            self.create_network(architecture)
        for section in (config.extractors, config.evaluate, config.distill):
            Augmentation.parse(section.augmentation, mode=section.augmentation_mode)
        for method in (config.method, *config.baselines):
            methods.check(method, config)
            if self.sketched is not None:
                self.sketched.check(configuration.of_method(config, method), method)
            self.of(method)

    @functools.cache  # noqa: B019 (an experiment lives as long as the program)
    def of(self, method: str) -> Experiment:
        """The experiment as a method is run in it: with what is the method's own."""
        config = configuration.of_method(self.config, method)
        if self.base is not None or config is self.config:
            return self
        if config.recipe == "published" and not self.dataset.name.startswith("cifar"):
            logging.warning("what was published for %s, for CIFAR, is used on other data", method)
        return Experiment(config, self.workdir, self)

    def shares(self, *sections: str) -> bool:
        """Whether the experiment that lends the data has these sections of the configuration, too.

        What depends on nothing else is then made there, once for all methods.
        """
        base = self.base
        return base is not None and all(self.config[n] == base.config[n] for n in sections)

    def create_network(self, name: str, dtype: str = "float32") -> networks.Network:
        """A network for this data, as wide as `config.network` says; a ConvNet as deep, too."""
        dataset = self.dataset
        return sections.network_of(
            self.config.network, name, dataset.num_classes, dataset.image_shape, dtype
        )

    @_of_the_data
    def host(self) -> HostData:
        """The long-tailed training set on the host."""
        if self.sketched is not None:
            return self.sketched.host()
        return HostData.create(self.dataset, self.longtail)

    @functools.cached_property
    def devices(self) -> Devices:
        """Where the steps of a distillation run."""
        return Devices.all()

    @_of_the_data
    def stays_on_host(self) -> bool:
        """Whether training images are read batch by batch: asked for, or they are too large."""
        if self.sketched is not None:
            return True
        placement = self.config.data.placement
        too_large = placement == "auto" and not fits(self.host, self.devices)
        return cluster.first_says(placement == "host" or too_large)

    @_of_the_data
    def training_data(self) -> DeviceData | HostData:
        """The training set where the steps of a distillation read it."""
        if self.sketched is not None:
            return self.host
        stays = self.stays_on_host
        where = "host, read batch by batch" if stays else f"{self.devices.count} device(s)"
        logging.info("%.0f MB of training images on the %s", self.host.nbytes / 1e6, where)
        return self.host if stays else to_device(self.host, self.devices)

    @_of_the_data
    def data_identity(self) -> dict[str, Any]:
        """Name, rule, seed and hashes of the long-tailed set: its indices and its pixels."""
        return {
            "name": self.dataset.name,
            **self.longtail.describe(),
            **self.dataset.facts,
            "images_sha256": (self.first or self.host).sha256(),
        }

    @_of_the_data
    def test_identity(self) -> str:
        """SHA-256 of what evaluation looks at: images and labels."""
        test = self.test_set
        digest = hashlib.sha256(np.asarray(test.labels).tobytes())
        for batch in test.images:
            digest.update(np.asarray(batch).tobytes())
        return digest.hexdigest()

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

    @_of_the_data
    def test_set(self) -> evaluate.TestSet:
        """The whole test set on the device, or what stands in for it while tuning."""
        dataset = self.dataset
        self.check_tested()
        if self.config.evaluate.on == "tuning":
            dataset = tuning_split(dataset, self.longtail, TUNING_PER_CLASS)
        return evaluate.TestSet.create(
            dataset.test_images, dataset.test_labels, dataset.num_classes
        )

    @property
    def tested(self) -> bool:
        """Whether there are images to evaluate on."""
        if self.sketched is not None:
            return False
        return bool(len(self.dataset.test_images)) or self.config.evaluate.on == "tuning"

    def check_tested(self) -> None:
        """Raises a ValueError where there are none."""
        self.check_images("test")
        if not self.tested:
            raise ValueError(
                f"{self.dataset.name} has no test images, so that no network can be tested: give "
                "some, or hold some of the training images out"
            )

    def check_images(self, purpose: str) -> None:
        """Raises a ValueError where sketches stand for the images that a purpose needs."""
        if self.sketched is not None:
            raise ValueError(
                f"distill.sketches = {self.config.distill.sketches!r} has no images to {purpose}: "
                f"give --stage=distill here, and where images are: python -m csdm_jax.score "
                f"{self.workdir} --config=..."
            )

    @functools.cached_property
    def pool(self) -> extractors.Pool:
        """The extractors: loaded, or trained where they are missing, by the first process.

        Those of a file of sketches, where that stands for the training set.
        """
        if self.base is not None and self.shares(*POOL):
            return self.base.pool
        if self.sketched is not None:
            return self.sketched.pool(self.network)
        on_host = self.stays_on_host  # every process has to ask
        pool = self._own_pool(on_host)
        cluster.wait("the extractors")
        return cluster.broadcast(pool)

    @functools.cache  # noqa: B019
    def untrained(self, count: int) -> Any:
        """Weights of `count` networks before any training, stacked; the same on every process."""
        if self.base is not None and self.shares(*POOL):
            return self.base.untrained(count)
        key = root_key("untrained", self.config.extractors.seed)
        weights = [self.network.init(jax.random.fold_in(key, k)) for k in range(count)]
        cluster.wait("the untrained networks")
        return cluster.broadcast(jax.tree.map(lambda *leaf: jnp.stack(leaf), *weights))

    @functools.cache  # noqa: B019
    def trajectories(self, every: int) -> trajectories.Trajectories:
        """Weights along the training of the extractors, like `pool`.

        Args:
          every: epochs between two snapshots.
        """
        if self.base is not None and self.shares(*POOL):
            return self.base.trajectories(every)
        on_host, settings = self.stays_on_host, self.config.extractors
        shape = settings.count, trajectories.length(settings.epochs, every)
        found = trajectories.like(self.network, *shape)
        if cluster.is_first():
            trainer = self._create_trainer(self.network, sections.recipe(settings))
            images = self._for_training(self.host, on_host)
            found = trajectories.ensure_trajectories(
                self._pool_folder,
                self.pool_description(self.network, self.data_identity),
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
        if self.base is not None and self.shares(*POOL, "experts"):
            return self.base.experts(flat, balanced)
        on_host, settings = self.stays_on_host, self.config.experts
        more = settings.classifier_epochs if balanced else 0
        if not cluster.is_first():
            found = experts.like(self.network, settings.count, settings.epochs, more)
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
        trainer = Trainer(self.network, own, self.normaliser, self.config.parallel)
        described = {"experts": dataclasses.asdict(own), "seed": settings.seed}
        return experts.ensure_experts(
            self._pool_folder,
            described | self._of_any_network(self.network, self.data_identity),
            trainer=trainer,
            data=self._for_training(self.host, on_host),
            count=settings.count,
            seed=settings.seed,
            classifier_epochs=more,
        )

    def _own_pool(self, on_host: bool) -> extractors.Pool:
        settings = self.config.extractors
        if not cluster.is_first():
            return extractors.like(self.network, settings.count)
        return self.train_pool(
            self.network,
            self.host,
            self.data_identity,
            folder=self._pool_folder,
            count=settings.count,
            on_host=on_host,
        )

    @property
    def _pool_folder(self) -> Path:
        given = self.config.extractors.pool_dir
        return paths.given(given) if given else self.workdir / "extractors"

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
        trainer = self._create_trainer(network, sections.recipe(settings))
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
            "mean": self.dataset.mean,
            "std": self.dataset.std,
        }

    def trained_extractor(self) -> Any | None:
        """Weights of the first extractor, when it has been trained; nothing is trained here."""
        described = self.pool_description(self.network, self.data_identity)
        return extractors.trained(self._pool_folder, described, self.network)

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
        return self._create_trainer(self.create_network(architecture), recipe)

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

    def _create_trainer(self, network: networks.Network, recipe: Recipe) -> Trainer:
        return Trainer(network, recipe, self.normaliser, self.config.parallel)

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
        """The fields that the configuration leaves open to a method, and what it sets them to.

        They are kept in the working directory: on other hardware the rule might round otherwise,
        and a run that goes on there keeps its numbers.
        """
        kept = self._kept(method) if cluster.is_first() else None
        if not cluster.first_says(kept is not None):
            given, config = supplies.supplied(self, method), self.config
            already = {} if self.sketched is None else self.sketched.facts["settled"]
            config = config.copy_and_resolve_references()
            config.update_from_flattened_dict(already)
            kept = already | methods.kind(method).settle(config, self.context, given)
            kept |= self._steps_in_time(method, kept)
            if cluster.is_first() and kept:
                self._keep(method, kept)
        found = cluster.told(kept)
        if found:
            logging.info("%s: %s", method, ", ".join(f"{n} = {v:g}" for n, v in found.items()))
        return found

    def _steps_in_time(self, method: str, fields: dict[str, Any]) -> dict[str, int]:
        """As many steps as fit into `distill.seconds`; nothing where no budget is set."""
        seconds = self.config.distill.seconds
        loop = self._create_loop(method, fields) if seconds else None
        if loop is None or not loop.method.phases:
            return {}
        per_step = loop.seconds_a_step(jax.random.key(self.config.distill.seeds[0]))
        return {"distill.steps": max(1, int(seconds / per_step))}

    def _kept(self, method: str) -> dict[str, Any] | None:
        """What an earlier call has settled for this method and configuration."""
        path, found = self._settled_file(method), None
        try:
            found = files.read_sealed_json(path)
        except FileNotFoundError:
            pass
        except files.DamagedError as error:
            files.set_aside(path, error)
        if found is None:
            return self._said_by_a_card(method)
        return found.get("fields") if found.get("identity") == self._settled_by(method) else None

    def _said_by_a_card(self, method: str) -> dict[str, Any] | None:
        """What the finished run of another seed was settled with; all seeds share it."""
        for seed in self.config.distill.seeds:
            try:
                card = files.read_sealed_json(self.folder(method, seed) / distilled.CARD)
            except (FileNotFoundError, files.DamagedError):
                continue
            if card.get("method") == method and card.get("settled"):
                return card["settled"]
        return None

    def _keep(self, method: str, fields: dict[str, Any]) -> None:
        own = {"identity": self._settled_by(method), "fields": fields}
        files.write_sealed_json(self._settled_file(method), own)

    def _settled_file(self, method: str) -> Path:
        return self.workdir / SETTLED / f"{method}.json"

    def _settled_by(self, method: str) -> str:
        """SHA-256 of what the fields depend on."""
        identity = json.dumps(self.identity(method, 0), sort_keys=True, default=str)
        return hashlib.sha256(identity.encode()).hexdigest()

    @functools.cache  # noqa: B019
    def loop(self, method: str) -> Loop:
        """The loop of a method; one for all seeds, so that its step is compiled once."""
        return self._create_loop(method, self.settled(method))

    def _create_loop(self, method: str, settled: dict[str, Any]) -> Loop:
        config = self.config.copy_and_resolve_references()
        config.update_from_flattened_dict(settled)
        made = methods.create(method, config, self.context)
        given = supplies.supplied(self, method)
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
