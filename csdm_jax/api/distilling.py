"""Arrays in memory to a distilled set with its card."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from csdm_jax.api.given import Arrays, configuration_of, dataset_of, folder_of, shown
from csdm_jax.experiment import config as configuration
from csdm_jax.experiment import stages
from csdm_jax.reporting import page, table
from csdm_jax.runtime import paths
from csdm_jax.sets import distilled, exporting
from csdm_jax.sets.formats import torch_files
from csdm_jax.storage import files


@dataclasses.dataclass(frozen=True)
class Distilled:
    """A distilled set with its card, in a folder.

    Attributes:
      folder: where everything of the run lies.
      set: what is stored.
      card: value range, mean and std, class names, configuration, versions, accuracies.
    """

    folder: Path
    set: distilled.DistilledSet
    card: dict[str, Any]

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.images.shape))
        return f"Distilled({self.card.get('method', 'imported')}, {shape}, {str(self.folder)!r})"

    @classmethod
    def load(cls, folder: Any) -> Distilled:
        """From the folder of a run, of this interface or of the command line.

        Raises:
          FileNotFoundError, ValueError: when there is none, or it is damaged.
        """
        return cls(paths.given(folder), *distilled.load(paths.given(folder)))

    @property
    def images(self) -> np.ndarray:
        """float32 `[m, H, W, ch]` in [0, 1]: what a network trains on, mosaics cut and enlarged."""
        return distilled.decoded(self.set).images

    @property
    def labels(self) -> np.ndarray:
        """Of `images`: int32 `[m]`, or class probabilities, float32 `[m, K]`."""
        found = distilled.decoded(self.set)
        return found.probabilities if found.soft else found.labels

    def save(self, folder: Any, format: str = "npz") -> None:
        """Writes the set for other code; see `csdm_jax.sets.formats` for the formats.

        Raises:
          ImportError: for a format whose package is missing.
          OSError: when the folder exists.
          ValueError: for a format that cannot hold the set.
        """
        exporting.export_set(self.folder, format, paths.given(folder))

    def report(self, file: Any) -> None:
        """Writes one HTML page: images, losses, and accuracies where there are some."""
        rows = table.gather([self.folder], configuration.OF_THE_RUN)
        text = page.render([page.read(self.folder)], rows=rows, tables=table.tables(rows))
        files.write_bytes(paths.given(file), text.encode())

    def to_torch(self) -> Any:
        """A `TensorDataset` of normalised images `[m, ch, H, W]` and labels.

        Raises:
          ImportError: without PyTorch.
        """
        torch = torch_files.import_torch()
        mean, std = (np.asarray(self.card[name], np.float32) for name in ("mean", "std"))
        normalised = ((self.images - mean) / std).transpose(0, 3, 1, 2)
        labels = self.labels if self.set.soft else self.labels.astype(np.int64)
        return torch.utils.data.TensorDataset(
            torch.from_numpy(np.ascontiguousarray(normalised)), torch.from_numpy(labels)
        )


def distil(
    images: Any,
    labels: Any,
    ipc: int = 10,
    *,
    method: str = "csdm",
    seed: int = 0,
    test: Arrays | None = None,
    holdout: float = 0.0,
    class_names: Sequence[str] | None = None,
    preset: str = "paper",
    workdir: Any = None,
    fields: Mapping[str, Any] | None = None,
) -> Distilled:
    """Distils arrays in memory into `ipc` stored images a class.

    Args:
      images: `[n, H, W]`, `[n, H, W, ch]` or `[n, ch, H, W]`, integers in 0..255 or floats in
        [0, 1]. Every image is used; classes may be of any sizes.
      labels: `[n]`, integers from 0, or text.
      ipc: stored images a class.
      method: a name of `csdm_jax.distillation.methods`, or one that is registered.
      seed: of the distillation.
      test: images and labels. Networks that are trained on the set are then tested, and the card
        has their accuracies; without `test` and `holdout` none is.
      holdout: in place of `test`, the share of each class to hold out for testing.
      class_names: in the order of the labels.
      preset: "paper", which wants an accelerator, or "cpu", which two cores finish.
      workdir: folder of the run; default: `runs/distil-<hash of data and settings>`.
      fields: "section.field" of the configuration to its value.

    Returns:
      The set with its card.

    Raises:
      ValueError: for data or fields that break a rule, before anything is compiled.
      FloatingPointError: when a number is no longer finite.
    """
    given = {"method": method, "distill.seeds": (seed,)}
    with shown():
        config = configuration_of(ipc, holdout, preset, given, fields)
        dataset = dataset_of(images, labels, test, class_names, config)
        folder = folder_of(workdir, "distil", dataset, config)
        tested = len(dataset.test_images) or config.evaluate.on == "tuning"
        for stage in ("all",) if tested else ("extractors", "distill"):
            stages.run(config, folder, stage=stage, dataset=dataset)
    return Distilled.load(folder)
