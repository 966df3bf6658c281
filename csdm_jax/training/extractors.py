"""The pool of feature extractors: networks trained on the long-tailed training set alone.

Each network's initial and trained weights are kept. A distillation step draws one network and
interpolates, `theta = l theta_init + (1 - l) theta_trained`, `l ~ U(0, 1)` (NCFM's recipe).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax
import jax.numpy as jnp
from absl import logging

from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.networks import Network
from csdm_jax.runtime import health
from csdm_jax.runtime.progress import Progress
from csdm_jax.runtime.seeds import root_key
from csdm_jax.storage import files, lock
from csdm_jax.training.trainer import Trainer

Params = Any

FORMAT = 3
"""Raise it when the files, the networks, or the random numbers behind the weights, change."""


DESCRIPTION = "description.json"
"""File of a pool's folder: what its weights depend on."""


class Pool(NamedTuple):
    """K networks, their weights stacked along a leading axis of K.

    Attributes:
      initial: parameters before training.
      trained: parameters after training.
    """

    initial: Params
    trained: Params

    @property
    def size(self) -> int:
        """K."""
        return len(jax.tree.leaves(self.trained)[0])


def like(network: Network, count: int) -> Pool:
    """A pool of zeros in the shape of one with `count` networks."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), shapes)
    return Pool(zeros, zeros)


def draw(pool: Pool, key: jax.Array) -> tuple[Params, Params]:
    """One network of the pool.

    Args:
      pool: K networks.
      key: decides which, and how far it is interpolated towards its initialisation.

    Returns:
      The interpolated and the trained parameters of that network.
    """
    which_key, mix_key = jax.random.split(key)
    which = jax.random.randint(which_key, (), 0, pool.size)
    mix = jax.random.uniform(mix_key)
    trained = jax.tree.map(lambda leaf: leaf[which], pool.trained)
    blended = jax.tree.map(
        lambda first, last: mix * first[which] + (1 - mix) * last, pool.initial, trained
    )
    return blended, trained


def pool_name(description: dict[str, Any]) -> str:
    """The folder name of a pool: a hash of all that its weights depend on."""
    text = json.dumps([FORMAT, description], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def ensure_pool(
    folder: Path,
    description: dict[str, Any],
    *,
    network: Network,
    trainer: Trainer,
    data: DeviceData | HostData,
    count: int,
    seed: int,
) -> Pool:
    """Loads the pool from `folder`, training the networks that are not there yet.

    Args:
      folder: where pools live; this one's subfolder is named by its description's hash.
      description: all that the weights depend on (config, data identity).
      network: architecture.
      trainer: trains it.
      data: the long-tailed training set on the device, or on the host.
      count: K, at least 1.
      seed: network k is a pure function of (seed, k).
    """
    folder = Path(folder) / pool_name(description)
    _describe(folder / DESCRIPTION, description)
    paths = [_path(folder, k) for k in range(count)]
    members = [_load(path, network) for path in paths]
    if any(member is None for member in members):
        with lock.awaited(folder):  # another run may be training the same pool
            _train_missing(paths, root_key("extractors", seed), trainer, data)
        members = [_load(path, network) for path in paths]
    halves = zip(*members, strict=True)
    return Pool(*(jax.tree.map(lambda *leaf: jnp.stack(leaf), *half) for half in halves))


def _describe(path: Path, description: dict[str, Any]) -> None:
    """Has a pool's folder say what its weights depend on; a file that says else is set aside.

    A finished pool may be read-only: what is right is left alone.
    """
    try:
        if json.loads(path.read_bytes()) == json.loads(json.dumps(description)):
            return
        files.set_aside(path, f"{path} does not describe the pool that its folder is named by")
    except FileNotFoundError:
        pass
    except ValueError as error:
        files.set_aside(path, f"{path} is not JSON: {error}")
    files.write_json(path, description)


def _train_missing(paths: list[Path], key, trainer: Trainer, data: DeviceData | HostData) -> None:
    """Trains the networks of `paths` that are not there."""
    missing = {k: path for k, path in enumerate(paths) if _load(path, trainer.network) is None}
    progress = Progress("extractors", len(paths) * trainer.recipe.epochs)
    progress.reach((len(paths) - len(missing)) * trainer.recipe.epochs)
    if missing:
        images = data if isinstance(data, HostData) else data.images
        targets = jax.nn.one_hot(data.labels, len(data.counts))
        _train(missing, key, trainer, images, targets, progress)
    progress.close()


def trained(folder: Path, description: dict[str, Any], network: Network) -> Params | None:
    """The trained weights of a pool's first network; None when it is not in `folder`."""
    weights = _load(_path(Path(folder) / pool_name(description), 0), network)
    return None if weights is None else weights[1]


def _path(folder: Path, number: int) -> Path:
    return folder / f"network-{number:02d}.msgpack"


def _train(paths: dict[int, Path], key, trainer, images, targets, progress) -> None:
    """Trains networks; saves each one's initial and trained weights, whole or not at all."""
    keys = [jax.random.split(jax.random.fold_in(key, k)) for k in paths]
    stems = [path.stem for path in paths.values()]

    def start(number):
        return trainer.network.init(keys[number][0])

    def on_report(number, epoch, params, loss):
        progress.reach(progress.done + 1, loss=loss)

    def save(number, trained):
        weights = jax.device_get({"initial": start(number), "trained": trained})
        path = [*paths.values()][number]
        files.write_sealed_bytes(path, flax.serialization.msgpack_serialize(weights))
        logging.info("extractor saved: %s", path)

    trainer.fit_many(
        [fit_key for _, fit_key in keys],
        images,
        targets,
        on_finish=save,
        labels=[f"extractor {stem}" for stem in stems],
        start=start,
        on_report=on_report,
    )


def _load(path: Path, network: Network) -> tuple[Params, Params] | None:
    """One network's weights; None when there are none. What is damaged is set aside."""
    try:
        weights = flax.serialization.msgpack_restore(files.read_sealed_bytes(path))
    except FileNotFoundError:
        return None
    except files.DamagedError as error:
        files.set_aside(path, error)
        return None
    expected = jax.eval_shape(network.init, jax.random.key(0))
    for half in ("initial", "trained"):
        found = jax.tree.map(jnp.shape, weights[half])
        if found != jax.tree.map(lambda leaf: leaf.shape, expected):
            raise ValueError(
                f"extractor {path} does not hold the weights of {network.name}: delete the file, "
                "it will be trained again"
            )
        if not health.finite(weights[half]):
            raise FloatingPointError(
                f"extractor {path}: its {half} weights are not finite: delete the file, it will be "
                "trained again"
            )
    return weights["initial"], weights["trained"]
