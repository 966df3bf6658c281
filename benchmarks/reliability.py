"""What checkpoints and guards cost: the distillation loop with them and without, alternated.

    python benchmarks/reliability.py --data_dir=DATA_DIR

Runs the step of CIFAR-10-LT's cpu preset with untrained extractors (their training does not change
the cost). "Without" replaces every look at a number by a constant, and saves nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import json
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp

from csdm_jax import extractors, health
from csdm_jax.distill import Loop, Rhythm
from csdm_jax.experiment import Experiment

ROOT = Path(__file__).parent.parent


def experiment(data_dir: str, steps: int) -> Experiment:
    """The preset, with a pool of untrained networks."""
    path = ROOT / "configs" / "cifar10_lt.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config("imb=100,ipc=10,cpu")
    config.data.data_dir = data_dir
    config.distill.steps = steps
    made = Experiment(config, Path("unused"))
    nets = [made.network.init(jax.random.key(k)) for k in range(config.extractors.count)]
    stacked = jax.tree.map(lambda *leaf: jnp.stack(leaf), *nets)
    made.pool = extractors.Pool(stacked, stacked)
    return made


def seconds(loop: Loop, settings, *, guarded: bool) -> float:
    """One run of all steps from the beginning."""
    rhythm = Rhythm(settings.log_every, settings.checkpoint_every)
    nowhere = mock.patch("csdm_jax.checkpoints.Checkpoints.save")
    with contextlib.nullcontext() if guarded else nowhere, tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        loop.run(jax.random.key(0), rhythm, folder=Path(folder), identity={}, label="run")
        return time.perf_counter() - begin


def main() -> None:
    """Alternates the two and prints the ratio of medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--steps", type=int, default=50, help="at least one checkpoint's distance")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    made = experiment(options.data_dir, options.steps)
    settings = made.config.distill
    guarded = made.loop("csdm")
    with mock.patch.object(health, "finite", lambda tree: jnp.bool_(True)):
        bare = Loop(copy.copy(guarded.method))  # a step of its own to compile
        seconds(bare, settings, guarded=False)
    seconds(guarded, settings, guarded=True)
    times: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(options.repeats):
        times["with"].append(seconds(guarded, settings, guarded=True))
        times["without"].append(seconds(bare, settings, guarded=False))
    medians = {name: statistics.median(values) for name, values in times.items()}
    report = {
        "steps": options.steps,
        "checkpoint_every": settings.checkpoint_every,
        "seconds": {n: [round(v, 3) for v in values] for n, values in times.items()},
        "ratio": round(medians["with"] / medians["without"], 4),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }
    print(json.dumps(report, indent=1))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
