"""What configurations share: a metric without needless noise, and a size that two cores finish."""

from __future__ import annotations

from typing import Any

TWO_CORES = {
    "extractors.cutmix": 0.0,  # it pays after many more epochs only
    "distill.log_every": 10,
    "distill.checkpoint_every": 50,
    "distill.learning_rate": 3e-3,
    "sdd.num_frequencies": 512,
    "evaluate.count": 2,
    "evaluate.epochs": 60,
    "evaluate.check_every": 20,
}
"""What the `cpu` presets of all data sets share."""


QUIET = {
    "sdd.estimator": "exact",
    "sdd.scale": 0.0,  # the median heuristic
    "sdd.frequency_method": "orthogonal",
}
"""SDD by Gram matrices, so that frequencies serve the amplitude alone (benchmarks/README.md)."""


def shrink(config: Any, fields: dict[str, Any]) -> None:
    """Turns a configuration into its `cpu` preset, in place.

    Args:
      config: of a data set; its name gets "-cpu".
      fields: "section.field": what this data set wants, beside or in place of `TWO_CORES`.
    """
    config.name += "-cpu"
    config.update_from_flattened_dict(TWO_CORES | fields)
