"""What entries of Gram matrices cost, and how many rows a block of the exact estimator should have.

`python benchmarks/gram.py` prints two Markdown tables. Entries: value and gradient of the mean of a
Gram matrix of n by n rows, for kernels that are one matrix product and for those that sum
differences, as a ratio to the product alone; `csdm_jax.metric.kernels.DIFFERENCE_COST` is of this
size. Blocks: value and gradient of the exact `sdd_loss` at the shapes of a step, by `sample_chunk`,
as a ratio to the default's.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
from typing import Any

import _common
import estimators
import jax
import jax.numpy as jnp

from csdm_jax import RBF, sdd_loss, unit_features
from csdm_jax.metric import kernels
from csdm_jax.metric.exact import ACCELERATOR_BLOCK, CPU_BLOCK

KERNELS: dict[str, kernels.Kernel] = {
    "RBF": RBF(1.0),
    "Laplace": kernels.Laplace(1.0),
    "isotropic Laplace": kernels.IsotropicLaplace(1.0),
}


def rows_of(seed: int, count: int, dim: int) -> jax.Array:
    """Unit features as a ReLU gives them."""
    return unit_features(jax.nn.relu(jax.random.normal(jax.random.key(seed), (count, dim))))


def entries(count: int, dim: int) -> dict[str, Callable[[], Any]]:
    """The product, and the Gram matrix of each kernel, with gradients to one side."""
    x, y = rows_of(0, count, dim), rows_of(1, count, dim)

    def mean_of(function: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[], Any]:
        gradient = jax.jit(jax.value_and_grad(lambda y: jnp.mean(function(x, y))))
        return functools.partial(gradient, y)

    product = {"product": mean_of(lambda x, y: jnp.square(x @ y.T))}
    return product | {name: mean_of(kernel.gram) for name, kernel in KERNELS.items()}


def entry_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each number of rows and dimension."""
    for count in options.counts:
        for dim in options.dims:
            seconds = _common.alternated(entries(count, dim), options.repeats)
            ratios = {name: _common.ratio(s, seconds["product"]) for name, s in seconds.items()}
            product = _common.spread(seconds["product"])
            yield {"n": count, "dim": dim, "seconds": product, "to_product": ratios}


def blocks(shape: str, sizes: list[int]) -> dict[str, Callable[[], Any]]:
    """The exact loss at alpha 1/2 by rows of a block; "default" says none."""
    most, imbalance, count, dim, _ = estimators.SHAPES[shape]
    real_sizes = estimators.sizes(most, imbalance)
    real, synthetic = rows_of(0, sum(real_sizes), dim), rows_of(1, 10 * count, dim)

    def timed(chunk: int | None) -> Callable[[], Any]:
        loss = functools.partial(
            sdd_loss, estimator="exact", kernel=RBF(1.0), alpha=0.5, real_sizes=real_sizes,
            synthetic_sizes=(count,) * 10, sample_chunk=chunk,
        )  # fmt: skip
        return functools.partial(jax.jit(jax.value_and_grad(loss, 1)), real, synthetic, None)

    return {"default": timed(None)} | {str(size): timed(size) for size in sizes}


def block_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each shape."""
    for shape in options.shapes:
        seconds = _common.alternated(blocks(shape, options.blocks), options.repeats)
        ratios = {name: _common.ratio(s, seconds["default"]) for name, s in seconds.items()}
        yield {"shape": shape, "seconds": _common.spread(seconds["default"]), "to_default": ratios}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--dims", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--blocks", type=int, nargs="+", default=[32, 64, 256, 512, 1024])
    shapes = list(estimators.SHAPES)
    parser.add_argument("--shapes", nargs="*", default=shapes, choices=shapes)
    return parser.parse_args()


def main() -> None:
    """Prints both tables."""
    options = arguments()
    rows: list[dict[str, Any]] = []
    kept = functools.partial(_common.kept, options.out, "gram", vars(options), rows)

    _common.print_table(
        ["n", "d", "product, s", *(f"{name} / product" for name in KERNELS)],
        (
            [str(row["n"]), str(row["dim"]), _common.shown(row["seconds"])]
            + [_common.shown(row["to_product"][name]) for name in KERNELS]
            for row in kept(entry_rows(options))
        ),
    )
    default = CPU_BLOCK if jax.default_backend() == "cpu" else ACCELERATOR_BLOCK
    print(f"\nrows of a block, in the seconds of the default's {default}\n")
    _common.print_table(
        ["shape", "default, s", *map(str, options.blocks)],
        (
            [row["shape"], _common.shown(row["seconds"])]
            + [_common.shown(row["to_default"][str(size)]) for size in options.blocks]
            for row in kept(block_rows(options))
        ),
    )
    _common.write(options.out, "gram", vars(options), rows)


if __name__ == "__main__":
    main()
