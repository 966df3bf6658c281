"""A folder of images, or a zip archive of one.

Layout: `train/<class>/**` with `test/`, `val/` or `validation/` beside it, or `<class>/**` alone;
one folder around all of it is entered. Images may lie at any depth below their class, in any format
and size (see `csdm_jax.data.images`). Classes are numbered by their sorted names, numbers as
numbers. What is passed over is counted and said.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from absl import logging

from csdm_jax.data import class_names
from csdm_jax.data.cache import cached
from csdm_jax.data.dataset import Dataset, pixel_statistics, warn_of_untested
from csdm_jax.data.images import Encoded, decode_all, is_image, suffixes, tracked
from csdm_jax.data.reading import AS_IT_IS, Reading
from csdm_jax.data.tree import Tree, open_tree
from csdm_jax.runtime.text import printable

TRAIN, TESTS = ("train", "training"), ("test", "val", "validation")
"""Names of the splits, in any case; the first of `TESTS` that is there is the test set."""


SNIFFED = 2**20
"""Bytes at the start of a file of unknown ending that tell whether it is an image."""


class Image(NamedTuple):
    """A file that is read: its path below the root, its class, and whether it is a test image."""

    path: str
    label: str
    test: bool


class Layout(NamedTuple):
    """Which folder is what: the folder of the training classes, and of the test classes if any."""

    train: str
    test: str | None
    unused: list[str]


def load(data_dir: Path | None, cache_dir: Path | None, reading: Reading = AS_IT_IS) -> Dataset:
    """Reads the images; mean and standard deviation are those of the training pixels.

    Args:
      data_dir: the folder or .zip file.
      cache_dir: as in `csdm_jax.data.cache.cached`.
      reading: size, and what is held out where there is no test set.

    Raises:
      ValueError: for a missing folder, a class without training images, no test images and no
        holdout, an unreadable image, images of different sizes, a dangling link among the images,
        or an unsafe or damaged archive.
    """
    if data_dir is None or not data_dir.exists():
        raise ValueError(
            "data set 'folder' needs data_dir, a folder or .zip with <class>/ or train/<class>/ "
            f"and test/<class>/; {f'{data_dir} does not exist' if data_dir else 'none is given'}: "
            "give the path of one"
        )
    name = printable(data_dir.resolve().stem)
    with open_tree(data_dir) as whole:
        prefix = _top(whole)
        tree = whole.below(prefix)
        images, classes = _listed(data_dir / prefix, tree)
        stamps = [(*image, tree.files[image.path]) for image in images]
        identity = [name, classes, stamps, reading.facts]
        dataset = cached(
            name,
            identity,
            cache_dir,
            lambda: _build(data_dir / prefix, name, classes, images, tree, reading),
        )
    return warn_of_untested(dataset)


def _top(tree: Tree) -> str:
    """What stands before all paths: folders that hold nothing but one folder of folders."""
    prefix = ""
    while True:
        inside = [f.removeprefix(prefix) for f in tree.folders if f.startswith(prefix)]
        first = [f for f in inside if "/" not in f]
        nested = any("/" in f for f in inside)
        if len(first) != 1 or not nested or first[0].lower() in (*TRAIN, *TESTS):
            return prefix
        prefix += first[0] + "/"


def _layout(root: Path, tree: Tree) -> Layout:
    first = {f.lower(): f for f in tree.folders if "/" not in f}
    train = next((first[name] for name in TRAIN if name in first), None)
    tests = [first[name] for name in TESTS if name in first]
    if train is not None:
        if tests:
            logging.info("%s: test images are those in %s/", printable(str(root)), tests[0])
        known = (train, *tests[:1])
        unused = [f for f in first.values() if f not in known]
        return Layout(f"{train}/", f"{tests[0]}/" if tests else None, unused)
    if tests:
        raise ValueError(f"{root} has {tests[0]}/ but no train/: put the training images there")
    inner = [f for f in tree.folders if f.count("/") == 1 and f.split("/")[1].lower() in TRAIN]
    if inner:
        raise ValueError(
            f"{root} has splits within its classes ({inner[0]}/): put the split first, as "
            "train/<class>/ and test/<class>/"
        )
    return Layout("", None, [])


def _listed(root: Path, tree: Tree) -> tuple[list[Image], tuple[str, ...]]:
    """The images that are read, sorted by path, and the classes in label order."""
    splits = (*TRAIN, *TESTS)
    broken = [path for path in tree.dangling if path.lower() in splits]
    layout = Layout("", None, []) if broken else _layout(root, tree)
    starts = (layout.train, layout.test or layout.train)
    if broken := broken or [path for path in tree.dangling if path.startswith(starts)]:
        raise ValueError(
            f"{root / broken[0]} is a link to a file or folder that does not exist "
            f"({len(broken)} such among the images): mend or remove it"
        )
    images, passed = [], collections.defaultdict(list)
    for path in sorted(tree.files):
        place, reason = _place(path, layout), _reason(path, layout, tree)
        if reason:
            passed[reason].append(place[0] if place else "")
        elif place:
            images.append(Image(path, *place))
    for reason, paths in (("hidden", tree.hidden), ("a link to a folder above it", tree.loops)):
        passed[reason] += [(_place(path, layout) or ("",))[0] for path in paths]
    _say(root, passed)
    return images, _classes(root, tree, layout, images)


def _place(path: str, layout: Layout) -> tuple[str, bool] | None:
    """Class and whether in the test set of what lies in a class folder, None elsewhere."""
    for start, test in ((layout.test, True), (layout.train, False)):
        if start is not None and path.startswith(start):
            label, slash, _ = path.removeprefix(start).partition("/")
            return (printable(label), test) if slash else None
    return None


def _reason(path: str, layout: Layout, tree: Tree) -> str:
    """Why a file is passed over; empty for an image of a class."""
    suffix = PurePosixPath(path).suffix.lower()
    if _place(path, layout) is None:
        if (top := path.partition("/")[0]) in layout.unused:
            return f"in {top}/, which is neither the training nor the test set"
        return "in no class folder" if suffix in suffixes() else "no image, in no class folder"
    if suffix in suffixes() or is_image(tree.read(path, SNIFFED)):
        return ""
    return f"no image ({suffix or 'no ending'})"


def _say(root: Path, passed: dict[str, list[str]]) -> None:
    """One line on each reason, with the classes that lose something."""
    for reason, classes in passed.items():
        if classes:
            losing = class_names.in_order(one for one in classes if one)
            named = f", of the classes {', '.join(losing[:12])}" if losing else ""
            more = f" and {len(losing) - 12} more" if len(losing) > 12 else ""
            logging.warning(
                "%s: %d passed over: %s%s%s",
                printable(str(root)), len(classes), reason, named, more,
            )  # fmt: skip


def _classes(root: Path, tree: Tree, layout: Layout, images: list[Image]) -> tuple[str, ...]:
    """The class names in label order: every folder of a split, each filled in training."""
    inside = [f.removeprefix(layout.train) for f in tree.folders if f.startswith(layout.train)]
    named = [f for f in inside if f and "/" not in f]
    classes = class_names.in_order([*named, *(image.label for image in images)])
    filled = {image.label for image in images if not image.test}
    if not filled:
        raise ValueError(
            f"{root} has no class folder <class>/ or train/<class>/ with images: give the folder "
            "that holds them"
        )
    if missing := [one for one in classes if one not in filled]:
        raise ValueError(
            f"{root} has no image in {layout.train or './'} of class(es) {missing}: every class "
            "needs at least one training image; add some or remove the class"
        )
    return classes


def _build(
    root: Path,
    name: str,
    classes: tuple[str, ...],
    images: list[Image],
    tree: Tree,
    reading: Reading,
) -> Dataset:
    def encoded() -> Iterator[Encoded]:
        for path, label, _ in tracked(images, f"reading {name}", len(images)):
            where = printable(str(root / path))
            yield Encoded(where, tree.read(path, -1), classes.index(label))

    test = np.array([image.test for image in images])
    numbers = np.array([classes.index(image.label) for image in images])
    held = reading.held_out(str(root), numbers, bool(test.any()))  # before minutes of decoding
    pixels, labels = decode_all(encoded(), reading.image_size or None, reading.resize)
    test = test | held
    mean, std = pixel_statistics(pixels[~test])
    return Dataset(
        name,
        pixels[~test],
        labels[~test],
        pixels[test],
        labels[test],
        classes,
        mean,
        std,
        True,
        reading.facts,
    )
