"""Fresh networks trained on any set, and tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from csdm_jax.api.distilling import Distilled
from csdm_jax.api.given import Arrays, check_test, configuration_of, shown
from csdm_jax.data.arrays import labelled
from csdm_jax.data.class_names import numbers
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.evaluation import evaluate as engine
from csdm_jax.evaluation import statistics
from csdm_jax.experiment import sections
from csdm_jax.sets import distilled
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
    class_names: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    preset: str = "paper",
    fields: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Trains fresh networks on a set and tests them; the last epoch counts.

    Args:
      images: a `Distilled`, or `[m, H, W, ch]` of any origin, floats in [0, 1] or uint8.
      labels: of the images: int `[m]`, or class probabilities `[m, K]`.
      test: images and labels, as `distil` takes them.
      architectures: names of `csdm_jax.networks`.
      count: networks of each.
      train_counts: training images of each class of the real set, for many, medium and few.
      class_names: in the order of the set's labels, for test labels that are text; those of a
        `Distilled` are in its card.
      mean: per-channel mean of pixels in [0, 1] with which images are normalised; default: that
        of the card, or of the images.
      std: likewise the standard deviation.
      preset: as of `distil`.
      fields: "evaluate.FIELD" (and "network.FIELD") of the configuration to its value.

    Raises:
      ValueError: for arrays or fields that break a rule.
    """
    card = images.card if isinstance(images, Distilled) else {}
    check_test(test)
    stored = images.set if isinstance(images, Distilled) else _stored(images, labels, test[1])
    pixels, targets = stored.training_data()
    names = class_names or card.get("class_names") or numbers(stored.num_classes)
    test_images, test_labels = labelled("test", *test, names)
    image_shape = test_images.shape[1], test_images.shape[2], test_images.shape[3]
    if image_shape != pixels.shape[1:]:
        raise ValueError(
            f"images are {pixels.shape[1:]}, test images {image_shape} (H, W, ch): bring both to "
            "one size"
        )
    mean, std = (
        card.get(name) if given is None else given for name, given in (("mean", mean), ("std", std))
    )
    if train_counts is None:
        train_counts = card.get("data", {}).get("counts")
    given = {"evaluate.networks": tuple(architectures), "evaluate.count": count}
    config = configuration_of(1, 0.0, preset, given, fields)
    settings = sections.evaluation_section(
        config.evaluate, sections.Kind(lr=stored.lr, soft=stored.soft)
    )
    normaliser = _normaliser(pixels, mean, std)
    test_set = engine.TestSet.create(test_images, test_labels, stored.num_classes)
    results = {}
    for name in settings.networks:
        network = sections.network_of(config.network, name, stored.num_classes, image_shape)
        with shown():
            results[name] = engine.evaluate(
                pixels,
                targets,
                test_set,
                trainer=Trainer(network, sections.recipe(settings), normaliser, config.parallel),
                seeds=range(settings.seed, settings.seed + settings.count),
                replicate=card.get("seed") or 0,
                check_every=settings.check_every,
                label=f"evaluate {name}",
            )
    return Evaluation(results, None if train_counts is None else tuple(train_counts))


def _normaliser(pixels: Any, mean: Any, std: Any) -> Normaliser:
    """With what is given, or what the images have. Raises a ValueError without contrast."""
    channels = (0, 1, 2)
    found = Normaliser(
        _of_channels("mean", jnp.mean(pixels, channels) if mean is None else mean, pixels),
        _of_channels("std", jnp.std(pixels, channels) if std is None else std, pixels),
    )
    if min(found.std) <= 0:
        raise ValueError(
            f"the standard deviations of the channels must be positive, got {found.std}: give "
            "std, that of the real images"
        )
    return found


def _of_channels(name: str, given: Any, pixels: Any) -> tuple[float, ...]:
    """One number per channel, as a `Normaliser` takes them."""
    values = np.asarray(given, np.float64)
    if values.shape != pixels.shape[-1:] or not np.isfinite(values).all():
        raise ValueError(
            f"{name} must be one number for each channel, here {pixels.shape[-1]}, got {given}"
        )
    return tuple(values.tolist())


def _stored(images: Any, labels: Any, test_labels: Any) -> distilled.DistilledSet:
    """A set of any origin, checked; classes are those that it or the test images have."""
    images, labels = np.asarray(images), np.asarray(labels)
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    if labels.ndim == 2:
        classes, labels = labels.shape[1], labels.astype(np.float32)
    else:
        known = [one for one in (labels, np.asarray(test_labels)) if one.dtype.kind in "iu"]
        classes = 1 + max((int(one.max()) for one in known if one.size), default=0)
    found = distilled.DistilledSet({"images": images}, labels, "pixels", 1, max(1, classes))
    distilled.check(found)
    return found
