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
import numpy as np
from absl import logging

from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.networks import Network
from csdm_jax.runtime import health
from csdm_jax.runtime.progress import Progress
from csdm_jax.runtime.seeds import root_key
from csdm_jax.storage import files, lock
from csdm_jax.training.balanced import SecondStage
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
        """The number K of networks."""
        return len(jax.tree.leaves(self.trained)[0])


def like(network: Network, count: int) -> Pool:
    """A pool of zeros in the shape of one with `count` networks."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), shapes)
    return Pool(zeros, zeros)


def among(supplied: tuple[Any, ...]) -> Pool | None:
    """The pool among what a method is supplied with; None without one."""
    return next((one for one in supplied if isinstance(one, Pool)), None)


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
    second: SecondStage | None = None,
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
      second: a second stage of every training; what it leaves are the trained weights.
    """
    record = Ends(network, second)
    found = ensure(folder, description, record, trainer, data, count=count, seed=seed)
    whole = stacked(found)
    return Pool(whole["initial"], whole["trained"])


def trained(folder: Path, description: dict[str, Any], network: Network) -> Params | None:
    """The trained weights of a pool's first network; None when it is not in `folder`."""
    record = Ends(network)
    weights = record.load(record.path(Path(folder) / pool_name(description), 0))
    return None if weights is None else weights["trained"]


class Ends:
    """What is kept of a training, and how: the weights at its two ends, in a file a network.

    Args:
      network: architecture.
      second: a second stage of every training.
    """

    noun = "extractor"
    report_every = 1  # epochs between two calls of `report`
    suffix = ".msgpack"

    def __init__(self, network: Network, second: SecondStage | None = None):
        self.network, self._second = network, second

    @property
    def names(self) -> tuple[str, ...]:
        """Of the weights that are kept, each a pytree."""
        return ("initial", "trained")

    def shapes(self) -> Params:
        """Of one kept pytree."""
        return jax.eval_shape(self.network.init, jax.random.key(0))

    def report(self, number: int, params: Params) -> None:
        """Sees a network's weights on the way."""

    def finish(self, number: int, initial: Params, final: Params) -> dict[str, Params]:
        """What is kept of a network."""
        del number
        return {"initial": initial, "trained": final}

    def path(self, folder: Path, number: int) -> Path:
        """The file of a network in the folder of its pool."""
        return folder / f"network-{number:02d}{self.suffix}"

    def save(self, path: Path, number: int, initial: Params, final: Params) -> None:
        """Writes what is kept of a network, whole or not at all."""
        *_, final = final, *self.second_stage(path, final)
        weights = jax.device_get(self.finish(number, initial, final))
        files.write_sealed_bytes(path, flax.serialization.msgpack_serialize(weights))

    def second_stage(self, path: Path, final: Params) -> list[Params]:
        """Weights after each epoch of the second stage of the network in that file."""
        if self._second is None:
            return []
        name = f"{self.noun} {path.stem}"
        return self._second.fit(int(path.stem.rpartition("-")[2]), final, name)

    def load(self, path: Path) -> Any | None:
        """What is kept of a network; None when there is nothing. What is damaged is set aside."""
        try:
            weights = flax.serialization.msgpack_restore(files.read_sealed_bytes(path))
        except FileNotFoundError:
            return None
        except files.DamagedError as error:
            files.set_aside(path, error)
            return None
        expected = jax.tree.map(lambda leaf: leaf.shape, self.shapes())
        for name in self.names:
            if jax.tree.map(jnp.shape, weights.get(name)) != expected:
                raise ValueError(
                    f"extractor {path} does not hold the weights of {self.network.name}: delete "
                    "the file, it will be trained again"
                )
            if not health.finite_now(weights[name]):
                raise FloatingPointError(
                    f"extractor {path}: its {name} weights are not finite: delete the file, it "
                    "will be trained again"
                )
        return {name: weights[name] for name in self.names}


def stacked(members: list[dict[str, Params]]) -> dict[str, Params]:
    """For each name of a record its pytree, with a leading axis of the networks, on the device."""
    return jax.tree.map(lambda *leaf: jnp.asarray(np.stack(leaf)), *members)


def ensure(
    folder: Path,
    description: dict[str, Any],
    record: Ends,
    trainer: Trainer,
    data: DeviceData | HostData,
    *,
    count: int,
    seed: int,
) -> list[Any]:
    """Loads what is kept of several trainings, training the networks that are not there yet.

    Args:
      folder, description, trainer, data, count, seed: see `ensure_pool`.
      record: what is kept of each.

    Returns:
      For each network what its record loads.
    """
    folder = Path(folder) / pool_name(description)
    _describe(folder / DESCRIPTION, description)
    paths = [record.path(folder, k) for k in range(count)]
    members = [record.load(path) for path in paths]
    if any(member is None for member in members):
        with lock.awaited(folder):  # another run may be training the same pool
            _train_missing(paths, root_key(f"{record.noun}s", seed), record, trainer, data)
        members = [record.load(path) for path in paths]
    return members


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


def _train_missing(
    paths: list[Path], key, record: Ends, trainer: Trainer, data: DeviceData | HostData
) -> None:
    """Trains the networks of `paths` that are not there."""
    missing = {k: path for k, path in enumerate(paths) if record.load(path) is None}
    progress = Progress(f"{record.noun}s", len(paths) * trainer.recipe.epochs)
    progress.reach((len(paths) - len(missing)) * trainer.recipe.epochs)
    if missing:
        images = data if isinstance(data, HostData) else data.images
        targets = jax.nn.one_hot(data.labels, len(data.counts))
        _train(missing, key, record, trainer, images, targets, progress)
    progress.close()


def _train(
    paths: dict[int, Path], key, record: Ends, trainer: Trainer, images, targets, progress
) -> None:
    """Trains networks; saves what is kept of each, whole or not at all."""
    keys = [jax.random.split(jax.random.fold_in(key, k)) for k in paths]
    stems = [path.stem for path in paths.values()]
    epochs = dict.fromkeys(range(len(keys)), 0)

    def start(number):
        return trainer.network.init(keys[number][0])

    def on_report(number, epoch, params, loss):
        record.report(number, params)
        progress.reach(progress.done + epoch - epochs[number], loss=loss)
        epochs[number] = epoch

    def save(number, final):
        path = [*paths.values()][number]
        record.save(path, number, start(number), final)
        logging.info("%s saved: %s", record.noun, path)

    trainer.fit_many(
        [fit_key for _, fit_key in keys],
        images,
        targets,
        on_finish=save,
        labels=[f"{record.noun} {stem}" for stem in stems],
        start=start,
        report_every=record.report_every,
        on_report=on_report,
    )
