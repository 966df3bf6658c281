"""Evaluation: fresh networks trained on the distilled set, tested on the whole test set.

The reported accuracy is the last epoch's. The best epoch's is kept beside it for comparison with
tables that select on the test set, and is labelled optimistic wherever it is shown.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.evaluation.statistics import listed
from csdm_jax.networks import Network
from csdm_jax.runtime.progress import Progress
from csdm_jax.runtime.seeds import root_key
from csdm_jax.storage import files
from csdm_jax.training.trainer import Trainer

TEST_BATCH = 500

FORMAT = 2
"""Raise it when the networks, or the random numbers behind a result, change."""


@dataclasses.dataclass(frozen=True)
class TestSet:
    """The test set on the device, padded to whole batches.

    Attributes:
      images: uint8 `[B, TEST_BATCH, H, W, ch]`.
      labels: int32 `[B, TEST_BATCH]`; -1 marks padding, which counts nowhere.
      num_classes: number of classes K.
    """

    __test__ = False  # not a test case, whatever pytest thinks of its name

    images: jax.Array
    labels: jax.Array
    num_classes: int

    @classmethod
    def create(cls, images: np.ndarray, labels: np.ndarray, num_classes: int) -> TestSet:
        """From uint8 `[N, H, W, ch]` and int `[N]`."""
        padding = -len(images) % TEST_BATCH
        images = np.concatenate([images, np.repeat(images[:1], padding, axis=0)])
        labels = np.concatenate([labels, np.full(padding, -1, labels.dtype)])
        return cls(
            jnp.asarray(images.reshape(-1, TEST_BATCH, *images.shape[1:])),
            jnp.asarray(labels.reshape(-1, TEST_BATCH), jnp.int32),
            num_classes,
        )


@functools.partial(jax.jit, static_argnames=("network", "normaliser", "num_classes"))
def _correct_by_class(params, images, labels, *, network, normaliser, num_classes):
    """Correct predictions and test images of each class, batch after batch."""

    def one_batch(batch):
        pixels, truth = batch
        predicted = jnp.argmax(network.apply(params, normaliser(pixels))[0], axis=-1)
        member = truth[:, None] == jnp.arange(num_classes)
        return jnp.sum(member & (predicted == truth)[:, None], axis=0), jnp.sum(member, axis=0)

    correct, total = jax.lax.map(one_batch, (images, labels))
    return jnp.sum(correct, axis=0), jnp.sum(total, axis=0)


def accuracy_by_class(
    network: Network, params: Any, test: TestSet, normaliser: Normaliser
) -> tuple[float, np.ndarray]:
    """Accuracy in percent.

    Args:
      network: architecture; its `apply` gives logits.
      params: its weights.
      test: the test set.
      normaliser: pixels to network input.

    Returns:
      Over all test images, and for each class (float64 `[K]`), both in 0..100. A class without
      test images has NaN.
    """
    correct, total = jax.device_get(
        _correct_by_class(
            params,
            test.images,
            test.labels,
            network=network,
            normaliser=normaliser,
            num_classes=test.num_classes,
        )
    )
    with np.errstate(invalid="ignore"):
        return 100.0 * correct.sum() / total.sum(), 100.0 * correct / total


@dataclasses.dataclass(frozen=True)
class Result:
    """One network's evaluation; accuracies in percent.

    Attributes:
      seed: of this network.
      last: test accuracy after the last epoch.
      best: best test accuracy over the checked epochs: selected on the test set, optimistic.
      by_class: last epoch's accuracy of each class, None for one without test images.
      history: (epoch, training loss, test accuracy) at the checked epochs.
    """

    seed: int
    last: float
    best: float
    by_class: list[float | None]
    history: list[tuple[int, float, float]]


@dataclasses.dataclass(frozen=True)
class ResultStore:
    """Finished evaluations in a folder, one file a network.

    Attributes:
      folder: where.
      identity: what a result depends on beside its seed; results of another identity count as
        absent.
    """

    folder: Path
    identity: dict[str, Any]

    def get(self, seed: int) -> Result | None:
        """The result of a network, if it is here; a damaged file is set aside."""
        path = self._path(seed)
        try:
            found = files.read_sealed_json(path)
        except FileNotFoundError:
            return None
        except files.DamagedError as error:
            files.set_aside(path, error)
            return None
        if found["identity"] != json.loads(json.dumps(self.identity)):
            return None
        history = [tuple(row) for row in found["result"]["history"]]
        return Result(**(found["result"] | {"history": history}))

    def put(self, result: Result) -> None:
        """Keeps a result."""
        content = {"identity": self.identity, "result": vars(result)}
        files.write_sealed_json(self._path(result.seed), content)

    def _path(self, seed: int) -> Path:
        return self.folder / f"network-{seed}.json"


def evaluate(
    images: jax.Array,
    targets: jax.Array,
    test: TestSet,
    *,
    trainer: Trainer,
    seeds: range,
    replicate: int = 0,
    check_every: int,
    label: str,
    kept: ResultStore | None = None,
) -> list[Result]:
    """Trains one fresh network per seed on the decoded distilled set.

    Args:
      images: `[n, H, W, ch]` in [0, 1] (or uint8: a real data set, for an upper bound).
      targets: `[n, K]` class probabilities, hard or soft.
      test: the whole test set.
      trainer: architecture, any of `csdm_jax.networks`, and recipe.
      seeds: one network each.
      replicate: the seed of the distillation. Sets of different replicates are tested by different
        networks, which then share nothing (those of one replicate share its images); those of
        different methods and equal replicates by the same networks, so that their differences
        scatter less.
      check_every: epochs between looks at the test set (for the best epoch and the curve).
      label: name in the progress line.
      kept: where finished networks are kept and found again; nowhere when left out.

    Returns:
      One result a seed, in their order; accuracies in percent.

    Raises:
      FloatingPointError: when a training diverges.
      Interrupted: when a signal asked for the end; finished networks are kept.
    """
    epochs = trainer.recipe.epochs
    progress = Progress(label, len(seeds) * epochs)
    results = {seed: result for seed in seeds if kept and (result := kept.get(seed))}
    progress.reach(len(results) * epochs)
    missing = [seed for seed in seeds if seed not in results]
    histories: list[list[tuple[int, float, float]]] = [[] for _ in missing]
    by_class: dict[int, np.ndarray] = {}

    def look(number, epoch, params, loss):
        before = histories[number][-1][0] if histories[number] else 0
        accuracy, by_class[number] = accuracy_by_class(
            trainer.network, params, test, trainer.normaliser
        )
        histories[number].append((epoch, loss, accuracy))
        progress.reach(progress.done + epoch - before, loss=loss, test=accuracy)

    def keep(number, params):
        seed = missing[number]
        results[seed] = _summary(seed, histories[number], by_class[number])
        if kept:
            kept.put(results[seed])

    trainer.fit_many(
        [jax.random.fold_in(root_key("evaluation", seed), replicate) for seed in missing],
        images,
        targets,
        on_finish=keep,
        labels=[f"{label}, network {seed}" for seed in missing],
        report_every=check_every,
        on_report=look,
    )
    progress.close()
    return [results[seed] for seed in seeds]


def _summary(seed: int, history: list[tuple[int, float, float]], by_class: np.ndarray) -> Result:
    """A finished network's result."""
    last, best = history[-1][2], max(row[2] for row in history)
    return Result(seed, last, best, listed(by_class), history)
