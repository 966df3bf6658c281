"""Adds to a sweep the loss scale at which every point's matching term has the same gradient.

  python launch/loss_scales.py --config=configs/digits_lt.py --out=runs/scales \
    --sweep='config.sdd.kernel:config.sdd.scale=rbf:1,rbf:30'

prints `config.sdd.kernel:config.sdd.scale:config.distill.loss_scale=rbf:1:300,rbf:30:2`, a sweep
for launch/sweep.py. At one loss scale a metric with small values (an RBF of scale 0.1) would have
no say beside the calibration, and a sweep would compare weights, not metrics. The gradient is taken
before the first step; the configuration's own metric and loss scale are the reference. No test
image is looked at. The sweep has one axis; extractors are trained where they are missing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from csdm_jax import main as main_command
from csdm_jax.distillation import inputs
from csdm_jax.experiment import command_line, sweeps
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.runtime import interruption, paths
from csdm_jax.runtime.seeds import root_key

DRAWS = 3


def gradient(config: Any, point: dict[str, Any], workdir: Path) -> float:
    """Mean norm of the matching term's gradient at loss scale 1, over a few draws of a step."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(point)
    config.baselines = ()
    config.distill.update({"loss_scale": 1.0, "calibration": 0.0})
    loop = Experiment(config, workdir).loop(config.method)
    if loop.method.steps == 0:
        raise sweeps.ConfigError(f"config.method = {config.method!r} has no loss: leave it out")
    norms = []
    for index in range(DRAWS):  # each from the same state: a step gives its own away
        state, constants, feeds = loop.begin(root_key("distillation", config.distill.seeds[0]))
        _, metrics = loop.stepper(state, constants, index, 1, feeds=feeds)
        norms.append(inputs.merged(metrics).scalars["gradient_norm"])
    return float(np.mean(norms))


def scaled(config: Any, axis: sweeps.Axis, workdir: Path) -> str:
    """The axis as text, with the loss scales, to three digits, as one more field."""
    wanted = config.distill.loss_scale * gradient(config, {}, workdir)
    rows = []
    for values in axis.rows:
        norm = gradient(config, dict(zip(axis.fields, values, strict=True)), workdir)
        rows.append(":".join([*map(sweeps.shown, values), f"{wanted / norm:.3g}"]))
        logging.info("%s: gradient %.3g", rows[-1], norm)
    fields = ":".join(f"config.{field}" for field in (*axis.fields, "distill.loss_scale"))
    return f"{fields}={','.join(rows)}"


def main(argv: list[str] | None = None) -> None:
    """Prints the sweep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="FILE[:name=value,...]")
    parser.add_argument("--sweep", required=True, help="one axis, see launch/sweep.py")
    parser.add_argument("--out", type=paths.given, required=True, help="folder for the extractors")
    parser.add_argument("flags", nargs="*", help="behind --: flags of csdm_jax.main")
    options = parser.parse_args(argv)
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    with command_line.reported(), interruption.handled():
        axes = sweeps.parse(options.sweep)
        if len(axes) > 1:
            raise sweeps.ConfigError(f"the sweep has {len(axes)} axes: join their fields with ':'")
        sys.argv = [sys.argv[0], f"--config={options.config}", *options.flags]
        command_line.parse_flags(sys.argv)  # ml_collections looks for overrides in sys.argv
        print(scaled(main_command.FLAGS.configuration(), axes[0], options.out))


if __name__ == "__main__":
    main()
