"""A labelled image data set in memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from absl import logging


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Dataset:
    """Training and test images with their labels.

    Args:
      name: identity of the data set, for reports.
      train_images: `[N, H, W, ch]` uint8.
      train_labels: `[N]` int32 in `[0, C)`.
      test_images: `[n, H, W, ch]` uint8; n = 0 where nothing is to be tested.
      test_labels: `[n]` int32 in `[0, C)`.
      class_names: one name per class, in label order.
      mean: per-channel mean of pixels in [0, 1].
      std: per-channel standard deviation of pixels in [0, 1].
      own: whether these are a user's own data, of which every image is kept by default.
      facts: what a card says of how they were read, where there is a choice.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    own: bool = False
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """The number of classes C."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, ch)`."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels


def check_dataset(dataset: Dataset) -> Dataset:
    """Returns the data set unchanged when it is well formed.

    Raises:
      ValueError: for images that are not uint8 `[n, H, W, ch]`, labels that are not int32 `[n]`
        in `[0, C)`, image shapes that differ between train and test, a class without training
        images, or constants that do not fit the channels.
    """
    for split in ("train", "test"):
        images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
        check_split(f"{dataset.name}: {split}", images, labels, dataset.class_names)
    if missing := _absent(dataset.train_labels, dataset.class_names):
        raise ValueError(
            f"{dataset.name}: train has no image of class(es) {missing}: every class needs at "
            "least one; add images or remove the class"
        )
    train, test = dataset.image_shape, dataset.test_images.shape[1:]
    if train != test:
        raise ValueError(
            f"{dataset.name}: training images are {train}, test images {test} (H, W, ch): "
            "bring all of them to one size and one number of channels"
        )
    channels = train[-1]
    if not len(dataset.mean) == len(dataset.std) == channels or min(dataset.std) <= 0:
        raise ValueError(
            f"{dataset.name}: mean {dataset.mean} and std {dataset.std} must hold one number for "
            f"each of the {channels} channel(s), std positive: "
            "a constant channel cannot be standardised"
        )
    return dataset


def check_split(where: str, images: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> None:
    """Raises a ValueError for images and labels that break the rules of `check_dataset`."""
    if images.dtype != np.uint8:
        raise ValueError(
            f"{where} images must be uint8 in 0..255, got {images.dtype}: for floats in [0, 1] "
            "store np.round(images * 255).astype(np.uint8)"
        )
    may_be_empty = where.endswith(": test")
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[may_be_empty:]:
        lacks = "move or add the channel axis at the end"
        if images.ndim < 3:
            lacks = "give every image its height and width"
        raise ValueError(
            f"{where} images must be a non-empty [n, H, W, ch] with ch 1 or 3, "
            f"got shape {images.shape}: {lacks}"
        )
    if labels.shape != images.shape[:1] or labels.dtype != np.int32:
        raise ValueError(
            f"{where} labels must be int32 of shape {images.shape[:1]}, one per image, "
            f"got {labels.dtype} {labels.shape}: give one integer label per image"
        )
    if labels.size and (labels.min() < 0 or labels.max() >= len(names)):
        raise ValueError(
            f"{where} labels must lie in [0, {len(names)}), "
            f"got {labels.min()}..{labels.max()}: number the classes from 0 without gaps"
        )


def untested(dataset: Dataset) -> list[str]:
    """Names of the classes without a test image."""
    return _absent(dataset.test_labels, dataset.class_names)


def warn_of_untested(dataset: Dataset) -> Dataset:
    """Returns the data set; names the classes on which accuracy says nothing."""
    if len(dataset.test_labels) and (names := untested(dataset)):
        logging.warning("%s: no test image of class(es) %s", dataset.name, ", ".join(names))
    return dataset


def _absent(labels: np.ndarray, names: tuple[str, ...]) -> list[str]:
    present = np.bincount(labels, minlength=len(names))
    return [name for name, count in zip(names, present, strict=True) if count == 0]


def pixel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and standard deviation of pixels in [0, 1].

    Counts the 256 grey levels first, so that no float copy of the images is made.

    Args:
      images: `[N, H, W, ch]` uint8.

    Returns:
      `ch` means and `ch` standard deviations.
    """
    levels = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(images.shape[-1]):
        share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., 0].size
        mean = float(share @ levels)
        means.append(mean)
        stds.append(float(np.sqrt(share @ (levels - mean) ** 2)))
    return tuple(means), tuple(stds)
