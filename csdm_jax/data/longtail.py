"""Long-tailed subsets: how many images each class keeps, and which."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from csdm_jax.data.dataset import Dataset
from csdm_jax.data.indices import read_indices
from csdm_jax.runtime.registry import lookup

LTDD_SEED = 42  # fixed in LTDD's public code
AUTO = "auto"
DEFAULT_FACTOR = 100.0
HEADS = ("label", "size")
"""Which class leads the exponential profile, class 0, as published, or the largest."""


class Settings(Protocol):
    """The fields of `config.data` that choose a subset."""

    rule: str
    imbalance_factor: float
    seed: int
    head_first: str
    counts: tuple[int | str, ...]
    indices_file: str


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no single truth value
class LongTail:
    """A long-tailed subset of a training set.

    Args:
      rule: name of the rule that chose the images.
      imbalance_factor: largest class / smallest class that a profile was asked for; without a
        profile that of the images that are kept.
      seed: the seed in effect (always 42 under "ltdd"); None where nothing is drawn.
      counts: images kept per class, in label order.
      indices: int64 positions in the full training set, all of class 0 first, then class 1, ...
      sha256: hex digest of `indices` as little-endian int64 bytes.
      more: what only some rules have to say: `head_first`, `indices_file_sha256`.
    """

    rule: str
    imbalance_factor: float
    seed: int | None
    counts: tuple[int, ...]
    indices: np.ndarray
    sha256: str
    more: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def own_factor(self) -> float:
        """Largest class / smallest class of the images that are kept."""
        return own_factor(self.counts)

    def describe(self) -> dict[str, Any]:
        """What a report says of the subset: everything but the indices themselves."""
        described = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del described["indices"], described["more"]
        return {**described, "counts": list(self.counts), "total": sum(self.counts), **self.more}


def own_factor(counts: Sequence[int]) -> float:
    """Largest class / smallest class."""
    return max(counts) / min(counts)


def factor_text(own: float, asked: float) -> str:
    """The data's own imbalance factor, beside the one that was asked for where that is another."""
    text = f"imbalance factor {own:.4g}"
    return text if f"{asked:.4g}" == f"{own:.4g}" else f"{text} ({asked:g} asked)"


def head_to_tail(counts: Sequence[int]) -> np.ndarray:
    """`[C]` classes, the largest first; those of one size in label order."""
    return np.argsort(-np.asarray(counts), kind="stable")


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
    _check_profile(imbalance_factor, num_classes)
    if imbalance_factor > n_max:
        raise ValueError(
            f"imbalance factor {imbalance_factor:g} leaves the last class without images "
            f"(the first has {n_max}): use at most {n_max}"
        )
    return _profile(n_max, _exponential_profile(imbalance_factor, num_classes))


def _profile(n_max: int, shares: Sequence[float]) -> tuple[int, ...]:
    # The small term keeps exact integers (5000 / 200 = 25) from being truncated to one less.
    return tuple(int(n_max * share + 1e-9) for share in shares)


def _check_profile(imbalance_factor: float, num_classes: int) -> None:
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


def _exponential_profile(imbalance_factor: float, num_classes: int) -> list[float]:
    return [imbalance_factor ** (-c / (num_classes - 1)) for c in range(num_classes)]


def largest_profile(
    available: Sequence[int],
    imbalance_factor: float,
    num_classes: int,
    *,
    names: Sequence[str] = (),
    head_first: str = "label",
) -> tuple[int, ...]:
    """The profile with the largest `n_max` for which every class has enough images.

    For equal classes `n_max` is their size. For unequal ones a class in mid-profile may bound it;
    at imbalance factor 1 every class is cut to the smallest.

    Args:
      available: images per class in the full training set.
      imbalance_factor: as in `class_counts`.
      num_classes: number of classes C.
      names: C names of the classes, for messages; their numbers without them.
      head_first: of `HEADS`: whether the profile falls with the label or with the class's size.

    Returns:
      C counts in label order, each at most its available number.

    Raises:
      ValueError: as `class_counts`, for a factor that leaves the last class without images.
    """
    _check_profile(imbalance_factor, num_classes)
    by_label = head_first == "label"
    order = list(range(num_classes)) if by_label else head_to_tail(available).tolist()
    ordered = [available[c] for c in order]
    n_max, tight = _largest_start(ordered, imbalance_factor)
    if n_max < imbalance_factor:
        most = n_max
        while (start := _largest_start(ordered, most)[0]) < most:
            most = start
        raise ValueError(
            f"imbalance factor {imbalance_factor:g} leaves {_named(order[-1], names)} without "
            f"images: {_named(order[tight], names)} has {ordered[tight]}, so the profile starts at "
            f"{n_max}: use at most {most}{_other_rules(available, head_first)}"
        )
    counts = np.empty(num_classes, int)
    counts[order] = _profile(n_max, _exponential_profile(imbalance_factor, num_classes))
    return tuple(counts.tolist())


def _largest_start(ordered: Sequence[int], imbalance_factor: float) -> tuple[int, int]:
    """The largest `n_max` whose profile the classes can fill, and the class that bounds it."""
    shares = _exponential_profile(imbalance_factor, len(ordered))
    bounds = [int((n + 1) / share) for n, share in zip(ordered, shares, strict=True)]
    n_max = min(bounds)
    while any(kept > n for kept, n in zip(_profile(n_max, shares), ordered, strict=True)):
        n_max -= 1
    return n_max, bounds.index(min(bounds))


def _other_rules(available: Sequence[int], head_first: str) -> str:
    """What else helps where classes are unequal by nature."""
    if len(set(available)) == 1:
        return ""
    by_size = "data.head_first=size (largest class first), " if head_first == "label" else ""
    return f", or {by_size}data.rule=none (every image)"


def _named(label: int, names: Sequence[str]) -> str:
    return f"class {names[label]!r}" if names else f"class {label}"


def _seeded(size: int, keep: int, seed: int, label: int) -> np.ndarray:
    return np.random.default_rng([seed, label]).permutation(size)[:keep]


def _ltdd(size: int, keep: int, seed: int, label: int) -> np.ndarray:
    del label  # LTDD starts the same generator anew for every class
    return np.random.RandomState(seed).choice(size, keep, replace=False)


# Each rule maps (class size, number to keep, seed, label) to distinct positions within the class,
# in file order. Both take a prefix of one permutation, so subsets nest as the factor grows.
RULES: dict[str, Callable[[int, int, int, int], np.ndarray]] = {"seeded": _seeded, "ltdd": _ltdd}
NAMES = (AUTO, "none", "counts", "indices", *RULES)
"""All rules; they keep every image, given counts, given positions, or an exponential profile."""


def build(dataset: Dataset, settings: Settings) -> LongTail:
    """The subset of a data set that `config.data` describes.

    The rule "auto" is "none", every image, for a user's own data, and "ltdd" for a benchmark.

    Raises:
      ValueError: as `build_longtail`, `keep_counts` and `read_indices`; for fewer than two classes,
        and for a setting that the rule does not use.
    """
    rule = ("none" if dataset.own else "ltdd") if settings.rule == AUTO else settings.rule
    _check_used(settings, rule)
    if dataset.num_classes < 2:
        raise ValueError(
            f"{dataset.name} has the class {dataset.class_names[0]!r} alone: give a folder or "
            "arrays with at least 2 classes"
        )
    if rule == "none":
        return _kept(dataset, rule, np.arange(len(dataset.train_labels)), seed=None)
    if rule == "counts":
        return keep_counts(dataset, settings.counts, seed=settings.seed)
    if rule == "indices":
        return keep_indices(dataset, Path(settings.indices_file).expanduser())
    return build_longtail(
        dataset.train_labels,
        dataset.num_classes,
        imbalance_factor=settings.imbalance_factor,
        rule=rule,
        seed=settings.seed,
        names=dataset.class_names,
        head_first=settings.head_first,
    )


def _check_used(settings: Settings, rule: str) -> None:
    """Refuses settings that would be passed over in silence."""
    for field, owner in (("counts", "counts"), ("indices_file", "indices")):
        given = getattr(settings, field)
        if bool(given) != (rule == owner):
            raise ValueError(
                f"data.rule={rule} goes with {'no' if given else 'a'} data.{field}, got {given!r}: "
                f"give data.rule={owner} together with data.{field}, or neither"
            )
    unused = settings.imbalance_factor != DEFAULT_FACTOR
    if settings.rule == AUTO and rule == "none" and unused:
        raise ValueError(
            f"data.imbalance_factor={settings.imbalance_factor:g} has no say where every image is "
            "kept, as it is for data of one's own: give data.rule=seeded too, or leave it out"
        )


def _kept(
    dataset: Dataset, rule: str, rows: np.ndarray, *, seed: int | None, **more: Any
) -> LongTail:
    """The subset of those rows, put in class-major order."""
    labels = np.asarray(dataset.train_labels)[rows]
    indices = rows[np.argsort(labels, kind="stable")].astype(np.int64)
    counts = np.bincount(labels, minlength=dataset.num_classes)
    if empty := [dataset.class_names[c] for c in np.flatnonzero(counts == 0)]:
        raise ValueError(
            f"data.rule={rule} keeps no image of class(es) {empty}: every class needs at least one"
        )
    kept = tuple(counts.tolist())
    return LongTail(rule, own_factor(kept), seed, kept, indices, _digest(indices), more)


def keep_counts(dataset: Dataset, counts: Sequence[int | str], *, seed: int = 0) -> LongTail:
    """A given number of images of each class, drawn as the rule "seeded" draws them.

    Args:
      dataset: the whole data set.
      counts: a number for each class in label order, or "name:number" for some classes; those that
        are not named keep all of their images.
      seed: of the draw.

    Raises:
      ValueError: for another number of counts, an unknown or repeated name, or a count below 1 or
        above what the class has.
    """
    members = [np.flatnonzero(dataset.train_labels == c) for c in range(dataset.num_classes)]
    wanted = _wanted(dataset.class_names, counts, [len(m) for m in members])
    for name, keep, rows in zip(dataset.class_names, wanted, members, strict=True):
        if not 1 <= keep <= len(rows):
            raise ValueError(
                f"data.counts asks for {keep} images of class {name!r}, which has {len(rows)}: "
                f"give a number from 1 to {len(rows)}"
            )
    chosen = [
        m[_seeded(len(m), keep, seed, c)]
        for c, (m, keep) in enumerate(zip(members, wanted, strict=True))
    ]
    return _kept(dataset, "counts", np.concatenate(chosen), seed=seed)


def _wanted(names: tuple[str, ...], counts: Sequence[int | str], available: list[int]) -> list[int]:
    """The number of images of each class, in label order."""
    numbers = [one for one in counts if isinstance(one, int)]
    if len(numbers) == len(counts) == len(names):
        return numbers
    if numbers:
        raise ValueError(
            f"data.counts={tuple(counts)}: it must be {len(names)} numbers, one a class, or "
            f"'name:number' for some of the classes {list(names)}"
        )
    given = dict(str(one).rsplit(":", 1) for one in counts)
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"data.counts names {unknown}, the classes are {list(names)}: take those")
    if len(given) < len(counts):
        raise ValueError(f"data.counts={tuple(counts)} names a class twice: name it once")
    return [int(given.get(name, n)) for name, n in zip(names, available, strict=True)]


def keep_indices(dataset: Dataset, path: Path) -> LongTail:
    """The training images at the positions that a file lists, see `read_indices`.

    Raises:
      ValueError: as `read_indices`, for a position out of range or listed twice, and for a class
        without images.
    """
    rows, digest = read_indices(path)
    total = len(dataset.train_labels)
    if not rows.size or rows.min() < 0 or rows.max() >= total:
        found = f"{rows.min()}..{rows.max()}" if rows.size else "none"
        raise ValueError(
            f"{path} must list positions in 0..{total - 1}, the {total} training images of "
            f"{dataset.name}, got {found}: give the list that belongs to these data"
        )
    values, times = np.unique(rows, return_counts=True)
    if (times > 1).any():
        raise ValueError(
            f"{path} lists {values[times > 1][:3].tolist()} more than once: list an image once"
        )
    return _kept(dataset, "indices", rows, seed=None, indices_file_sha256=digest)


def _digest(indices: np.ndarray) -> str:
    return hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()


def build_longtail(
    labels: np.ndarray,
    num_classes: int,
    *,
    imbalance_factor: float,
    rule: str = "seeded",
    seed: int = 0,
    names: Sequence[str] = (),
    head_first: str = "label",
) -> LongTail:
    """Chooses the images of a long-tailed training set by an exponential profile.

    Args:
      labels: `[N]` integers in `[0, C)`.
      num_classes: number of classes C.
      imbalance_factor: largest / smallest class, at least 1.
      rule: "seeded" (a permutation per seed and class) or "ltdd" (the published index rule of
        LTDD, one fixed subset whatever `seed` is; positions count in the order of `labels`, so
        the images are LTDD's own only where that is the order of the original files).
      seed: non-negative seed of "seeded".
      names: C names of the classes, for messages.
      head_first: see `largest_profile`.

    Returns:
      The subset, class by class.

    Raises:
      ValueError: for an unknown rule, a negative seed, or as `largest_profile`.

    Source: LTDD's public code for "ltdd".
    """
    choose = lookup(RULES, rule, "long-tail rule")
    if seed < 0:
        raise ValueError(f"the long-tail seed must be >= 0, got {seed}: use a non-negative integer")
    effective_seed = LTDD_SEED if rule == "ltdd" else seed
    members = [np.flatnonzero(labels == c) for c in range(num_classes)]
    sizes = [len(m) for m in members]
    counts = largest_profile(
        sizes, imbalance_factor, num_classes, names=names, head_first=head_first
    )
    chosen = [
        m[choose(len(m), keep, effective_seed, c)]
        for c, (m, keep) in enumerate(zip(members, counts, strict=True))
    ]
    indices = np.concatenate(chosen).astype(np.int64)
    more = {} if head_first == "label" else {"head_first": head_first}
    return LongTail(
        rule, float(imbalance_factor), effective_seed, counts, indices, _digest(indices), more
    )


def check_ipc(
    counts: Sequence[int],
    needed_per_class: int,
    *,
    names: Sequence[str] = (),
    remedy: str = "lower ipc, the formation factor or the imbalance factor",
) -> None:
    """Checks that the initialisation can take distinct real images from every class.

    Args:
      counts: real images per class.
      needed_per_class: images it takes: IPC, times factor^2 where a stored image is a mosaic.
      names: C names of the classes, for the message.
      remedy: what the message advises.

    Raises:
      ValueError: when a class holds fewer.
    """
    smallest = min(counts)
    if smallest < needed_per_class:
        raise ValueError(
            f"the initialisation takes {needed_per_class} distinct real images of each class, "
            f"{_named(list(counts).index(smallest), names)} has {smallest}: {remedy}"
        )


def left_out(dataset: Dataset, longtail: LongTail) -> np.ndarray:
    """Positions of the training images that a subset leaves out, on which settings are chosen.

    Raises:
      ValueError: when there are none.
    """
    unused = np.setdiff1d(np.arange(len(dataset.train_labels)), longtail.indices)
    if not unused.size:
        raise ValueError(
            f"the long-tailed set of {dataset.name} uses all {len(longtail.indices)} training "
            "images, none is left for tuning: raise data.imbalance_factor, under a data.rule that "
            "leaves images out"
        )
    return unused


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
    unused = left_out(dataset, longtail)
    labels = dataset.train_labels[unused]
    generator = np.random.default_rng(longtail.seed or 0)
    chosen = np.concatenate(
        [generator.permutation(unused[labels == c])[:per_class] for c in range(dataset.num_classes)]
    )
    return dataclasses.replace(
        dataset, test_images=dataset.train_images[chosen], test_labels=dataset.train_labels[chosen]
    )
