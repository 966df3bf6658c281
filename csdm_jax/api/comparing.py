"""Methods under one recipe, and their differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csdm_jax.api.given import Arrays, configuration_of, dataset_of, folder_of, shown
from csdm_jax.evaluation import pairs
from csdm_jax.experiment import stages
from csdm_jax.reporting import table


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Methods under one recipe.

    Attributes:
      folder: where everything of the runs lies.
      rows: of the result table.
      differences: each other method to (last method - that method), by group of classes.
    """

    folder: Path
    rows: list[dict[str, Any]]
    differences: dict[str, list[pairs.Difference]]

    def __str__(self) -> str:
        return "\n".join([table.table(self.rows), *paired_text(self.rows, self.differences)])


def compare_methods(
    images: Any,
    labels: Any,
    methods: Sequence[str] = ("random", "dm", "csdm"),
    ipc: int = 10,
    *,
    seeds: Sequence[int] = (0, 1),
    test: Arrays | None = None,
    holdout: float = 0.0,
    class_names: Sequence[str] | None = None,
    preset: str = "paper",
    workdir: Any = None,
    fields: Mapping[str, Any] | None = None,
) -> Comparison:
    """Distils arrays by several methods under one recipe, and tests all sets by the same networks.

    Args:
      methods: the last one is compared with the others.
      seeds: of the distillation; an interval needs two.
      others: as of `distil`; `test` or `holdout` is needed.

    Raises:
      ValueError: for data or fields that break a rule, before anything is compiled.
    """
    if not methods or isinstance(methods, str):
        raise ValueError(
            f"methods = {methods!r}: give names, the one that others are compared with last"
        )
    *others, own = methods
    given = {"method": own, "baselines": tuple(others), "distill.seeds": tuple(seeds)}
    with shown():
        config = configuration_of(ipc, holdout, preset, given, fields)
        dataset = dataset_of(images, labels, test, class_names, config)
        folder = folder_of(workdir, "compare", dataset, config)
        _, rows = stages.run(config, folder, dataset=dataset)
    return Comparison(folder, rows, paired(folder, own, others))


def paired(folder: Path, own: str, others: Sequence[str]) -> dict[str, list[pairs.Difference]]:
    """Differences of a working directory's method from the others in it: own - other."""
    ours = pairs.networks(folder, own)
    return {other: pairs.differences(pairs.networks(folder, other), ours) for other in others}


def paired_text(
    rows: Sequence[dict[str, Any]], differences: Mapping[str, list[pairs.Difference]]
) -> list[str]:
    """The tables of `paired`, one below the other."""
    own = next((row["method"] for row in rows if row["method"] not in differences), "")
    return [
        f"\n{own} - {other}, in points\n\n{pairs.table(found)}"
        for other, found in differences.items()
    ]
