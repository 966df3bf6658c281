"""Augmentation strategies: which operations, in which combination, how strongly."""

from __future__ import annotations

import dataclasses
import math

OPS = ("flip", "color", "crop", "scale", "rotate", "cutout")
"""Names of the operations, in the order in which they are applied."""

MODES = ("one", "all", "ncfm")

RANGES = {
    "brightness": (0, math.inf),
    "saturation": (0, math.inf),
    "contrast": (0, math.inf),
    "crop": (0, 1),
    "cutout": (0, 1),
    "flip": (0, 1),
    "scale": (1, math.inf),
    "rotate": (0, 180),
}
"""Accepted strengths."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Which operations are applied, and how strongly; hashable, so static under `jit`.

    The operations run in the order of `OPS`, whatever the order of `ops`. Modes:

    - "one": one operation per draw, the same one for all images (DSA's strategy S).
    - "all": every operation.
    - "ncfm": flip, color and cutout always, and one of crop, scale and rotate per draw.

    Attributes:
      ops: names out of `OPS`; none is the identity.
      mode: one of `MODES`.
      brightness: adds b ~ U(-brightness / 2, brightness / 2) to normalised pixels.
      saturation: distance to the mean over channels times a factor ~ U(0, saturation).
      contrast: distance to the image's mean times a factor ~ U(contrast, contrast + 1).
      crop: largest shift, as a fraction of the side.
      cutout: side of a square of zeros, as a fraction of the image's; it may hang over the border.
      flip: probability of a horizontal flip, in [0, 1].
      scale: the sampling step of each axis is ~ U(1 / scale, scale); above 1 the image shrinks.
      rotate: the angle is ~ U(-rotate, rotate), in degrees.

    Raises:
      ValueError: for an unknown or repeated operation, an unknown mode or a strength out of range.

    Source: DSA (Zhao & Bilen, 2021); mode "ncfm": IDC (Kim et al., 2022) and NCFM.
    """

    ops: tuple[str, ...] = ()
    mode: str = "all"
    brightness: float = 1.0
    saturation: float = 2.0
    contrast: float = 0.5
    crop: float = 0.125
    cutout: float = 0.5
    flip: float = 0.5
    scale: float = 1.2
    rotate: float = 15.0

    def __post_init__(self) -> None:
        if len(set(self.ops)) < len(self.ops) or not set(self.ops) <= set(OPS):
            raise ValueError(
                f"operations must be distinct names out of {', '.join(OPS)}, got {self.ops}"
            )
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {self.mode!r}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not (low <= value <= high and math.isfinite(value)):
                raise ValueError(f"{name} must be finite and in [{low}, {high}], got {value}")

    @classmethod
    def parse(cls, strategy: str, mode: str) -> Augmentation:
        """The augmentation of a strategy like "color_crop_cutout"; "" and "none": the identity."""
        return cls(() if strategy in ("", "none") else tuple(strategy.split("_")), mode)

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """Steps in order of application; of a step's operations one is applied, by choice."""
        groups = {
            "one": (OPS,),
            "all": tuple((op,) for op in OPS),
            "ncfm": (("flip",), ("color",), ("crop", "scale", "rotate"), ("cutout",)),
        }
        listed = (tuple(op for op in group if op in self.ops) for group in groups[self.mode])
        return tuple(stage for stage in listed if stage)
