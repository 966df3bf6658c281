"""Experts: networks whose weights are kept after every epoch of their training, on disk.

    <pool>/<hash>/network-00.npy   float32 [S, P]: a row for each snapshot, all its weights in line
    <pool>/<hash>/network-00.json  its SHA-256, sealed

The first row holds the initial weights. Balanced experts have rows of a second stage behind those
of the first: the backbone stays, and the classifier alone is trained on batches with as many images
of every class. Files are mapped, not loaded: a distillation step reads the two rows that it draws.
A network is whole or not there, so that a stop costs the networks under way, `4 S P` bytes of
memory each. Rows are float32: between two epochs weights change by less than a bfloat16 resolves.

Source: Cazenavette et al. 2022 (MTT); Du et al. 2023 (FTD), flat experts; Zhao et al. 2025 (LAD),
balanced ones.
"""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from csdm_jax import augment
from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.networks import Network, last_layer
from csdm_jax.runtime import interruption
from csdm_jax.runtime.seeds import root_key
from csdm_jax.runtime.stepping import Feed, Stepper
from csdm_jax.storage import files
from csdm_jax.training.extractors import Ends, Params, ensure, pool_name
from csdm_jax.training.trainer import Trainer

DIGEST = "rows_sha256"


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Experts:
    """K trainings on the host. For JAX it is a constant without arrays: steps read it by `fetch`.

    Attributes:
      rows: of each network float32 `[S, P]`, perhaps mapped from disk.
      epochs: of the first stage; row `epochs` is its last, rows behind it are of the second.
    """

    rows: tuple[np.ndarray, ...]
    epochs: int

    @property
    def size(self) -> int:
        """The number K of networks."""
        return len(self.rows)

    def at(self, network: int, row: int) -> np.ndarray:
        """All weights of a snapshot, float32 `[P]`; nothing else is read from disk."""
        return np.array(self.rows[network][row])


def flat(params: Params) -> np.ndarray:
    """All weights in line, float32 `[P]`."""
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(params)])


def unraveller(network: Network) -> Callable[[jax.Array], Params]:
    """What makes the parameters of a network of its weights in line."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.flatten_util.ravel_pytree(zeros)[1]


def size_of(network: Network) -> int:
    """The number P of weights."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def like(network: Network, count: int, epochs: int, classifier_epochs: int) -> Experts:
    """Zeros in the shape of `count` experts."""
    shape = 1 + epochs + classifier_epochs, size_of(network)
    return Experts(tuple(np.zeros(shape, np.float32) for _ in range(count)), epochs)


def ensure_experts(
    folder: Path,
    description: dict[str, Any],
    *,
    trainer: Trainer,
    data: DeviceData | HostData,
    count: int,
    seed: int,
    classifier_epochs: int = 0,
) -> Experts:
    """Opens the experts in `folder`, training those that are not there yet.

    Args:
      folder, description, trainer, data, count, seed: see `extractors.ensure_pool`.
      classifier_epochs: of the second stage; 0 for none.

    Raises:
      OSError: when there is no room for them; nothing has been trained then.
    """
    described = description | {"classifier_epochs": classifier_epochs}
    record = _Rows(trainer, data, classifier_epochs, seed)
    record.announce(Path(folder), Path(folder) / pool_name(described), count)
    found = ensure(folder, described, record, trainer, data, count=count, seed=seed)
    return Experts(tuple(found), trainer.recipe.epochs)


class _Rows(Ends):
    """Keeps every snapshot as a row of a mapped file."""

    noun = "expert"
    suffix = ".npy"

    def __init__(
        self, trainer: Trainer, data: DeviceData | HostData, classifier_epochs: int, seed: int
    ):
        super().__init__(trainer.network)
        self._trainer, self._data, self._seed = trainer, data, seed
        self._more = classifier_epochs
        self._shape = 1 + trainer.recipe.epochs + classifier_epochs, size_of(trainer.network)
        self._seen: dict[int, list[np.ndarray]] = {}
        self._classifier: _Classifier | None = None

    def announce(self, folder: Path, own: Path, count: int) -> None:
        """Says how much disk missing experts will take, and refuses to begin without."""
        missing = sum(not _seal(self.path(own, k)).exists() for k in range(count))
        if not missing:
            return
        needed = missing * self._shape[0] * self._shape[1] * 4
        shown = f"{missing} experts, {self._shape[0]} snapshots of {self._shape[1]} weights each"
        logging.info("%s: %.3g GB in %s", shown, needed / 1e9, own)
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise OSError(
                f"{shown}, take {needed} bytes, and {free} are free in {folder}: free some, ask "
                "for fewer by experts.count or experts.epochs, or give another extractors.pool_dir"
            )

    def report(self, number: int, params: Params) -> None:
        """Copies the weights to the host: the next step overwrites them."""
        self._seen.setdefault(number, []).append(flat(jax.device_get(params)))

    def save(self, path: Path, number: int, initial: Params, final: Params) -> None:
        """Writes the rows of a network, then the seal that makes them count."""
        rows = [flat(jax.device_get(initial)), *self._seen.pop(number)]
        if self._more:
            rows += self._second_stage(path.stem, final)
        buffer = io.BytesIO()
        np.save(buffer, np.stack(rows))
        files.write_bytes(path, buffer.getvalue())
        files.write_sealed_json(_seal(path), {DIGEST: files.sha256(path)})

    def _second_stage(self, name: str, params: Params) -> list[np.ndarray]:
        if self._classifier is None:
            self._classifier = _Classifier(self._trainer, self._data)
        key = jax.random.fold_in(root_key("classifiers", self._seed), int(name.split("-")[1]))
        return self._classifier.fit(key, params, self._more, f"expert {name}")

    def load(self, path: Path) -> np.ndarray | None:
        """The rows of a network, mapped; None when there are none. Damaged ones are set aside."""
        try:
            if files.read_sealed_json(_seal(path)).get(DIGEST) != files.sha256(path):
                raise files.DamagedError(f"{path} is not the file that its seal describes")
        except FileNotFoundError:
            return None
        except files.DamagedError as error:
            for one in filter(Path.exists, (path, _seal(path))):
                files.set_aside(one, error)
            return None
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
        if rows.shape != self._shape or rows.dtype != np.float32:
            raise ValueError(
                f"{path} holds {rows.dtype} {rows.shape}, not the float32 {self._shape} of "
                f"{self.network.name}: delete the file, it will be trained again"
            )
        if not np.isfinite(rows[-1]).all():
            raise FloatingPointError(
                f"{path}: its weights are not finite: delete the file, it will be trained again"
            )
        return rows


def _seal(path: Path) -> Path:
    return path.with_suffix(".json")


class _Classifier:
    """The second stage: the last layer alone, on as many images of every class.

    Plain descent by the recipe's step size; an epoch is as many images as every class would have
    if all were as large as the largest, each batch drawn with replacement.

    Args:
      trainer: its recipe and network.
      data: the training set.
    """

    def __init__(self, trainer: Trainer, data: DeviceData | HostData):
        self._trainer, self._data = trainer, data
        counts = np.asarray(data.counts)
        self._each = max(1, trainer.recipe.batch // len(counts))
        self._steps = -(-int(counts.max()) // self._each)
        self._last = last_layer(trainer.network)
        self._stepper = Stepper(self._step)

    def fit(self, key: jax.Array, params: Params, epochs: int, label: str) -> list[np.ndarray]:
        """Weights in line after each epoch."""
        params = jax.tree.map(jnp.array, params)  # the stepper gives its arrays away
        streamed = isinstance(self._data, HostData)
        images = None if isinstance(self._data, HostData) else self._data.images
        feed = self._feed(key) if streamed else None
        found = []
        for epoch in range(epochs):
            interruption.check(f"in the second stage of {label}")
            first = epoch * self._steps
            params, losses = self._stepper(params, (images, key), first, self._steps, feed=feed)
            found.append(flat(jax.device_get(params)))
            if not (np.isfinite(losses).all() and np.isfinite(found[-1]).all()):
                raise FloatingPointError(
                    f"{label}: its second stage is not finite after epoch {epoch + 1}: lower "
                    "experts.learning_rate"
                )
        return found

    def _rows(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Which images a step sees, class by class: int32 `[C * each]`."""
        counts = np.repeat(np.asarray(self._data.counts), self._each)
        first = np.repeat(np.cumsum(self._data.counts) - self._data.counts, self._each)
        own_key = jax.random.fold_in(key, index)
        return jnp.asarray(first) + jax.random.randint(own_key, counts.shape, 0, counts)

    def _feed(self, key: jax.Array) -> Feed:
        rows_of = jax.jit(lambda index: self._rows(key, index))

        def images(index: int) -> jax.Array:
            assert isinstance(self._data, HostData)
            return jnp.asarray(self._data.take(np.asarray(rows_of(np.int32(index)))))

        return images

    def _step(self, params: Params, given: Any, index: jax.Array) -> tuple[Params, jax.Array]:
        recipe = self._trainer.recipe
        (images, key), pixels = given if isinstance(self._data, HostData) else (given, None)
        batch = images[self._rows(key, index)] if pixels is None else pixels
        batch = self._trainer.normaliser(batch)
        own_key = jax.random.fold_in(jax.random.fold_in(key, index), 1)
        batch = augment.augment_each(recipe.augmentation, own_key, batch)
        labels = np.repeat(np.arange(len(self._data.counts)), self._each)

        def loss_of(params: Params) -> jax.Array:
            logits, _ = self._trainer.network.apply(params, batch)
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

        loss, gradient = jax.value_and_grad(loss_of)(params)
        moved = jax.tree.map(
            lambda w, g, own: w - recipe.learning_rate * g if own else w,
            params,
            gradient,
            self._last,
        )
        return moved, loss
