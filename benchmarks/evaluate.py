"""Training and testing five evaluation networks: ours, one after the other, and PyTorch.

`python benchmarks/evaluate.py`; shorter: `--epochs 5 --test 1000 --repeats 2`.
"""

from __future__ import annotations

import argparse

import _common
import _training
import jax
import jax.numpy as jnp

from csdm_jax.evaluate import TestSet, evaluate


def measure(options: argparse.Namespace, width: int) -> dict:
    """One row: seconds for all networks."""
    import torch_reference

    images, labels = _training.noise(options.images, 0)
    test_images, test_labels = _training.noise(options.test, 1)
    trainer = _training.trainer(width, options.epochs, 128)
    training = jnp.asarray(images), jax.nn.one_hot(labels, _training.CLASSES)
    test = TestSet.create(test_images, test_labels, _training.CLASSES)
    torch_training = _training.torch_data(images, labels)
    torch_test = _training.torch_data(test_images, test_labels)

    def ours(seeds: range) -> None:
        evaluate(
            *training,
            test,
            trainer=trainer,
            seeds=seeds,
            check_every=options.epochs,
            label="benchmark",
        )

    def one_after_the_other() -> None:
        for seed in range(options.networks):
            ours(range(seed, seed + 1))

    def theirs() -> None:
        for _ in range(options.networks):
            net = torch_reference.train(*torch_training, width, options.epochs, 128)
            torch_reference.accuracy(net, *torch_test)

    seconds = _common.alternated(
        {
            "ours": lambda: ours(range(options.networks)),
            "loop": one_after_the_other,
            "torch": theirs,
        },
        options.repeats,
    )
    return {
        "width": width,
        **{name: _common.spread(values) for name, values in seconds.items()},
        "loop / ours": _common.ratio(seconds["loop"], seconds["ours"]),
        "torch / ours": _common.ratio(seconds["torch"], seconds["ours"]),
    }


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[32])
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--images", type=int, default=400, help="distilled images, decoded")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--test", type=int, default=2000, help="test images")
    options = parser.parse_args()
    rows = [measure(options, width) for width in options.width]
    names = ("ours", "loop", "torch", "loop / ours", "torch / ours")
    _common.print_table(
        ["width", "ours, s", "one after the other, s", "PyTorch, s", *names[3:]],
        [[str(row["width"]), *(_common.shown(row[name]) for name in names)] for row in rows],
    )
    _common.write(options.out, "evaluate", vars(options), rows)


if __name__ == "__main__":
    main()
