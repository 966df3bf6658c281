"""TFDS directories, read without TensorFlow: small ones written here, and the real ones."""

from __future__ import annotations

import builtins
import dataclasses
import importlib.util
import io
import json
import os
import struct
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csdm_jax import data
from csdm_jax.data import tfds_source
from csdm_jax.data.imagenet_subsets import SPECS
from csdm_jax.data.tfrecord import masked_crc, read_records

WOOF = next(spec for spec in SPECS if spec.name == "imagewoof")


def _encode(image, kind):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def _write_records(path, records, file_format):
    if file_format == "tfrecord":
        framed = (
            struct.pack("<Q", len(r)) + masked_crc(struct.pack("<Q", len(r))) + r + masked_crc(r)
            for r in records
        )
        path.write_bytes(b"".join(framed))
        return
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def _prepare(root, builder, splits, names, *, file_format="tfrecord", kind="PNG"):
    """Writes a prepared TFDS directory; `splits` maps a name to (images, labels)."""
    from tensorflow_datasets.proto import tf_example_pb2

    directory = root / builder / "1.0.0"
    directory.mkdir(parents=True)
    name = builder.split("/")[0]
    split_infos = []
    for split, (images, labels) in splits.items():
        records = []
        for image, label in zip(images, labels, strict=True):
            example = tf_example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(_encode(image, kind))
            example.features.feature["label"].int64_list.value.append(int(label))
            records.append(example.SerializeToString())
        shard = directory / f"{name}-{split}.{file_format}-00000-of-00001"
        _write_records(shard, records, file_format)
        split_infos.append(
            {
                "name": split,
                "numBytes": str(sum(map(len, records))),
                "shardLengths": [str(len(records))],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    base = "tensorflow_datasets.core.features."
    image_feature = {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": "uint8"}
    features = {
        "pythonClassName": base + "features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                "image": {
                    "pythonClassName": base + "image_feature.Image",
                    "image": image_feature | {"encodingFormat": kind.lower()},
                },
                "label": {
                    "pythonClassName": base + "class_label_feature.ClassLabel",
                    "classLabel": {"numClasses": str(len(names))},
                },
            }
        },
    }
    info = {"name": name, "version": "1.0.0", "fileFormat": file_format, "splits": split_infos}
    (directory / "dataset_info.json").write_text(json.dumps(info))
    (directory / "features.json").write_text(json.dumps(features))
    (directory / "label.labels.txt").write_text("\n".join(names) + "\n")
    return directory


def _cifar100(root, **options):
    rng = np.random.default_rng(0)
    names = [f"class{c}" for c in range(100)]
    splits = {
        split: (rng.integers(0, 256, (n * 100, 32, 32, 3), np.uint8), np.tile(np.arange(100), n))
        for split, n in (("train", 2), ("test", 1))
    }
    return _prepare(root, "cifar100", splits, names, **options), splits


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_cifar100_layout_is_read_exactly(tmp_path, file_format):
    _, splits = _cifar100(tmp_path, file_format=file_format)
    loaded = data.load("cifar100", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    for split, (images, labels) in splits.items():
        assert np.array_equal(getattr(loaded, f"{split}_images"), images)
        assert np.array_equal(getattr(loaded, f"{split}_labels"), labels)
    assert loaded.class_names[:2] == ("class0", "class1")
    assert loaded.mean == (0.4914, 0.4822, 0.4465)
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_imagenet_subset_picks_reorders_and_crops_its_classes(tmp_path, file_format):
    """Each image's colour is its class's; borders that the centre crop removes are white."""
    names = sorted(["n00000001", *WOOF.classes, "n99999999"])
    labels = np.arange(len(names))
    images = [np.full((256, 400, 3), 255, np.uint8) for _ in names]
    for label, image in enumerate(images):
        image[:, 70:330] = 10 * label
    splits = {"train": (images, labels), "validation": (images, labels), "test": (images, -labels)}
    _prepare(tmp_path, "imagenet2012", splits, names, file_format=file_format)
    loaded = data.load("imagewoof", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert loaded.class_names == WOOF.classes
    assert loaded.train_images.shape == loaded.test_images.shape == (10, 128, 128, 3)
    for image, label in zip(loaded.train_images, loaded.train_labels, strict=True):
        assert np.all(image == 10 * names.index(WOOF.classes[label]))
    assert loaded.std == (0.229, 0.224, 0.225)


def test_imagenet_subset_without_wordnet_names_is_refused(tmp_path):
    images = [np.zeros((130, 130, 3), np.uint8)]
    splits = {"train": (images, [0]), "validation": (images, [0])}
    _prepare(tmp_path, "imagenet2012", splits, ["dog"])
    with pytest.raises(ValueError, match=r"lacks the classes.*n02086240.*its own label names"):
        data.load("imagewoof", data_dir=tmp_path, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_imagenet_specs_hold_ten_distinct_classes_at_128(spec):
    assert spec.resolution == 128 and spec.test_split == "validation"
    assert spec.name == "imagenette" or len(set(spec.classes)) == 10


def test_version_directory_may_be_given_and_the_latest_is_taken(tmp_path):
    old, _ = _cifar100(tmp_path)
    spec = tfds_source.CIFAR100
    for version in ("2.0.0", "10.0.0", "11.0.0.incomplete"):
        (old.parent / version).mkdir()
        (old.parent / version / "dataset_info.json").write_text("{}")
    assert tfds_source._find_prepared(spec, tmp_path) == old.parent / "10.0.0"
    assert tfds_source._find_prepared(spec, old) == old
    with pytest.raises(ValueError, match=r"holds the data set 'cifar100', 'cifar10' is read from"):
        data.load("cifar10", data_dir=old, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("builder", ["cifar10", "imagenette/160px-v2"])
def test_a_directory_too_high_or_too_deep_is_told_the_right_one(tmp_path, builder):
    version = tmp_path / "data" / "tfds" / builder / "1.0.0"
    version.mkdir(parents=True)
    (version / tfds_source.INFO).write_text("{}")
    right = tmp_path / "data" / "tfds"
    spec = dataclasses.replace(tfds_source.CIFAR10, builder=builder)
    assert tfds_source._find_prepared(spec, right) == version
    for wrong in (tmp_path / "data", *list(version.parents)[: builder.count("/") + 1]):
        with pytest.raises(ValueError, match=rf"not in {wrong}, but it is in {right}: give that"):
            tfds_source._find_prepared(spec, wrong)


def test_missing_split_is_refused(tmp_path):
    images = [np.zeros((32, 32, 3), np.uint8)]
    _prepare(tmp_path, "cifar10", {"train": (images, [0])}, ["one"])
    with pytest.raises(ValueError, match=r"no split 'test', it has \['train'\]"):
        data.load("cifar10", data_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_every_damage_to_a_tfrecord_is_noticed(tmp_path):
    directory, _ = _cifar100(tmp_path)
    shard = next(directory.glob("*-test.tfrecord*"))
    whole = shard.read_bytes()
    damaged = {
        "truncated": whole[:-1],
        "cut in a header": whole[:5],
        "flipped payload bit": whole[:60] + bytes([whole[60] ^ 1]) + whole[61:],
        "flipped length bit": bytes([whole[0] ^ 1]) + whole[1:],
    }
    for name, content in damaged.items():
        shard.write_bytes(content)
        with pytest.raises(ValueError, match=r"record \d+ of .*truncated or damaged"):
            list(read_records(shard))
            pytest.fail(name)
    (length,) = struct.unpack("<Q", whole[:8])
    shard.write_bytes(whole[16 + length :])
    with pytest.raises(ValueError, match=r"holds 99 of the 100 examples of split 'test'"):
        data.load("cifar100", data_dir=tmp_path, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
@pytest.mark.parametrize("damage", ["absent", "cut"])
def test_absent_or_cut_shard_is_refused(tmp_path, file_format, damage):
    directory, _ = _cifar100(tmp_path, file_format=file_format)
    shard = next(directory.glob("*-test.*"))
    whole = shard.read_bytes()
    shard.unlink()
    if damage == "cut":
        shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"copy or prepare the data set again"):
        data.load("cifar100", data_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_unprepared_without_tensorflow_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"'cifar100' is not prepared.*csdm_jax\[prepare\].*copy"):
        data.load("cifar100", data_dir=tmp_path)


def test_unprepared_with_tensorflow_is_prepared_as_array_record(tmp_path, monkeypatch):
    """TFDS is replaced: its preparation would download."""
    real = tfds_source._import_tfds()

    def builder(name, *, data_dir, file_format):
        assert (name, data_dir, file_format) == ("cifar100", tmp_path, "array_record")
        directory = tmp_path / "cifar100" / "1.0.0"
        return types.SimpleNamespace(
            data_dir=str(directory),
            download_and_prepare=lambda: _cifar100(tmp_path, file_format="array_record"),
        )

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(real, "builder", builder)
    loaded = data.load("cifar100", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert loaded.num_classes == 100


def test_missing_dependency_of_tfds_is_named(monkeypatch):
    def without(name, *args, **kwargs):
        if name == "tensorflow_datasets":
            raise ModuleNotFoundError("no module", name="importlib_resources")
        return original(name, *args, **kwargs)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"importlib_resources is not installed: .*\[tfds\]"):
        tfds_source._import_tfds()


@pytest.fixture(scope="session")
def real_root():
    root = Path(os.environ.get("CSDM_TEST_DATA", ""))
    if not (root / "cifar10").is_dir():
        pytest.skip("CSDM_TEST_DATA does not name a TFDS directory with cifar10 and imagenette")
    return root


def test_real_cifar10_test_split(real_root):
    """Only the test split: decoding all of CIFAR-10 takes half a minute."""
    directory = next((real_root / "cifar10").glob("*/dataset_info.json")).parent
    builder = tfds_source._import_tfds().builder_from_directory(directory)
    selected = tfds_source._selected(builder, "test", {c: c for c in range(10)})
    images, labels = tfds_source.decode_all(selected)
    assert images.shape == (10000, 32, 32, 3)
    assert np.bincount(labels).tolist() == [1000] * 10
    mean = images.mean((0, 1, 2)) / 255
    assert np.allclose(mean, (0.4942, 0.4851, 0.4504), atol=0.01)  # CIFAR-10's own test mean


def test_real_imagenette_images(real_root):
    builder = tfds_source._import_tfds().builder_from_directory(
        next((real_root / "imagenette").rglob("dataset_info.json")).parent
    )
    assert builder.info.splits["train"].num_examples == 9469
    examples = tfds_source._examples(builder, "validation")
    encoded = [tfds_source.Encoded("example", *next(examples)) for _ in range(40)]
    images, labels = tfds_source.decode_all(encoded, 128)
    assert images.shape == (40, 128, 128, 3)
    assert 60 < images.mean() < 190 and set(labels) <= set(range(10))


def test_second_start_reads_the_cache_without_tfds(tmp_path, monkeypatch):
    _cifar100(tmp_path)
    first = data.load("cifar100", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(tfds_source, "_import_tfds", lambda: pytest.fail("TFDS was imported"))
    start = time.monotonic()
    second = data.load("cifar100", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert time.monotonic() - start < 1
    assert np.array_equal(first.train_images, second.train_images)


def test_a_folder_that_names_a_module_of_its_own_is_refused(tmp_path):
    directory, _ = _cifar100(tmp_path)
    features = directory / "features.json"
    text = features.read_text()
    features.write_text(text.replace("tensorflow_datasets.core.features.image_feature", "evil"))
    with pytest.raises(ValueError, match=r"features\.json names the class 'evil\.Image'"):
        data.load("cifar100", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert "evil" not in sys.modules
