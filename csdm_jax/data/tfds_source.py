"""Image data sets prepared by tensorflow-datasets, read without TensorFlow's runtime."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csdm_jax.data.cache import cached
from csdm_jax.data.dataset import Dataset
from csdm_jax.data.images import Encoded, decode_all, tracked
from csdm_jax.data.tfrecord import read_records
from csdm_jax.runtime import extras, paths

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INFO, FEATURES = "dataset_info.json", "features.json"


@dataclasses.dataclass(frozen=True)
class TfdsSpec:
    """A data set in the TFDS catalogue and how it is used here.

    Args:
      name: the name used here.
      builder: TFDS's name, with the configuration if there is one ("imagenette/160px-v2").
      mean: per-channel mean of pixels in [0, 1].
      std: per-channel standard deviation.
      test_split: name of the labelled test split.
      resolution: None keeps the image size; otherwise resize the shorter side, crop the centre.
      classes: names of the classes to keep, in the order of the new labels; None keeps all.
      shown: names to show for labels 0, 1, ..., where a prepared copy may lack them.
    """

    name: str
    builder: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    test_split: str = "test"
    resolution: int | None = None
    classes: tuple[str, ...] | None = None
    shown: tuple[str, ...] | None = None


CIFAR10_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10 = TfdsSpec("cifar10", "cifar10", CIFAR_MEAN, CIFAR_STD, shown=CIFAR10_NAMES)
# NCFM, DATM and LTDD standardise CIFAR-100 with CIFAR-10's constants: kept for comparability.
CIFAR100 = TfdsSpec("cifar100", "cifar100", CIFAR_MEAN, CIFAR_STD)


def load(spec: TfdsSpec, data_dir: Path | None, cache_dir: Path | None) -> Dataset:
    """Reads a prepared data set; prepares it first where TensorFlow is installed.

    Args:
      spec: which data set.
      data_dir: TFDS's data directory, or the directory of one prepared version. None is
        `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      cache_dir: as in `csdm_jax.data.cache.cached`.

    Raises:
      ImportError: when tensorflow-datasets or a package it needs is missing.
      ValueError: for a data set that is neither prepared nor preparable here, another data set in
        `data_dir`, a missing split or class, or damaged data.
    """
    root = data_dir or paths.from_environment("TFDS_DATA_DIR")
    root = root or paths.home("data_dir, or TFDS_DATA_DIR") / "tensorflow_datasets"
    prepared = _find_prepared(spec, root) or _prepare(spec, root)
    info = (prepared / INFO).read_bytes()
    found = json.loads(info).get("name")
    if found != spec.builder.split("/")[0]:
        raise ValueError(
            f"{prepared} holds the data set {found!r}, {spec.name!r} is read from "
            f"{spec.builder!r}: give the directory of that one"
        )
    identity = {
        "spec": dataclasses.asdict(spec),
        "info": hashlib.sha256(info).hexdigest(),
        "files": sorted((file.name, file.stat().st_size) for file in prepared.iterdir()),
    }
    return cached(spec.name, identity, cache_dir, lambda: _build(spec, prepared))


def _find_prepared(spec: TfdsSpec, root: Path) -> Path | None:
    """The latest prepared version. TFDS itself would cost a second to import at every start."""
    if (root / INFO).is_file():
        return root
    found = _versions(root / spec.builder)
    if not found and (near := _near(spec, root)):
        raise ValueError(
            f"{spec.builder!r} is not in {root}, but it is in {near}: give that one as data_dir"
        )
    return max(found, key=lambda p: [int(n) for n in p.name.split(".")], default=None)


def _versions(folder: Path) -> list[Path]:
    """The prepared versions in the folder of a data set."""
    found = [path.parent for path in folder.glob(f"*/{INFO}")]
    return [path for path in found if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]


def _near(spec: TfdsSpec, root: Path) -> Path | None:
    """The data directory, where `root` is a few levels too high or too deep."""
    root = root.absolute()
    below = sorted(path for path in root.glob("*") if path.is_dir())
    above = list(root.parents)[: spec.builder.count("/") + 1]
    return next((one for one in (*above, *below) if _versions(one / spec.builder)), None)


def _prepare(spec: TfdsSpec, root: Path) -> Path:
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"{spec.builder!r} is not prepared in {root}, and preparing it needs TensorFlow, which "
            'is not installed: pip install "csdm_jax[prepare]" (tensorflow-cpu), '
            "or give a directory with a prepared copy as data_dir"
        )
    builder = _import_tfds().builder(spec.builder, data_dir=root, file_format="array_record")
    try:
        builder.download_and_prepare()
    except (AssertionError, OSError) as error:  # TFDS asserts that manual downloads are there
        raise ValueError(
            f"tensorflow-datasets could not prepare {spec.builder!r} in {root}: {error}"
        ) from error
    return Path(builder.data_dir)


def _import_tfds() -> Any:
    with extras.needed("tfds"):
        import tensorflow_datasets
    return tensorflow_datasets


def _check_features(prepared: Path) -> None:
    """TFDS imports the module of every feature that the folder names: only its own may be named."""
    text = (prepared / FEATURES).read_text() if (prepared / FEATURES).exists() else ""
    named = re.findall(r'"pythonClassName"\s*:\s*"([^"]*)"', text)
    if foreign := [name for name in named if not name.startswith("tensorflow_datasets.")]:
        raise ValueError(
            f"{prepared / FEATURES} names the class {foreign[0]!r}: only TFDS's own are loaded, "
            "since loading runs code; prepare the data set again"
        )


def _build(spec: TfdsSpec, prepared: Path) -> Dataset:
    _check_features(prepared)
    builder = _import_tfds().builder_from_directory(prepared)
    names = builder.info.features["label"].names
    classes = spec.classes or tuple(names)
    if missing := sorted(set(classes) - set(names)):
        raise ValueError(
            f"{prepared} lacks the classes {missing} of {spec.name!r} (it names {names[:3]}...): "
            "prepare the data set with its own label names"
        )
    new_labels = {names.index(name): label for label, name in enumerate(classes)}
    train, test = (
        decode_all(_selected(builder, split, new_labels), spec.resolution)
        for split in ("train", spec.test_split)
    )
    return Dataset(spec.name, *train, *test, _shown(spec, classes), spec.mean, spec.std)


def _shown(spec: TfdsSpec, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The class names; a prepared copy without names calls its classes "0", "1", ..."""
    nameless = classes == tuple(str(label) for label in range(len(classes)))
    return spec.shown if nameless and spec.shown else classes


def _selected(builder: Any, split: str, new_labels: dict[int, int]) -> Iterator[Encoded]:
    if split not in builder.info.splits:
        raise ValueError(
            f"{builder.data_dir} has no split {split!r}, it has {sorted(builder.info.splits)}: "
            "prepare the whole data set"
        )
    total = builder.info.splits[split].num_examples
    taken = 0
    try:
        for image, label in tracked(_examples(builder, split), f"reading {split}", total):
            taken += 1
            if label in new_labels:
                where = f"example {taken - 1} of {builder.data_dir} ({split})"
                yield Encoded(where, image, new_labels[label])
    except (OSError, RuntimeError) as error:  # array_record reports damage as RuntimeError
        raise ValueError(
            f"cannot read split {split!r} of {builder.data_dir}: {error}; "
            "copy or prepare the data set again"
        ) from error
    if taken != total:
        raise ValueError(
            f"{builder.data_dir} holds {taken} of the {total} examples of split {split!r}: "
            "copy or prepare the data set again"
        )


def _examples(builder: Any, split: str) -> Iterator[tuple[bytes, int]]:
    """Encoded images and labels. TFDS reads array_record by itself, but not tfrecord."""
    tfds = _import_tfds()
    if builder.info.file_format is not tfds.core.FileFormat.TFRECORD:
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        for index in range(len(source)):
            example = source[index]
            yield example["image"], int(example["label"])
        return
    from tensorflow_datasets.proto import tf_example_pb2

    for path in builder.info.splits[split].filepaths:
        for record in read_records(Path(path)):
            feature = tf_example_pb2.Example.FromString(record).features.feature
            yield feature["image"].bytes_list.value[0], feature["label"].int64_list.value[0]
