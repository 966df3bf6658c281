"""A data set from arrays in memory: what they hold is found out, checked and said in the log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from absl import logging

from csdm_jax.data.class_names import in_order, numbers
from csdm_jax.data.dataset import (
    Dataset,
    check_dataset,
    check_split,
    pixel_statistics,
    warn_of_untested,
)
from csdm_jax.data.reading import AS_IT_IS, Reading
from csdm_jax.runtime.text import printable

CHANNELS = (1, 3)
ROUNDING = 1e-3  # how far floats may leave [0, 1], as interpolation leaves it


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray | None = None,
    test_labels: np.ndarray | None = None,
    *,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    reading: Reading = AS_IT_IS,
) -> Dataset:
    """A data set of images and labels.

    Args:
      images: `[N, H, W]`, `[N, H, W, ch]` or `[N, ch, H, W]` with ch 1 or 3: booleans,
        integers in 0..255, or floats in [0, 1], which are rounded to 256 levels.
      labels: `[N]` or `[N, 1]`: integers from 0, or text.
      test_images: likewise, `[n, ...]`; without them `reading.holdout` takes some of the images.
      test_labels: likewise.
      class_names: in label order; without them text labels in alphabetical order (numbers as
        numbers), or the integers.
      name: identity of the data, for reports.
      reading: what is held out where there are no test images.

    Returns:
      The whole, checked data set; mean and standard deviation are those of the training pixels.

    Raises:
      ValueError: for arrays of another kind, values out of range, labels that are not one an image,
        or as `check_dataset`.
    """
    if (test_images is None) != (test_labels is None):
        raise ValueError(f"{name}: test images and test labels belong together: give both or none")
    if reading.image_size:
        raise ValueError(
            f"{name}: data.image_size={reading.image_size} is for image files: give arrays of the "
            "size that is wanted"
        )
    pixels = _pixels(f"{name}: train", np.asarray(images))
    given = [np.asarray(labels)] + ([] if test_labels is None else [np.asarray(test_labels)])
    numbered, names = _labels(name, given, class_names)
    if test_images is not None:
        test, test_numbers = _pixels(f"{name}: test", np.asarray(test_images)), numbered[1]
        reading.held_out(name, numbered[0], True)
        train, train_numbers = pixels, numbered[0]
    else:
        held = reading.held_out(name, numbered[0], False)
        if held.shape != pixels.shape[:1]:
            raise ValueError(f"{name}: {len(held)} labels for {len(pixels)} images: give as many")
        train, train_numbers = pixels[~held], numbered[0][~held]
        test, test_numbers = pixels[held], numbered[0][held]
    mean, std = pixel_statistics(train) if train.ndim == 4 and train.size else ((), ())
    if train.size and train.max() <= 1:
        logging.warning("%s: no pixel is above 1 of 255: give black and white as booleans", name)
    found = Dataset(
        name, train, train_numbers, test, test_numbers, names, mean, std, True, reading.facts
    )
    return warn_of_untested(check_dataset(found))


def labelled(
    where: str, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels as `from_arrays` takes them: uint8 `[n, H, W, ch]` and int32 `[n]`.

    Args:
      where: names them in messages.
      images: as there.
      labels: likewise.
      class_names: in label order.

    Raises:
      ValueError: as there.
    """
    pixels = _pixels(where, np.asarray(images))
    (numbered,), names = _labels(where, [np.asarray(labels)], class_names)
    check_split(where, pixels, numbered, names)
    return pixels, numbered


def _pixels(where: str, images: np.ndarray) -> np.ndarray:
    """uint8 `[n, H, W, ch]`; shapes that cannot be told stay for `check_dataset` to refuse."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[-1] not in CHANNELS and images.shape[1] in CHANNELS:
        logging.info("%s images %s are taken as [n, ch, H, W]", where, images.shape)
        images = images.transpose(0, 2, 3, 1)
    if images.dtype == np.uint8 or not images.size:
        return np.ascontiguousarray(images, np.uint8)
    if images.dtype == np.bool_:
        logging.info("%s images are booleans: False is black, True white", where)
        return images.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(images.dtype, np.integer) and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"{where} images must be numbers, got {images.dtype}: give integers in 0..255 or floats"
        )
    return _from_numbers(where, images)


def _from_numbers(where: str, images: np.ndarray) -> np.ndarray:
    low, high = images.min(), images.max()
    if np.issubdtype(images.dtype, np.integer):
        if low < 0 or high > 255:
            raise ValueError(
                f"{where} images of {images.dtype} must lie in 0..255, got {low}..{high}: "
                "scale them to floats in [0, 1]"
            )
        logging.info("%s images of %s are taken as 0..255", where, images.dtype)
        return images.astype(np.uint8)
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # NaN too
        raise ValueError(
            f"{where} images of {images.dtype} must lie in [0, 1], got {low:.4g}..{high:.4g}: "
            "divide pixels of 0..255 by 255, undo a normalisation, and replace NaN"
        )
    logging.info("%s images of %s in [0, 1] are rounded to 256 levels", where, images.dtype)
    return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def _labels(
    name: str, given: list[np.ndarray], class_names: Sequence[str] | None
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """int32 labels of each array, and the class names."""
    given = [one[:, 0] if one.ndim == 2 and one.shape[1] == 1 else one for one in given]
    # A column of a table holds text as objects.
    given = [
        one.astype(str) if one.dtype == object and all(isinstance(o, str) for o in one) else one
        for one in given
    ]
    names = None if class_names is None else tuple(printable(_text(one)) for one in class_names)
    if names and len(set(names)) < len(names):
        raise ValueError(f"{name}: class names must differ, got {names}: rename the repeated ones")
    if all(np.issubdtype(one.dtype, np.integer) for one in given):
        limits = np.iinfo(np.int32)
        found = [np.clip(one, limits.min, limits.max).astype(np.int32) for one in given]
        return found, names or numbers(len(np.unique(found[0])))
    if any(one.dtype.kind not in "US" or one.ndim != 1 for one in given):
        raise ValueError(
            f"{name}: labels must be integers or text, got {given[0].dtype} {given[0].shape}: "
            "store class numbers from 0, or names, not one-hot rows"
        )
    texts = [[printable(_text(label)) for label in one] for one in given]
    names = names or in_order(label for label in texts[0])
    if unknown := sorted({label for one in texts for label in one} - set(names)):
        raise ValueError(
            f"{name}: labels {unknown[:5]} are none of the classes {names[:12]}: every class needs "
            "a training image and its place in class_names, if there is one"
        )
    logging.info("%s: text labels are numbered 0, 1, ... in the order %s", name, names[:12])
    places = {one: place for place, one in enumerate(names)}
    return [np.array([places[label] for label in one], np.int32) for one in texts], names


def _text(one: object) -> str:
    """A name that NumPy or a caller holds as text or as bytes."""
    return one.decode("utf-8", "surrogateescape") if isinstance(one, bytes) else str(one)
