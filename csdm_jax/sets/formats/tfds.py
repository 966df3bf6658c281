"""A folder that `tfds.builder_from_directory` reads, with one split `train` in array_record.

It is read here without TFDS's builder, which imports whatever module `features.json` names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.data.images import Encoded, decode_all
from csdm_jax.runtime import extras
from csdm_jax.sets.formats.base import Content, Format, check_size
from csdm_jax.sets.formats.png import encode, header_shape
from csdm_jax.storage import files

SHARD = "distilled-train.array_record-00000-of-00001"
SHARDS = "*-train.array_record-*"
FEATURES = "tensorflow_datasets.core.features."


def write(folder: Path, content: Content) -> dict[str, Any]:
    """Writes the shard, `dataset_info.json`, `features.json` and the label names."""
    names = content.class_names or ()
    if any(name.splitlines() != [name] for name in names):
        raise ValueError(f"TFDS keeps one class name a line, got {names}: rename the class")
    records = [_record(*pair) for pair in zip(content.images, content.labels, strict=True)]
    _write_shard(folder / SHARD, records)
    files.write_json(folder / "features.json", _features(content.images.shape[1:], len(names)))
    files.write_json(folder / "dataset_info.json", _info(records))
    files.write_bytes(folder / "label.labels.txt", ("\n".join(names) + "\n").encode())
    return {}


def _record(image: np.ndarray, label: int) -> bytes:
    with extras.needed("formats"):
        from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example()
    example.features.feature["image"].bytes_list.value.append(encode(image))
    example.features.feature["label"].int64_list.value.append(int(label))
    return example.SerializeToString()


def _write_shard(path: Path, records: list[bytes]) -> None:
    with extras.needed("formats"):
        from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def _features(shape: tuple[int, ...], num_classes: int) -> dict[str, Any]:
    image = {"shape": {"dimensions": [str(side) for side in shape]}, "dtype": "uint8"}
    return {
        "pythonClassName": FEATURES + "features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                "image": {
                    "pythonClassName": FEATURES + "image_feature.Image",
                    "image": image | {"encodingFormat": "png"},
                },
                "label": {
                    "pythonClassName": FEATURES + "class_label_feature.ClassLabel",
                    "classLabel": {"numClasses": str(num_classes)},
                },
            }
        },
    }


def _info(records: list[bytes]) -> dict[str, Any]:
    split = {
        "name": "train",
        "numBytes": str(sum(map(len, records))),
        "shardLengths": [str(len(records))],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    return {
        "name": "distilled",
        "version": "1.0.0",
        "description": "A distilled data set; card.json beside this file describes it.",
        "fileFormat": "array_record",
        "splits": [split],
        "supervisedKeys": {
            "tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]},
        },
    }


def read(path: Path, card: dict[str, Any]) -> Content:
    """Reads every shard of the split `train` in array_record."""
    shards = sorted(path.glob(SHARDS))
    if not shards:
        raise FileNotFoundError(
            f"{path} has no {SHARDS} file: give the folder of one version, "
            "prepared with fmt='array_record'"
        )
    images, labels = decode_all(item for shard in shards for item in _examples(shard))
    expected = _length(path / "dataset_info.json")
    if len(images) != expected:
        raise ValueError(
            f"cannot read {path}: its shards hold {len(images)} examples, its dataset_info.json "
            f"says {expected}; copy or export the set again"
        )
    return Content(images, labels, class_names=_names(path / "label.labels.txt"))


def _names(file: Path) -> tuple[str, ...] | None:
    """The class names, where the data set has any."""
    try:
        return tuple(file.read_text().splitlines()) if file.is_file() else None
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read {file}: {error}; it must hold a name a line") from error


def _length(info: Path) -> int:
    """How many examples the split `train` has."""
    try:
        splits = json.loads(info.read_text())["splits"]
        (split,) = (one for one in splits if one["name"] == "train")
        return sum(int(length) for length in split["shardLengths"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"cannot read {info}: {error!r}; it must describe a split 'train'"
        ) from error


def _examples(shard: Path) -> Iterator[Encoded]:
    with extras.needed("formats"):
        from array_record.python.array_record_module import ArrayRecordReader
        from google.protobuf.message import DecodeError
        from tensorflow_datasets.proto import tf_example_pb2

    try:
        reader = ArrayRecordReader(str(shard))
        if not reader.num_records():
            raise ValueError("it holds no record")
        for number in range(reader.num_records()):
            (record,) = reader.read([number])
            feature = tf_example_pb2.Example.FromString(record).features.feature
            (image,), (label,) = (
                feature["image"].bytes_list.value,
                feature["label"].int64_list.value,
            )
            if number == 0:
                check_size(shard, (reader.num_records(), *header_shape(image)))
            if not 0 <= label < 2**31:
                raise ValueError(f"label {label} is no class number")
            yield Encoded(f"{shard} record {number}", image, label)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"cannot read {shard}: {error}; each example needs an encoded 'image' and a 'label'"
        ) from error


FORMAT = Format(
    layout="NHWC",
    space="uint8",
    soft=None,
    write=write,
    read=read,
    files=(SHARDS,),
    notes=("pixels are quantised to uint8, up to 1/510 off; accuracies here were measured before",),
)
