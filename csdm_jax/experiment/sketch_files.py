"""A file of sketches: all of a training set that a matching method reads, in place of its images.

An .npz with sums over the images of each class under every view, the keys of the views, the weights
of the extractors, and the facts as JSON (class names, counts, the fields of the configuration on
which a view depends). Its last bytes are the SHA-256 of the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np

from csdm_jax.data import Dataset
from csdm_jax.data.host import HostData
from csdm_jax.data.longtail import LongTail, own_factor
from csdm_jax.distillation import methods
from csdm_jax.distillation.methods.matching.sketched import Sketches
from csdm_jax.networks import Network
from csdm_jax.runtime import paths
from csdm_jax.runtime.fields import flatten
from csdm_jax.storage import files
from csdm_jax.storage.npz import read_npz
from csdm_jax.training import extractors

FORMAT = 1
"""Raise it when the file, or what is drawn by the key of a view, changes."""
SECTIONS = ("network.",)
FIELDS = ("distill.augmentation", "distill.augmentation_mode", "distill.dtype")
OF_THE_SET = ("alpha.",)
FREE = (
    "distill.loss_scale",
    "distill.gradient_ratio",
    "distill.calibration",
    "distill.views",
    "distill.view_uses",
)
"""A method's own fields on which the views of the real images do not depend."""
SAME = ("method", "fields", "settled", "class_names", "image_shape", "mean", "std")
"""Facts that files have to share before they are merged."""


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no single truth value
class SketchFile:
    """What such a file holds.

    Attributes:
      facts: "method", "fields" (of the configuration), "settled" (fields that the method has set),
        "class_names", "counts", "image_shape", "mean", "std", "parts" (which images of which data),
        "drawn" (by the first key), "versions".
      sums: float32 `[V, C, ...]` by name.
      key_data: uint32 `[V, ...]`.
      weights: the extractors, serialised.
      name: of the file, for messages.
      digest: SHA-256 of the file, hex.
    """

    facts: dict[str, Any]
    sums: dict[str, np.ndarray]
    key_data: np.ndarray
    weights: bytes
    name: str = ""
    digest: str = ""

    @property
    def counts(self) -> tuple[int, ...]:
        """Images of each class over which the sums are."""
        return tuple(self.facts["counts"])

    def write(self, path: Path) -> None:
        """Writes the file whole, or not at all."""
        buffer = io.BytesIO()
        text = json.dumps({"format": FORMAT, "sums": sorted(self.sums), **self.facts})
        np.savez(
            buffer,
            facts=np.frombuffer(text.encode(), np.uint8),
            keys=self.key_data,
            extractors=np.frombuffer(self.weights, np.uint8),
            **self.sums,  # type: ignore[arg-type]
        )
        files.write_sealed_bytes(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> SketchFile:
        """Reads a file; no code in it can run.

        Raises:
          OSError: when it cannot be read.
          DamagedError: when it is not what was written.
          ValueError: when it is no file of sketches, or one of another format.
        """
        digest = hashlib.sha256(files.read_sealed_bytes(path)).hexdigest()
        found = read_npz(path, ("facts", "keys", "extractors"))
        facts = json.loads(found["facts"].tobytes())
        if facts.pop("format") != FORMAT:
            raise ValueError(f"{path} is of another format of sketches: write it again")
        sums = read_npz(path, facts.pop("sums"))
        return cls(facts, sums, found["keys"], found["extractors"].tobytes(), str(path), digest)

    def merged(self, other: SketchFile) -> SketchFile:
        """The file of both parts of the data together.

        Raises:
          ValueError: for files of other settings, views or extractors, or with images in common.
        """
        where = f"{self.name} and {other.name} do not merge"
        for name in SAME:
            if self.facts[name] != other.facts[name]:
                one, two = _first_difference(self.facts[name], other.facts[name])
                raise ValueError(f"{where}, their {name} differ ({one}; {two}): make both alike")
        if self.weights != other.weights:
            raise ValueError(
                f"{where}, they have other extractors: make the second with --like={self.name}"
            )
        if not np.array_equal(self.key_data, other.key_data):
            raise ValueError(
                f"{where}, their views were drawn by other keys: give both the same "
                "distill.views and first of distill.seeds"
            )
        if _overlap(self.facts["parts"], other.facts["parts"]):
            raise ValueError(f"{where}, they have images in common: merge disjoint parts")
        counts = np.add(self.counts, other.counts).tolist()
        facts = self.facts | {
            "counts": counts,
            "parts": [*self.facts["parts"], *other.facts["parts"]],
        }
        sums = {name: array + other.sums[name] for name, array in self.sums.items()}
        return dataclasses.replace(self, facts=facts, sums=sums, name=f"{self.name}+{other.name}")

    def check_fields(self, config: Any, method: str) -> None:
        """Raises a ValueError unless these are sketches for a method as it is configured."""
        if method != self.facts["method"]:
            raise ValueError(
                f"{self.name} holds sketches for the method {self.facts['method']!r}, not for "
                f"{method!r}: give --config.method={self.facts['method']} "
                '--config.baselines="()"'
            )
        now = fields_of(config, method)
        if now != self.facts["fields"]:
            one, two = _first_difference(self.facts["fields"], now)
            raise ValueError(
                f"{self.name} was made with {one}, the configuration has {two}: give the same"
            )

    def check(self, config: Any, method: str) -> None:
        """Raises a ValueError when a method cannot be run on these sketches as configured."""
        self.check_fields(config, method)
        if config.distill.classes_per_step:
            raise ValueError(
                f"distill.classes_per_step = {config.distill.classes_per_step}: sketches serve all "
                "classes in a step, give 0"
            )

    def dataset(self) -> Dataset:
        """What is known of the data: everything but the images."""
        images = np.zeros((0, *self.facts["image_shape"]), np.uint8)
        labels = np.zeros(0, np.int32)
        names, mean, std = (tuple(self.facts[name]) for name in ("class_names", "mean", "std"))
        return Dataset("sketches", images, labels, images, labels, names, mean, std)

    def longtail(self) -> LongTail:
        """The counts, as those of a subset that is identified by the file."""
        nothing = np.zeros(0, np.int64)
        factor = own_factor(self.counts)
        return LongTail("sketches", factor, None, self.counts, nothing, self.digest)

    def host(self) -> HostData:
        """A training set of these counts without its images."""
        return HostData(self.dataset().train_images, np.zeros(0, np.int64), self.counts)

    def pool(self, network: Network) -> extractors.Pool:
        """The extractors.

        Raises:
          ValueError: when they are of another network.
        """
        pool = extractors.Pool(**flax.serialization.msgpack_restore(self.weights))
        expected = extractors.like(network, pool.size)
        if jax.tree.map(np.shape, pool) != jax.tree.map(np.shape, expected):
            raise ValueError(f"{self.name} does not hold weights of {network.name}: write it again")
        return jax.tree.map(jax.numpy.asarray, pool)

    def sketches(self) -> Sketches:
        """The views."""
        return Sketches.of(self.sums, self.key_data)


def named_by(config: Any) -> SketchFile | None:
    """The file that a configuration names, `distill.sketches`; None where it names none.

    Raises:
      OSError, ValueError: as `SketchFile.read`, and for a class without images, or keys that draw
        something else here.
    """
    if not config.distill.sketches:
        return None
    file = SketchFile.read(paths.given(config.distill.sketches))
    if not np.allclose(file.facts["drawn"], drawn_by(file.key_data)):
        theirs = file.facts["versions"]["jax"]
        raise ValueError(
            f"{file.name} was written with other random numbers (JAX {theirs}, here "
            f"{jax.__version__}): take that version, or write the file again"
        )
    if 0 in file.counts:
        missing = file.facts["class_names"][file.counts.index(0)]
        raise ValueError(
            f"{file.name} has no image of class {missing!r}: merge a part that has some into it"
        )
    return file


def drawn_by(key_data: np.ndarray) -> list[float]:
    """A few numbers by the key of the first view: what it draws is not in the file."""
    key = jax.random.wrap_key_data(jax.numpy.asarray(key_data[0]))
    return [float(one) for one in jax.random.normal(key, (4,))]


def weights_of(pool: extractors.Pool) -> bytes:
    """Extractors as a file keeps them."""
    return flax.serialization.msgpack_serialize(jax.device_get(pool._asdict()))


def fields_of(config: Any, method: str) -> dict[str, Any]:
    """The fields on which the views of a method depend, as JSON gives them back."""
    own = methods.kind(method).read(config) - {*FREE}
    found = {
        name: value
        for name, value in flatten(config).items()
        if (name in own and not name.startswith(OF_THE_SET))
        or name in FIELDS
        or name.startswith(SECTIONS)
    }
    return json.loads(json.dumps(found, sort_keys=True))


def _overlap(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    """Whether two parts have images of one data set in common: `k of n` is every n-th image."""
    return any(
        one["data"] == two["data"]
        and (one["part"][0] - two["part"][0]) % math.gcd(one["part"][1], two["part"][1]) == 0
        for one in first
        for two in second
    )


def _first_difference(one: Any, two: Any) -> tuple[str, str]:
    """What differs first, in words."""
    if isinstance(one, dict) and isinstance(two, dict):
        name = next(n for n in sorted({**one, **two}) if one.get(n) != two.get(n))
        return f"{name} = {one.get(name)!r}", f"{name} = {two.get(name)!r}"
    return repr(one), repr(two)
