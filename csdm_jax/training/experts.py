"""Experts: networks whose weights are kept after every epoch of their training, on disk.

    <pool>/<hash>/network-00.npy   float32 [S, P]: a row for each snapshot, all its weights in line
    <pool>/<hash>/network-00.json  its SHA-256, sealed

The first row holds the initial weights. Balanced experts have rows of a second stage behind those
of the first, see `csdm_jax.training.balanced`. Files are mapped, not loaded: a distillation step
reads the two rows that it draws. A network is whole or not there, so that a stop costs the networks
under way, `4 S P` bytes of memory each. Rows are float32: between two epochs weights change by less
than a bfloat16 resolves.

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
import numpy as np
from absl import logging

from csdm_jax.data.device import DeviceData
from csdm_jax.data.host import HostData
from csdm_jax.networks import Network
from csdm_jax.storage import files
from csdm_jax.training.balanced import SecondStage
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
    second = None
    if classifier_epochs:
        rate = trainer.recipe.learning_rate
        second = SecondStage(trainer, data, epochs=classifier_epochs, learning_rate=rate, seed=seed)
    record = _Rows(trainer, second, classifier_epochs)
    record.announce(Path(folder), Path(folder) / pool_name(described), count)
    found = ensure(folder, described, record, trainer, data, count=count, seed=seed)
    return Experts(tuple(found), trainer.recipe.epochs)


class _Rows(Ends):
    """Keeps every snapshot as a row of a mapped file."""

    noun = "expert"
    suffix = ".npy"

    def __init__(self, trainer: Trainer, second: SecondStage | None, classifier_epochs: int):
        super().__init__(trainer.network, second)
        self._shape = 1 + trainer.recipe.epochs + classifier_epochs, size_of(trainer.network)
        self._seen: dict[int, list[np.ndarray]] = {}

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
        rows += map(flat, self.second_stage(path, final))
        buffer = io.BytesIO()
        np.save(buffer, np.stack(rows))
        files.write_bytes(path, buffer.getvalue())
        files.write_sealed_json(_seal(path), {DIGEST: files.sha256(path)})

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
