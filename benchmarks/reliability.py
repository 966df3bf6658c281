"""What checkpoints and guards cost: the distillation loop with them and without, alternated.

    python benchmarks/reliability.py --data_dir=DATA_DIR

Runs the step of CIFAR-10-LT's cpu preset with untrained extractors (their training does not change
the cost). "Without" replaces every look at a number by a constant, and saves nothing.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from unittest import mock

import _common
import jax
import jax.numpy as jnp

from csdm_jax.distillation.loop import Cadence, Loop
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.runtime import health
from csdm_jax.training import extractors


def experiment(data_dir: str, steps: int) -> Experiment:
    """The preset, with a pool of untrained networks."""
    config = _common.load_config("cifar10_lt", "imb=100,ipc=10,cpu")
    config.data.data_dir = data_dir
    config.distill.steps = steps
    made = Experiment(config, Path("unused"))
    nets = [made.network.init(jax.random.key(k)) for k in range(config.extractors.count)]
    stacked = jax.tree.map(lambda *leaf: jnp.stack(leaf), *nets)
    made.supplies.pool = extractors.Pool(stacked, stacked)
    return made


def seconds(loop: Loop, settings, *, guarded: bool) -> float:
    """One run of all steps from the beginning."""
    cadence = Cadence(settings.log_every, settings.checkpoint_every)
    nowhere = mock.patch("csdm_jax.storage.checkpoints.Checkpoints.save")
    with contextlib.nullcontext() if guarded else nowhere, tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        loop.run(jax.random.key(0), cadence, folder=Path(folder), identity={}, label="run")
        return time.perf_counter() - begin


def main() -> None:
    """Alternates the two and prints the ratio of medians."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--steps", type=int, default=50, help="at least one checkpoint's distance")
    options = parser.parse_args()
    made = experiment(options.data_dir, options.steps)
    settings = made.config.distill
    guarded = made.loop("csdm")
    with mock.patch.object(health, "finite", lambda tree: jnp.bool_(True)):
        # A step of its own to compile.
        bare = Loop(guarded.method, guarded.data, guarded.supplied, guarded.devices)
        seconds(bare, settings, guarded=False)
    seconds(guarded, settings, guarded=True)
    times: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(options.repeats):
        times["with"].append(seconds(guarded, settings, guarded=True))
        times["without"].append(seconds(bare, settings, guarded=False))
    row = {name: _common.spread(values) for name, values in times.items()}
    row["ratio"] = _common.ratio(times["with"], times["without"])
    _common.print_table(
        ["with, s", "without, s", "with / without"],
        [[_common.shown(row[name]) for name in ("with", "without", "ratio")]],
    )
    _common.write(options.out, "reliability", vars(options), [row])


if __name__ == "__main__":
    main()
