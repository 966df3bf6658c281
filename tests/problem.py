"""The tiny long-tailed problem as a method that distils it, on any number of devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import networks, parameterisations
from csdm_jax.data.dataset import Dataset
from csdm_jax.data.device import to_device
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import build_longtail
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation import methods
from csdm_jax.distillation.methods import base
from csdm_jax.experiment import config as configuration
from csdm_jax.runtime.sharding import ONE_DEVICE, Devices
from csdm_jax.training import extractors


def tiny_dataset(classes: int = 3, per_class: int = 40) -> Dataset:
    """8x8 colour images, told apart by their colour."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes, dtype=np.int32), per_class)
    colours = np.eye(3) if classes == 3 else generator.uniform(size=(classes, 3))
    base_colour = colours[labels][:, None, None, :] * 120 + 60
    noise = generator.normal(0, 30, (len(labels), 8, 8, 3))
    images = np.clip(base_colour + noise, 0, 255).astype(np.uint8)
    names = ("red", "green", "blue") if classes == 3 else tuple(map(str, range(classes)))
    return Dataset(
        name="tiny",
        train_images=images,
        train_labels=labels,
        test_images=images[::4],
        test_labels=labels[::4],
        class_names=names,
        mean=(0.4, 0.4, 0.4),
        std=(0.25, 0.25, 0.25),
    )


def tiny_method(
    *,
    name: str = "csdm",
    devices: Devices = ONE_DEVICE,
    streamed: bool = False,
    classes: int = 3,
    **distill,
) -> base.Method:
    """A method on the tiny problem.

    Args:
      name: of the method.
      devices: where its steps run.
      streamed: whether images stay on the host.
      classes: C.
      **distill: fields of `config.distill`.
    """
    dataset = tiny_dataset(classes)
    longtail = build_longtail(
        dataset.train_labels, classes, imbalance_factor=5.0, rule="seeded", seed=0
    )
    host = HostData.create(dataset, longtail)
    network = networks.create(
        "convnet", num_classes=classes, image_shape=(8, 8, 3), depth=2, width=8
    )
    nets = [network.init(jax.random.key(k)) for k in range(4)]
    halves = (nets[:2], nets[2:])
    stacked = (jax.tree.map(lambda *leaf: jnp.stack(leaf), *half) for half in halves)
    context = base.Context(
        host if streamed else to_device(host, devices),
        host,
        network,
        extractors.Pool(*stacked),
        Normaliser(dataset.mean, dataset.std),
        parameterisations.create("mosaic", 2),
        devices,
    )
    config = configuration.default_config()
    config.distill.update(
        {"ipc": 2, "steps": 4, "batch": 8, "augmentation": "color_crop", **distill}
    )
    config.sdd.num_frequencies = 64
    return methods.create(name, config, context)
