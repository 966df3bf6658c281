"""Checkpoints of a run: written whole, verified before they are believed.

    checkpoints/<step>/state/         the state, by Orbax
    checkpoints/<step>/manifest.json  format, step, facts, SHA-256 of every file above

A checkpoint is built under another name and renamed when it is complete. Orbax restores a flipped
bit silently and does not fall back to an older step; so the manifest is checked first, and what
fails is set aside.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from csdm_jax.storage import faults, files

FORMAT = 2
"""Raise it when the layout above, or the meaning of a state, changes."""

ROOM = 512 * 1024
"""Bytes that a checkpoint takes beside its arrays, with some to spare."""

MANIFEST, STATE = "manifest.json", "state"


class Restored(NamedTuple):
    """A verified checkpoint.

    Attributes:
      step: steps done.
      state: on the device.
      facts: what was saved beside it.
    """

    step: int
    state: Any
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
      folder: where they live; made at the first save.
      identity: what the run depends on; a checkpoint of another identity is refused.
      keep: newest checkpoints to keep, at least 1.
    """

    def __init__(self, folder: Path, *, identity: dict[str, Any], keep: int):
        self.folder = folder.absolute()
        self._identity = json.loads(json.dumps(identity))
        self._keep = keep

    def save(self, step: int, state: Any, *, facts: dict[str, Any]) -> None:
        """Saves the state after `step` steps, then deletes what is older than the newest `keep`.

        Raises:
          OSError: when it cannot be written; older checkpoints are untouched.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_room(state)
        temporary = self.folder / f".{step}.tmp"
        faults.reach("checkpoint.before_write")
        try:
            for left in (*self.folder.glob(".*.tmp"), *self.folder.glob(".*.old")):
                shutil.rmtree(left, ignore_errors=True)  # of a process that died here
            _write_state(temporary / STATE, state)
            faults.reach("checkpoint.in_write")
            manifest = {
                "format": FORMAT,
                "step": step,
                "identity": self._identity,
                "facts": facts,
                "files": _digests(temporary),
            }
            files.write_sealed_json(temporary / MANIFEST, manifest)
            _sync(temporary)
            faults.reach("checkpoint.before_rename")
            _remove(self._path(step))
            os.replace(temporary, self._path(step))
            faults.reach("checkpoint.after_rename")
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in self.steps()[: -self._keep]:
            try:
                _remove(self._path(old))
            except OSError as error:  # the new one is safe
                logging.warning("an old checkpoint could not be deleted: %s", error)

    def _check_room(self, state: Any) -> None:
        """Refuses to begin what will not fit: a storage library half way leaves with much noise."""
        needed = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + ROOM
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OSError(
                f"no space for a checkpoint in {self.folder}: {free} bytes are free, about "
                f"{needed} are needed; free some and run the same command again, earlier "
                "checkpoints are untouched"
            )

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, valid or not, in ascending order."""
        names = [path.name for path in self.folder.glob("[0-9]*")]
        return sorted(int(name) for name in names if name.isdecimal())

    def latest(
        self, like: Any, accept: Callable[[dict[str, Any]], None] = lambda facts: None
    ) -> Restored | None:
        """The newest valid checkpoint; damaged ones on the way to it are set aside.

        Args:
          like: a state of the same structure, with `ShapeDtypeStruct`s for arrays.
          accept: is given the facts of a checkpoint that is whole; raises a `DamagedError` where
            what they speak of is damaged.

        Raises:
          ValueError: for a checkpoint of another configuration or of another format.
        """
        for step in reversed(self.steps()):
            path = self._path(step)
            try:
                found = self._restore(path, step, like)
                accept(found.facts)
                return found
            except files.DamagedError as error:
                files.set_aside(path, error)
        return None

    def _path(self, step: int) -> Path:
        return self.folder / str(step)

    def _restore(self, path: Path, step: int, like: Any) -> Restored:
        manifest = _read_manifest(path)
        if manifest["format"] != FORMAT:
            raise ValueError(
                f"checkpoint {path} has format {manifest['format']}, this version reads {FORMAT}: "
                "use the version that wrote it, or another workdir"
            )
        if manifest["step"] != step or manifest["files"] != _digests(path):
            raise files.DamagedError(f"checkpoint {path} does not hold what its manifest says")
        before, now = manifest["identity"], self._identity
        if changed := [name for name in {**before, **now} if before.get(name) != now.get(name)]:
            raise ValueError(
                f"checkpoint {path} belongs to another configuration or data set "
                f"({', '.join(changed)}): give what it was made with, or another workdir"
            )
        state = _read_state(path / STATE, like)
        return Restored(step, state, manifest["facts"])


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return files.read_sealed_json(path / MANIFEST)
    except OSError as error:
        raise files.DamagedError(f"checkpoint {path} has no readable manifest: {error}") from error


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a checkpoint but its manifest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): files.sha256(path)
        for path in paths
        if path.name != MANIFEST
    }


def _write_state(path: Path, state: Any) -> None:
    import orbax.checkpoint as ocp

    plain = jax.tree.map(_without_key, state)
    with _quiet(), _checkpointer(ocp) as checkpointer:
        try:
            checkpointer.save(path, args=ocp.args.StandardSave(plain))
        except Exception as error:  # a full disk comes as an error of the storage library's own
            raise OSError(f"cannot write the checkpoint {path}: {error}") from error


def _read_state(path: Path, like: Any) -> Any:
    import orbax.checkpoint as ocp

    plain = jax.tree.map(
        lambda leaf: jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf, like
    )
    with _quiet(), _checkpointer(ocp) as checkpointer:
        restored = checkpointer.restore(path, args=ocp.args.StandardRestore(plain))
    return jax.tree.map(_on_device, like, restored)


def _checkpointer(ocp: Any) -> Any:
    """Orbax for this process alone: it would wait for the other processes of a cluster."""
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix="first",
    )
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_key(leaf: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _on_device(like: jax.ShapeDtypeStruct, leaf: np.ndarray) -> jax.Array:
    return jax.random.wrap_key_data(jnp.asarray(leaf)) if _is_key(like) else jnp.asarray(leaf)


def _remove(path: Path) -> None:
    """Deletes a checkpoint so that one half deleted is never taken for a whole one."""
    if path.exists():
        faults.reach("checkpoint.before_delete")
        doomed = path.with_name(f".{path.name}.old")
        shutil.rmtree(doomed, ignore_errors=True)
        os.replace(path, doomed)
        faults.reach("checkpoint.in_delete")
        shutil.rmtree(doomed)


def _sync(folder: Path) -> None:
    """Has the disk hold every file, so that the rename never overtakes the data."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Orbax's running commentary, and nothing else; its errors are raised."""

    def is_ours(record: Any) -> bool:
        return "orbax" not in record.pathname

    logger = logging.get_absl_logger()
    logger.addFilter(is_ours)
    try:
        yield
    finally:
        logger.removeFilter(is_ours)
