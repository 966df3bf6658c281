"""The ConvNet's convolutions: XLA's, ours (`networks.layers.same_conv`) and one as im2col.

`python benchmarks/convolution.py`: milliseconds of the value and of both gradients for the shapes
of the three layers, by themselves and inside a loop of XLA, where some gradients are much slower
on a CPU; in the tiles in which a distillation step forwards its synthetic images (as classifiers
are trained: `--images 128`). All three have to agree, or nothing is measured. Shorter:
`--width 32 --layers 2 --repeats 2`.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import _common
import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import networks
from csdm_jax.networks import layers

SIDES = (32, 16, 8)  # of the maps that the three layers read
ACCELERATOR_TILE = 1024  # images; there a tile is as large as the step has them
ROUNDS = 4  # of the loop
Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def im2col(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Every pixel's neighbourhood as a row, and one matrix product."""
    rows, columns, channels, out = kernel.shape
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (rows // 2,) * 2, (columns // 2,) * 2, (0, 0)))
    shifted = [padded[:, i : i + height, j : j + width] for i, j in np.ndindex(rows, columns)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(rows * columns * channels, out)


IMPLEMENTATIONS: dict[str, Convolution] = {
    "xla": layers.xla_conv,
    "ours": layers.same_conv,
    "im2col": im2col,
}


def passes(convolution: Convolution) -> dict[str, Callable[..., jax.Array]]:
    """Value and gradients as functions of images, kernel and the gradient that comes back."""

    def to_kernel(x: jax.Array, kernel: jax.Array, back: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: convolution(x, kernel), kernel)[1](back)[0]

    def to_input(x: jax.Array, kernel: jax.Array, back: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: convolution(x, kernel), x)[1](back)[0]

    return {
        "forward": lambda x, kernel, back: convolution(x, kernel),
        "gradient to kernel": to_kernel,
        "gradient to input": to_input,
    }


def looped(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The same for tile after tile, in one compiled loop."""

    def run(x: jax.Array, kernel: jax.Array, back: jax.Array) -> jax.Array:
        return jax.lax.map(lambda tile: function(tile[0], kernel, tile[1]), (x, back))

    return run


def tile(width: int) -> int:
    """Images that the network takes at a time where the gradient to the pixels is taken."""
    network = networks.create("convnet", num_classes=10, image_shape=(32, 32, 3), width=width)
    return network.tile(gradient=True) or ACCELERATOR_TILE


def check_agreement(found: dict[str, jax.Array], what: str) -> None:
    """Raises a ValueError when two implementations differ by more than rounding."""
    # An accelerator rounds the factors of its convolutions, a CPU does not.
    limit = 1e-4 if jax.default_backend() == "cpu" else 1e-2
    expected = np.asarray(found["xla"])
    for name, array in found.items():
        error = np.linalg.norm(array - expected) / np.linalg.norm(expected)
        if not error <= limit:
            raise ValueError(f"{what}: {name} differs from xla by {error:.1e} of its norm")


def measure(width: int, layer: int, images: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Rows of one layer, counted from 1."""
    side, channels = SIDES[layer - 1], 3 if layer == 1 else width
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (ROUNDS, images, side, side, channels))
    kernel = jax.random.normal(keys[1], (3, 3, channels, width)) / (3 * channels**0.5)
    back = jax.random.normal(keys[2], (ROUNDS, images, side, side, width))
    by_name = {name: passes(function) for name, function in IMPLEMENTATIONS.items()}
    for which, in_loop in itertools.product(by_name["xla"], (False, True)):
        functions = {
            name: jax.jit(looped(made[which]) if in_loop else made[which])
            for name, made in by_name.items()
        }
        inputs = (x, kernel, back) if in_loop else (x[0], kernel, back[0])
        found = {name: function(*inputs) for name, function in functions.items()}
        check_agreement(found, f"width {width}, layer {layer}, {which}, in a loop: {in_loop}")
        calls = {name: functools.partial(f, *inputs) for name, f in functions.items()}
        rounds = ROUNDS if in_loop else 1
        yield {
            "width": width,
            "layer": layer,
            "images": images,
            "pass": which,
            "in_a_loop": in_loop,
            **{
                name: _common.spread([1e3 * s / rounds for s in seconds])
                for name, seconds in _common.alternated(calls, repeats).items()
            },
        }


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3], choices=(1, 2, 3))
    parser.add_argument("--images", type=int, help="a tile; as many as the network takes")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> None:
    """Prints the table."""
    options, rows = arguments(given), []

    def lines() -> Iterator[list[str]]:
        for width, layer in itertools.product(options.width, options.layers):
            for row in measure(width, layer, options.images or tile(width), options.repeats):
                rows.append(row)
                _common.save(options.out, "convolution", vars(options), rows)
                place = "in a loop" if row["in_a_loop"] else "alone"
                times = (_common.shown(row[name]) for name in IMPLEMENTATIONS)
                yield [str(width), str(layer), str(row["images"]), row["pass"], place, *times]

    header = ["width", "layer", "images", "pass", "where", "XLA, ms", "ours, ms", "im2col, ms"]
    _common.print_table(header, lines())
    _common.write(options.out, "convolution", vars(options), rows)


if __name__ == "__main__":
    main()
