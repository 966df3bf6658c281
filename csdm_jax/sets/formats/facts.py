"""What must be known about a set beside its arrays, from its card and from whoever hands it in."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.sets.formats.base import SPACES

MAX_CARD = 2**24  # bytes
KINDS = {"notes": list, "class_folders": list, "class_names": list, "parameterisation": str}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What somebody says about a set; None where nothing is said.

    Attributes:
      space: where pixel values live, one of `csdm_jax.sets.formats.base.SPACES`.
      mean: per-channel mean of pixels in [0, 1].
      std: per-channel standard deviation of pixels in [0, 1].
      class_names: in label order.
      num_classes: how many classes there are, where they have no names.
      image_shape: `(H, W, ch)`.
      factor: side of the grid when the images are mosaics, 1 when they are not.
    """

    space: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None
    num_classes: int | None = None
    image_shape: tuple[int, ...] | None = None
    factor: int | None = None

    def __post_init__(self) -> None:
        if self.space is not None and self.space not in SPACES:
            raise ValueError(f"space must be one of {SPACES}, got {self.space!r}")
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"mean and std belong together, got {self.mean} and {self.std}")
        numbers = (*(self.mean or ()), *(self.std or ()))
        if not all(math.isfinite(one) for one in numbers) or min(self.std or (1,)) <= 0:
            raise ValueError(
                f"mean must be finite and std positive, got {self.mean} and {self.std}: they are "
                "those of pixels in [0, 1], one number a channel"
            )
        for name in ("num_classes", "factor"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.class_names and self.num_classes not in (None, self.classes):
            raise ValueError(
                f"{len(self.class_names or ())} class names for {self.num_classes} classes: give "
                "one name a class, or only one of the two"
            )

    @property
    def classes(self) -> int | None:
        """The number of classes, from their names where there are names."""
        return len(self.class_names) if self.class_names else self.num_classes

    def agree(self, other: Facts, where: str) -> Facts:
        """Both together.

        Raises:
          ValueError: where they contradict each other; `where` names the first.
        """
        merged = {}
        for field in dataclasses.fields(self):
            one, two = getattr(self, field.name), getattr(other, field.name)
            if one is not None and two is not None and not _same(one, two):
                raise ValueError(
                    f"{where} says {field.name} {one}, you say {two}: leave yours out, or give "
                    "the set that you mean"
                )
            merged[field.name] = two if one is None else one
        return Facts(**merged)


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, tuple) and one and isinstance(one[0], float):
        return len(one) == len(two) and np.allclose(one, two, atol=1e-4)
    return one == two


def from_card(card: dict[str, Any]) -> Facts:
    """What a card of ours says.

    Raises:
      ValueError: for a field of the wrong kind.
    """

    def field(name: str, convert: Any) -> Any:
        return None if card.get(name) is None else convert(card[name])

    def floats(values: Any) -> tuple[float, ...]:
        return tuple(float(one) for one in values)

    if not card:
        return Facts()
    try:
        return Facts(
            space=field("space", str),
            mean=field("mean", floats),
            std=field("std", floats),
            class_names=field("class_names", lambda names: tuple(str(one) for one in names)),
            num_classes=field("num_classes", int),
            image_shape=field("image_shape", lambda sides: tuple(int(one) for one in sides)),
            # A run's card gives the factor of its configuration, used by mosaics alone.
            factor=field("factor", int) if card.get("parameterisation") == "mosaic" else 1,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"the card is damaged: {error}; correct or remove it") from error


def beside(path: Path, format_name: str) -> dict[str, Any]:
    """The card of the set at `path`, empty when there is none.

    Raises:
      ValueError: when the card there is no card, or describes a file of another format.
    """
    file = (path if path.is_dir() else path.parent) / "card.json"
    if not file.is_file():
        return {}
    card = read_card(file)
    written = written_format(card)
    if written != format_name:
        raise ValueError(
            f"{file} describes a set in format {written!r}, not {format_name!r}: give "
            f"--format={written}, or move the file away from the card if it is another set"
        )
    return card


def written_format(card: dict[str, Any]) -> str:
    """The format of the files that a card lies beside."""
    return str(card.get("format", "npz"))  # a run's own card names no format


def read_card(file: Path) -> dict[str, Any]:
    """A card.json.

    Raises:
      ValueError: when it is none.
    """
    if file.stat().st_size > MAX_CARD:
        raise ValueError(f"{file} has {file.stat().st_size} bytes: a card has a few thousand")
    try:
        card = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"cannot read {file}: {error}; it must be JSON") from error
    if not isinstance(card, dict):
        raise ValueError(f"{file} must hold a JSON object, got {type(card).__name__}")
    for name, kind in KINDS.items():
        if not isinstance(card.get(name, kind()), kind):
            raise ValueError(
                f"{file}: {name} must be a {kind.__name__}, got {card[name]!r}: correct it"
            )
    return card
