"""Training and testing five evaluation networks by every strategy of "auto", and by PyTorch.

`python benchmarks/evaluate.py`; shorter: `--epochs 5 --test 1000 --repeats 2`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import _common
import _training
import jax
import jax.numpy as jnp

from csdm_jax import parallel
from csdm_jax.evaluate import TestSet, evaluate


def measure(options: argparse.Namespace, width: int) -> dict:
    """One row: seconds for all networks."""
    import torch_reference

    images, labels = _training.noise(options.images, 0)
    test_images, test_labels = _training.noise(options.test, 1)
    training = jnp.asarray(images), jax.nn.one_hot(labels, _training.CLASSES)
    test = TestSet.create(test_images, test_labels, _training.CLASSES)
    torch_training = _training.torch_data(images, labels)
    torch_test = _training.torch_data(test_images, test_labels)

    def ours(strategy: str) -> Callable[[], None]:
        trainer = _training.trainer(width, options.epochs, 128, strategy)
        return lambda: evaluate(
            *training,
            test,
            trainer=trainer,
            seeds=range(options.networks),
            check_every=options.epochs,
            label="benchmark",
        )

    def theirs() -> None:
        for _ in range(options.networks):
            net = torch_reference.train(*torch_training, width, options.epochs, 128)
            torch_reference.accuracy(net, *torch_test)

    strategies = parallel.candidates(jax.default_backend(), jax.local_device_count())
    seconds = _common.alternated(
        {name: ours(name) for name in strategies} | {"PyTorch": theirs}, options.repeats
    )
    others = {name: values for name, values in seconds.items() if name != "loop"}
    return {
        "width": width,
        "seconds": {name: _common.spread(values) for name, values in seconds.items()},
        "times as long as loop": {
            name: _common.ratio(values, seconds["loop"]) for name, values in others.items()
        },
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
    names = rows[0]["seconds"]
    others = rows[0]["times as long as loop"]
    _common.print_table(
        ["width", *(f"{name}, s" for name in names), *(f"{name} / loop" for name in others)],
        [
            [str(row["width"])]
            + [_common.shown(row["seconds"][name]) for name in names]
            + [_common.shown(row["times as long as loop"][name]) for name in others]
            for row in rows
        ],
    )
    _common.write(options.out, "evaluate", vars(options), rows)


if __name__ == "__main__":
    main()
