"""Long-tailed subsets: how many images each class keeps, and which."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from csdm_jax.data.dataset import Dataset
from csdm_jax.runtime.registry import lookup

LTDD_SEED = 42  # fixed in LTDD's public code


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no single truth value
class LongTail:
    """A long-tailed subset of a training set.

    Args:
      rule: name of the rule that chose the images.
      imbalance_factor: largest class / smallest class.
      seed: the seed in effect (always 42 under "ltdd").
      counts: images kept per class, in label order.
      indices: int64 positions in the full training set, all of class 0 first, then class 1, ...
      sha256: hex digest of `indices` as little-endian int64 bytes.
    """

    rule: str
    imbalance_factor: float
    seed: int
    counts: tuple[int, ...]
    indices: np.ndarray
    sha256: str

    def describe(self) -> dict[str, Any]:
        """What a report says of the subset: everything but the indices themselves."""
        described = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del described["indices"]
        return {**described, "counts": list(self.counts), "total": sum(self.counts)}


def class_counts(n_max: int, imbalance_factor: float, num_classes: int) -> tuple[int, ...]:
    """Images per class of the exponential profile `n_c = floor(n_max IF^(-c / (C-1)))`.

    Args:
      n_max: images of class 0, at least 1.
      imbalance_factor: largest / smallest class, at least 1.
      num_classes: C, at least 2.

    Returns:
      C counts in label order.

    Raises:
      ValueError: for an imbalance factor below 1 or not finite, fewer than two classes, or a class
        left without images.

    Source: CSDM, experimental setup; the same truncation as LTDD.
    """
    if num_classes < 2:
        raise ValueError(
            f"a long-tailed profile needs at least 2 classes, got {num_classes}: "
            "use a data set with more classes"
        )
    if not (math.isfinite(imbalance_factor) and imbalance_factor >= 1):
        raise ValueError(
            f"the imbalance factor must be a finite number >= 1, got {imbalance_factor}: "
            "it is largest / smallest class (1 keeps classes equal)"
        )
    if imbalance_factor > n_max:
        raise ValueError(
            f"imbalance factor {imbalance_factor:g} leaves the last class without images "
            f"(class 0 has {n_max}): use at most {n_max}"
        )
    # The small term keeps exact integers (5000 / 200 = 25) from being truncated to one less.
    return tuple(int(n_max * share + 1e-9) for share in _shares(imbalance_factor, num_classes))


def _shares(imbalance_factor: float, num_classes: int) -> list[float]:
    return [imbalance_factor ** (-c / (num_classes - 1)) for c in range(num_classes)]


def largest_profile(
    available: Sequence[int], imbalance_factor: float, num_classes: int
) -> tuple[int, ...]:
    """The profile with the largest `n_max` for which every class has enough images.

    For equal classes `n_max` is their size. For unequal ones a class in mid-profile may bound it;
    at imbalance factor 1 every class is cut to the smallest.

    Args:
      available: images per class in the full training set.
      imbalance_factor: as in `class_counts`.
      num_classes: C.

    Returns:
      C counts, each at most its available number.

    Raises:
      ValueError: as `class_counts`.
    """
    class_counts(max(available), imbalance_factor, num_classes)  # checks the arguments
    shares = _shares(imbalance_factor, num_classes)
    n_max = min(int((n + 1) / share) for n, share in zip(available, shares, strict=True))
    while any(
        kept > n
        for kept, n in zip(
            class_counts(n_max, imbalance_factor, num_classes), available, strict=True
        )
    ):
        n_max -= 1
    return class_counts(n_max, imbalance_factor, num_classes)


def _seeded(size: int, keep: int, seed: int, label: int) -> np.ndarray:
    return np.random.default_rng([seed, label]).permutation(size)[:keep]


def _ltdd(size: int, keep: int, seed: int, label: int) -> np.ndarray:
    del label  # LTDD starts the same generator anew for every class
    return np.random.RandomState(seed).choice(size, keep, replace=False)


# Each rule maps (class size, number to keep, seed, label) to distinct positions within the class,
# in file order. Both take a prefix of one permutation, so subsets nest as the factor grows.
RULES: dict[str, Callable[[int, int, int, int], np.ndarray]] = {"seeded": _seeded, "ltdd": _ltdd}


def build_longtail(
    labels: np.ndarray,
    num_classes: int,
    *,
    imbalance_factor: float,
    rule: str = "seeded",
    seed: int = 0,
) -> LongTail:
    """Chooses the images of a long-tailed training set.

    Args:
      labels: `[N]` integers in `[0, C)`.
      num_classes: C.
      imbalance_factor: largest / smallest class, at least 1.
      rule: "seeded" (a permutation per seed and class) or "ltdd" (the published index rule of
        LTDD, one fixed subset whatever `seed` is; positions count in the order of `labels`, so
        the images are LTDD's own only where that is the order of the original files).
      seed: non-negative seed of "seeded".

    Returns:
      The subset, class by class.

    Raises:
      ValueError: for an unknown rule, a negative seed, or as `class_counts`.

    Source: LTDD's public code for "ltdd".
    """
    choose = lookup(RULES, rule, "long-tail rule")
    if seed < 0:
        raise ValueError(f"the long-tail seed must be >= 0, got {seed}: use a non-negative integer")
    effective_seed = LTDD_SEED if rule == "ltdd" else seed
    members = [np.flatnonzero(labels == c) for c in range(num_classes)]
    counts = largest_profile([len(m) for m in members], imbalance_factor, num_classes)
    chosen = [
        m[choose(len(m), keep, effective_seed, c)]
        for c, (m, keep) in enumerate(zip(members, counts, strict=True))
    ]
    indices = np.concatenate(chosen).astype(np.int64)
    digest = hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
    return LongTail(rule, float(imbalance_factor), effective_seed, counts, indices, digest)


def check_ipc(
    counts: Sequence[int],
    needed_per_class: int,
    *,
    remedy: str = "lower ipc, the formation factor or the imbalance factor",
) -> None:
    """Checks that the initialisation can take distinct real images from every class.

    Args:
      counts: real images per class.
      needed_per_class: images it takes: IPC, times factor^2 where a stored image is a mosaic.
      remedy: what the message advises.

    Raises:
      ValueError: when a class holds fewer.
    """
    smallest = min(counts)
    if smallest < needed_per_class:
        raise ValueError(
            f"the initialisation takes {needed_per_class} distinct real images of each class, "
            f"class {list(counts).index(smallest)} has {smallest}: {remedy}"
        )


def tuning_split(dataset: Dataset, longtail: LongTail, per_class: int) -> Dataset:
    """The data set with its test images replaced by training images that the subset left out.

    For choosing settings without a look at the test set. A class that the subset uses whole, as
    it does the head class, has none left and is absent.

    Args:
      dataset: the whole data set.
      longtail: the subset of its training images.
      per_class: largest number of images per class, at least 1.

    Raises:
      ValueError: when the subset leaves nothing out.
    """
    unused = np.setdiff1d(np.arange(len(dataset.train_labels)), longtail.indices)
    if not unused.size:
        raise ValueError(
            f"the long-tailed set of {dataset.name} uses all {len(longtail.indices)} training "
            "images, none is left for tuning: raise data.imbalance_factor"
        )
    labels = dataset.train_labels[unused]
    generator = np.random.default_rng(longtail.seed)
    chosen = np.concatenate(
        [generator.permutation(unused[labels == c])[:per_class] for c in range(dataset.num_classes)]
    )
    return dataclasses.replace(
        dataset, test_images=dataset.train_images[chosen], test_labels=dataset.train_labels[chosen]
    )
