"""How a user's own data are read: at which size, and with which test images."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

RESIZES = ("crop", "stretch")


@dataclasses.dataclass(frozen=True)
class Reading:
    """The fields of `config.data` that change what is read.

    Attributes:
      image_size: side of the square images; 0 keeps the size that all of them have.
      resize: "crop" brings the shorter side to that size and crops the centre, "stretch" brings
        both sides to it.
      holdout: share of each class that becomes the test set of data without one.
      seed: of the images that are held out.
    """

    image_size: int = 0
    resize: str = "crop"
    holdout: float = 0.0
    seed: int = 0

    @classmethod
    def of(cls, settings: Any) -> Reading:
        """From the section `data` of a configuration."""
        return cls(settings.image_size, settings.resize, settings.holdout, settings.seed)

    @property
    def facts(self) -> dict[str, Any]:
        """What a card says of it; nothing where nothing was asked for."""
        sized = {"image_size": self.image_size, "resize": self.resize} if self.image_size else {}
        held = {"holdout": self.holdout, "holdout_seed": self.seed} if self.holdout else {}
        return sized | held

    def held_out(self, where: str, labels: np.ndarray, has_test: bool) -> np.ndarray:
        """Which images of data without a test set become it: stratified, seeded.

        Of each class `holdout` of its images, rounded, at least one and never the last: a class of
        a single image has none to test on.

        Args:
          where: the data, for messages.
          labels: `[N]` of all images.
          has_test: whether the data have test images of their own.

        Returns:
          bool `[N]`.

        Raises:
          ValueError: for a test set and a holdout, or neither.
        """
        if has_test and self.holdout:
            raise ValueError(
                f"{where} has test images of its own, data.holdout={self.holdout:g} would take "
                "more from the training images: leave data.holdout at 0"
            )
        if not (has_test or self.holdout):
            raise ValueError(
                f"{where} has no test images: add a test/ folder (x_test, y_test of an .npz), or "
                "give --config.data.holdout=0.2 to hold a fifth of each class out"
            )
        chosen = np.zeros(len(labels), bool)
        for label in np.unique(labels) if self.holdout else ():
            rows = np.flatnonzero(labels == label)
            number = min(max(1, round(self.holdout * len(rows))), len(rows) - 1)
            generator = np.random.default_rng([self.seed, int(label)])
            chosen[generator.permutation(rows)[:number]] = True
        return chosen


AS_IT_IS = Reading()
"""Every image at its own size, the test set that is there."""
