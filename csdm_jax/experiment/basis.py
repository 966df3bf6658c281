"""What an experiment stands on: its configuration, its data and its network, checked at once.

Experiments that are run with a method's own settings share the data of the one that they are of.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

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
from csdm_jax.evaluation import evaluate
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import sections, sketch_files
from csdm_jax.runtime import cluster
from csdm_jax.runtime.sharding import Devices
from csdm_jax.storage import events

TUNING_PER_CLASS = 500


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


class Basis:
    """Configuration, data and network, built from a valid configuration.

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
        base: Self | None = None,
        dataset: data.Dataset | None = None,
    ):
        configuration.validate(config)
        self.config = config
        self.workdir = Path(workdir)
        self.codec = parameterisations.create(
            config.distill.parameterisation, config.distill.factor
        )
        self.base: Self | None = base
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
    def of(self, method: str) -> Self:
        """The experiment as a method is run in it: with what is the method's own."""
        config = configuration.of_method(self.config, method)
        if self.base is not None or config is self.config:
            return self
        if config.recipe == "published" and not self.dataset.name.startswith("cifar"):
            logging.warning("what was published for %s, for CIFAR, is used on other data", method)
        return type(self)(config, self.workdir, self)

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
