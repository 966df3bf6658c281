"""What a training step costs beside the network, by the number of images N.

`python benchmarks/epochs.py` trains a tiny network on tiny images, so that choosing a batch among N
images dominates. A training of one step and one of many are timed in turn: their difference gives
the milliseconds of a step, later epochs' orders included; the former are those of a start, the
first epoch's order included.
"""

from __future__ import annotations

import functools
from unittest import mock

import _common
import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import networks
from csdm_jax.augment import Augmentation
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.training import trainer
from csdm_jax.training.trainer import Recipe, Trainer

BATCH, CLASSES, SHAPE = 8, 2, (2, 2, 1)


def tiny_trainer() -> Trainer:
    """A network of one channel on images of four pixels."""
    network = networks.create("convnet", num_classes=CLASSES, image_shape=SHAPE, depth=1, width=1)
    recipe = Recipe(1, BATCH, "sgd", 1e-3, 0.0, 0.0, (), 1.0, Augmentation(), 0.0)
    return Trainer(network, recipe, Normaliser((0.5,), (0.5,)), "loop")


def measure(count: int, steps: int, repeats: int) -> dict:
    """Milliseconds of a step and of a start among `count` images."""
    labels = np.arange(count) % CLASSES
    images = jnp.zeros((count, *SHAPE), jnp.uint8)
    targets = jax.nn.one_hot(labels, CLASSES)
    model = tiny_trainer()

    def fit(length: int) -> None:
        with mock.patch.object(trainer, "_chunks", lambda *_: [(0, length, 1)]):
            model.fit(jax.random.key(0), images, targets)

    lengths = {name: functools.partial(fit, length) for name, length in (("1", 1), ("+", steps))}
    seconds = _common.alternated(lengths, repeats)
    each = [
        1e3 * (long - short) / (steps - 1)
        for short, long in zip(seconds["1"], seconds["+"], strict=True)
    ]
    return {
        "images": count,
        "step, ms": _common.spread(each),
        "start, ms": _common.spread([1e3 * value for value in seconds["1"]]),
    }


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=2000)
    options, rows = parser.parse_args(), []

    def lines():
        for count in options.images:
            rows.append(row := measure(count, options.steps, options.repeats))
            yield [str(count), *(_common.shown(row[name]) for name in ("step, ms", "start, ms"))]

    _common.print_table(["images", "a step, ms", "one step from a start, ms"], lines())
    _common.write(options.out, "epochs", vars(options), rows)


if __name__ == "__main__":
    main()
