"""The tiny long-tailed problem as a method that distils it, on any number of devices."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import networks
from csdm_jax.data.dataset import Dataset
from csdm_jax.data.device import to_device
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import build_longtail
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.distillation import inputs, methods, needs
from csdm_jax.distillation.loop import Loop
from csdm_jax.distillation.methods.base import Context, Inputs, Metrics
from csdm_jax.experiment import config as configuration
from csdm_jax.networks import Network
from csdm_jax.runtime.sharding import ONE_DEVICE, Devices
from csdm_jax.training import extractors
from csdm_jax.training.experts import Experts, flat
from csdm_jax.training.trajectories import Trajectories


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


DIM = 16
"""Features of the small network."""


@functools.cache
def small_network(classes: int = 3) -> Network:
    """A map of each pixel and one layer: it compiles in no time."""

    def init(key: jax.Array) -> dict[str, jax.Array]:
        pixel, whole, last = jax.random.split(key, 3)
        return {
            "pixel": jax.random.normal(pixel, (3, 4)),
            "whole": 0.1 * jax.random.normal(whole, (8 * 8 * 4, DIM)),
            "last": jax.random.normal(last, (DIM, classes)),
        }

    def apply_with_maps(params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        maps = jax.nn.relu(images @ params["pixel"])
        features = jax.nn.relu(maps.reshape(len(maps), -1) @ params["whole"])
        return features @ params["last"], features, (maps, features)

    def apply(params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        return apply_with_maps(params, images)[:2]

    return Network("small", jax.jit(init), apply, DIM, 256, (8, 8, 3), apply_with_maps)


def stacked(network: Network, seeds: range) -> Any:
    """Untrained weights, with a leading axis of the seeds."""
    weights = [network.init(jax.random.key(seed)) for seed in seeds]
    return jax.tree.map(lambda *leaf: jnp.stack(leaf), *weights)


def tiny_pool(network: Network) -> extractors.Pool:
    """Two networks; the trained halves are other random weights."""
    return extractors.Pool(stacked(network, range(2)), stacked(network, range(2, 4)))


def supplied(network: Network, name: str, config: Any = None) -> tuple[Any, ...]:
    """What a method needs as it is configured, of weights that nobody has trained."""

    def supply(need: needs.Need) -> Any:
        match need:
            case needs.Pool():
                return tiny_pool(network)
            case needs.Teacher():
                return network.init(jax.random.key(2))
            case needs.Untrained(count):
                return stacked(network, range(count))
            case needs.Trajectories():
                ends = tiny_pool(network)
                both = jax.tree.map(lambda a, b: jnp.stack([a, b], 1), ends.initial, ends.trained)
                return Trajectories(both)
            case needs.Experts():
                own = config.experts
                snapshots = range(own.epochs + own.classifier_epochs + 1)
                weights = [flat(network.init(jax.random.key(row))) for row in snapshots]
                return Experts((np.stack(weights),), own.epochs)

    config = config or configuration.default_config()
    return tuple(supply(need) for need in methods.kind(name).needed(config))


def make_loop(
    name: str,
    config: Any,
    host: HostData,
    network: Network,
    normaliser: Normaliser,
    *,
    form: tuple[str, int] = ("mosaic", 2),
    devices: Devices = ONE_DEVICE,
    streamed: bool = False,
) -> Loop:
    """The loop of a method, supplied with untrained weights."""
    context = Context(host, network, normaliser, form, devices, config.distill.initialisation)
    data = host if streamed else to_device(host, devices)
    made = methods.create(name, config, context)
    return Loop(made, data, supplied(network, name, config), devices)


def tiny_config(sdd: Any = (), **distill: Any) -> Any:
    """A configuration for the tiny problem, with fields of its sections `sdd` and `distill`."""
    config = configuration.default_config()
    config.distill.update(
        {"ipc": 2, "steps": 4, "batch": 8, "augmentation": "color_crop"}
        | {"loss_scale": 300.0, **distill}
    )
    config.sdd.update({"num_frequencies": 64, **dict(sdd)})
    return config


def tiny_loop(
    *,
    name: str = "csdm",
    devices: Devices = ONE_DEVICE,
    streamed: bool = False,
    classes: int = 3,
    form: tuple[str, int] = ("mosaic", 2),
    small: bool = False,
    **distill,
) -> Loop:
    """A method on the tiny problem.

    Args:
      name: of the method.
      devices: where its steps run.
      streamed: whether images stay on the host.
      classes: C.
      form: name and factor of the parameterisation.
      small: whether the network is the small one, where a ConvNet has nothing to add.
      **distill: fields of `config.distill`.
    """
    dataset = tiny_dataset(classes)
    longtail = build_longtail(
        dataset.train_labels, classes, imbalance_factor=5.0, rule="seeded", seed=0
    )
    host = HostData.create(dataset, longtail)
    network = small_network(classes)
    if not small:
        network = networks.create(
            "convnet", num_classes=classes, image_shape=(8, 8, 3), depth=2, width=8
        )
    normaliser = Normaliser(dataset.mean, dataset.std)
    config = tiny_config(**distill)
    return make_loop(
        name, config, host, network, normaliser, form=form, devices=devices, streamed=streamed
    )


def rounds(loop: Loop, count: int, *, first: int = 0, key: int = 0) -> tuple[Any, Metrics]:
    """The state after some rounds from the beginning, and their metrics."""
    state, constants, feeds = loop.begin(jax.random.key(key))
    carry = loop.carry(loop.devices.copy(state), constants)
    carry, metrics = loop.stepper(carry, constants, first, count, feeds=feeds)
    return inputs.state_of(carry), inputs.merged(metrics)


def read(loop: Loop, index: int = 0, *, key: int = 0) -> tuple[Any, Any]:
    """The state before the first round, and what the first phase's step `index` reads."""
    run_key = jax.random.split(jax.random.key(key))[1]
    phase = loop.method.phases[0]
    step_key = jax.random.fold_in(run_key, index)
    drawn = phase.draw(step_key)
    pixels = loop.method._context.host.take(np.asarray(drawn.values))
    batch = drawn.with_values(jnp.asarray(pixels))
    state, _, _ = loop.begin(jax.random.key(key))
    return state, Inputs(loop.supplied, batch, step_key, jnp.int32(index))
