"""Fresh networks trained on any set, and tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from csdm_jax import networks
from csdm_jax.api.distilling import Distilled
from csdm_jax.api.given import Arrays, configuration_of
from csdm_jax.data.arrays import labelled
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.evaluation import evaluate as engine
from csdm_jax.evaluation import statistics
from csdm_jax.experiment import experiment
from csdm_jax.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Networks that were trained on a set, and tested; accuracies in percent.

    Attributes:
      results: architecture to one `csdm_jax.evaluation.evaluate.Result` a network.
      counts: training images of each class of the real set, where they are known.
    """

    results: dict[str, list[engine.Result]]
    counts: tuple[int, ...] | None = None

    def interval(self, network: str) -> tuple[float, float | None]:
        """Mean of the last epoch's accuracy, and half its 95 % interval over networks."""
        return statistics.interval([one.last for one in self.results[network]])

    def best(self, network: str) -> float:
        """Mean over networks of the best epoch's accuracy: selected on the test set, optimistic."""
        return float(np.mean([one.best for one in self.results[network]]))

    def by_class(self, network: str) -> np.ndarray:
        """Mean accuracy of each class, `[K]`."""
        return statistics.mean_by_class([one.by_class for one in self.results[network]])

    def groups(self, network: str) -> dict[str, float]:
        """Mean accuracy of the many-, medium- and few-shot classes; empty without counts."""
        if self.counts is None:
            return {}
        return statistics.group_accuracies(self.by_class(network), self.counts)

    def __str__(self) -> str:
        columns = ("network", "networks", "last epoch", "95 % interval", "best (optimistic)")
        lines = ["| " + " | ".join([*columns, *statistics.GROUPS]) + " |", "|---" * 8 + "|"]
        for name, found in self.results.items():
            mean, half = self.interval(name)
            width = (
                "" if half is None else f"{max(0, mean - half):.1f} to {min(100, mean + half):.1f}"
            )
            cells = [name, str(len(found)), f"{mean:.1f}", width, f"{self.best(name):.1f}"]
            groups = self.groups(name)
            cells += [f"{groups[g]:.1f}" if g in groups else "" for g in statistics.GROUPS]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)


def evaluate(
    images: Any,
    labels: Any = None,
    *,
    test: Arrays,
    architectures: Sequence[str] = ("convnet",),
    count: int = 5,
    train_counts: Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    preset: str = "paper",
    fields: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Trains fresh networks on a set and tests them; the last epoch counts.

    Args:
      images: a `Distilled`, or float `[m, H, W, ch]` in [0, 1] of any origin.
      labels: of the images: int `[m]`, or class probabilities `[m, K]`.
      test: images and labels, as `distil` takes them.
      architectures: names of `csdm_jax.networks`.
      count: networks of each.
      train_counts: training images of each class of the real set, for many, medium and few.
      mean: per-channel mean of pixels in [0, 1] with which images are normalised; default: that
        of the card, or of the images.
      std: likewise the standard deviation.
      preset: as of `distil`.
      fields: "evaluate.FIELD" (and "network.FIELD") of the configuration to its value.

    Raises:
      ValueError: for arrays or fields that break a rule.
    """
    names: Sequence[str] = ()
    if isinstance(images, Distilled):
        card = images.card
        names = card["class_names"]
        mean, std = mean or card["mean"], std or card["std"]
        train_counts = train_counts or card["data"]["counts"]
        pixels, targets = images.set.training_data()
    else:
        pixels, targets = _training_set(images, labels)
    num_classes = targets.shape[-1]
    test_images, test_labels = labelled("test", *test, names or _numbers(num_classes))
    image_shape = test_images.shape[1], test_images.shape[2], test_images.shape[3]
    if image_shape != pixels.shape[1:]:
        raise ValueError(
            f"images are {pixels.shape[1:]}, test images {image_shape} (H, W, ch): bring both to "
            "one size"
        )
    given = {"evaluate.networks": tuple(architectures), "evaluate.count": count}
    config = configuration_of(1, 0.0, preset, given, fields)
    settings, channels = config.evaluate, (0, 1, 2)
    normaliser = Normaliser(
        tuple(map(float, mean if mean is not None else jnp.mean(pixels, channels))),
        tuple(map(float, std if std is not None else jnp.std(pixels, channels))),
    )
    test_set = engine.TestSet.create(test_images, test_labels, num_classes)
    results = {}
    for name in settings.networks:
        depth = {"depth": config.network.depth} if name == "convnet" else {}
        network = networks.create(
            name,
            num_classes=num_classes,
            image_shape=image_shape,
            width=config.network.width,
            **depth,
        )
        results[name] = engine.evaluate(
            pixels,
            targets,
            test_set,
            trainer=Trainer(network, experiment.recipe(settings), normaliser, config.parallel),
            seeds=range(settings.seed, settings.seed + settings.count),
            check_every=settings.check_every,
            label=f"evaluate {name}",
        )
    return Evaluation(results, None if train_counts is None else tuple(train_counts))


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def _training_set(images: Any, labels: Any) -> tuple[Any, Any]:
    """Pixels in [0, 1] and class probabilities."""
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or labels.ndim not in (1, 2) or len(images) != len(labels):
        raise ValueError(
            f"a set is images [m, H, W, ch] with labels [m] or [m, K], got {images.shape} and "
            f"{labels.shape}"
        )
    pixels = images.astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(
            f"pixels must lie in [0, 1], got {pixels.min():.3g} to {pixels.max():.3g}: undo the "
            "normalisation first"
        )
    targets = np.eye(labels.max() + 1, dtype=np.float32)[labels] if labels.ndim == 1 else labels
    return jnp.asarray(pixels), jnp.asarray(targets, jnp.float32)
