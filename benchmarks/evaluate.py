"""Training and testing five evaluation networks by every strategy, and in PyTorch.

PyTorch runs in two processes of its own: as it comes, and keeping the memory it frees, as we do.

`python benchmarks/evaluate.py` takes the strategies that "auto" chooses among on this machine, and
says which it takes; those that are hopeless on a CPU: `--strategies loop unrolled vmap map --epochs
2`; shorter: `--epochs 5 --test 1000 --repeats 2`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any
from unittest import mock

import _common
import _training
import jax
import jax.numpy as jnp

from csdm_jax.evaluation.evaluate import TestSet, evaluate
from csdm_jax.training import parallel
from csdm_jax.training.trainer import Trainer

BATCH = 128


def theirs(options: argparse.Namespace, width: int) -> None:
    """All networks in PyTorch."""
    import torch_reference

    for _ in range(options.networks):
        training = _training.torch_data(options.images, 0)
        net = torch_reference.train(*training, width, options.epochs, BATCH)
        torch_reference.accuracy(net, *_training.torch_data(options.test, 1))


def measure(options: argparse.Namespace, width: int) -> dict[str, Any]:
    """Seconds for all networks, of each strategy and of PyTorch."""
    images, labels = _training.noise(options.images, 0)
    test_images, test_labels = _training.noise(options.test, 1)
    training = jnp.asarray(images), jax.nn.one_hot(labels, _training.CLASSES)
    test = TestSet.create(test_images, test_labels, _training.CLASSES)

    def ours(trainer: Trainer) -> None:
        evaluate(
            *training,
            test,
            trainer=trainer,
            seeds=range(options.networks),
            check_every=options.epochs,
            label="benchmark",
        )

    trainers = {s: _training.trainer(width, options.epochs, BATCH, s) for s in options.strategies}
    functions = {name: lambda trainer=trainer: ours(trainer) for name, trainer in trainers.items()}
    with _training.pytorch(kept=False) as torch, _training.pytorch(kept=True) as torch_kept:
        functions["torch"] = lambda: torch(theirs, options, width)
        functions["torch kept"] = lambda: torch_kept(theirs, options, width)
        seconds = _common.alternated(functions, options.repeats)
    return {
        "width": width,
        "auto": raced(ours, width),
        **{name: _common.spread(values) for name, values in seconds.items()},
        **{
            f"{other} / {name}": _common.ratio(seconds[other], seconds[name])
            for name in trainers
            for other in ("torch", "torch kept")
        },
        **{f"loop / {name}": _common.ratio(seconds["loop"], seconds[name]) for name in trainers},
    }


def raced(ours: Any, width: int) -> str:
    """What "auto" takes after its race; with less work than `WORTH_A_RACE` it takes the loop."""
    trainer = _training.trainer(width, 1, BATCH)
    with mock.patch.object(parallel, "WORTH_A_RACE", 0):
        ours(trainer)
    return next(iter(trainer.chosen.values()), "loop")  # a single network is not raced


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[32])
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--images", type=int, default=400, help="distilled images, decoded")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--test", type=int, default=2000, help="test images")
    parser.add_argument(
        "--strategies",
        nargs="+",
        default=parallel.candidates(jax.default_backend(), jax.local_device_count()),
        choices=parallel.STRATEGIES,
    )
    options, rows = parser.parse_args(), []
    options.strategies = list(dict.fromkeys(("loop", *options.strategies)))  # the ratios' base

    def lines() -> Iterator[list[str]]:
        for width in options.width:
            rows.append(row := measure(options, width))
            _common.save(options.out, "evaluate", vars(options), rows)
            for name in options.strategies:
                cells = (name, f"loop / {name}", f"torch / {name}", f"torch kept / {name}")
                shown = [_common.shown(row[cell]) for cell in cells]
                yield [str(width), name, *shown, "auto" if name == row["auto"] else ""]

    _common.print_table(
        ["width", "strategy", "ours, s", "loop / it", "PyTorch / it", "memory kept / it", "race"],
        lines(),
    )
    steps = options.epochs * options.networks * -(-options.images // BATCH)
    print(f"\n{steps} steps; below {parallel.WORTH_A_RACE} auto takes the loop without a race")
    _common.write(options.out, "evaluate", vars(options), rows)


if __name__ == "__main__":
    main()
