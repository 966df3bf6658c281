"""How well frequencies are spread, and what a draw costs, quiet and beside busy processes.

`python benchmarks/frequencies.py` prints two Markdown tables. Errors: root mean square over the
seeds, of SDD against the exact MMD^2 and of its gradient against the exact gradient, divided by
the same for "iid" at equal T; below 1 is better than iid. Seconds: a draw in a compiled function.
"QR" is the textbook form of orthogonal frequencies, blocks of uniform orthogonal matrices by a QR
decomposition, whose library (LAPACK, with threads of its own) competes with XLA's threads.
`--load 2` times the draws while two processes keep two cores busy.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import _common
import jax
import jax.numpy as jnp

from csdm_jax import RBF, mmd2, sample_frequencies, sdd, unit_features

KERNEL, NUM, SAMPLES = RBF(1.0), 1024, 40
METHODS = ("iid", "qmc", "orthogonal", "QR")


def draw(method: str, num: int, dim: int) -> Callable[[jax.Array], jax.Array]:
    """Frequencies [num, dim] from a key."""
    if method == "QR":
        return functools.partial(by_qr, num=num, dim=dim)
    return lambda key: sample_frequencies(key, KERNEL, num, dim, method=method)


def by_qr(key: jax.Array, num: int, dim: int) -> jax.Array:
    """Gaussian frequencies in orthogonal blocks (Yu et al. 2016)."""
    matrix_key, length_key = jax.random.split(key)
    rows = min(num, dim)
    q, r = jnp.linalg.qr(jax.random.normal(matrix_key, (math.ceil(num / rows), dim, rows)))
    q = q * jnp.sign(jnp.diagonal(r, axis1=1, axis2=2))[:, None, :]
    lengths = jnp.sqrt(jax.random.chisquare(length_key, dim, (num, 1)))
    return KERNEL.scale * lengths * jnp.swapaxes(q, 1, 2).reshape(-1, dim)[:num]


def errors(method: str, dim: int, seeds: int) -> tuple[float, float]:
    """Root mean square errors of value and gradient over draws of frequencies."""
    real_key, synthetic_key, key = jax.random.split(jax.random.key(dim), 3)
    real = unit_features(jax.random.normal(real_key, (SAMPLES, dim)))
    synthetic = unit_features(jax.random.normal(synthetic_key, (SAMPLES, dim)) + 0.5)
    exact, exact_gradient = jax.value_and_grad(lambda y: mmd2(real, y, KERNEL))(synthetic)

    @jax.jit
    def deviation(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        frequencies = draw(method, NUM, dim)(key)
        value, gradient = jax.value_and_grad(lambda y: sdd(real, y, frequencies))(synthetic)
        return (value - exact) ** 2, jnp.sum((gradient - exact_gradient) ** 2)

    squares = [deviation(k) for k in jax.random.split(key, seeds)]
    value, gradient = (
        float(jnp.sqrt(jnp.mean(jnp.array(column)))) for column in zip(*squares, strict=True)
    )
    return value, gradient


def error_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Errors relative to iid, a row for each dimension."""
    for dim in options.dims:
        iid = errors("iid", dim, options.seeds)
        ratios = {
            method: [
                mine / theirs
                for mine, theirs in zip(errors(method, dim, options.seeds), iid, strict=True)
            ]
            for method in METHODS[1:]
        }
        yield {"dim": dim, "errors": ratios}


def time_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds a draw, in turn, a row for each T x d."""
    for size in options.sizes:
        num, dim = (int(part) for part in size.split("x"))
        draws = {method: jax.jit(draw(method, num, dim)) for method in METHODS}
        seconds = _common.alternated(
            {name: functools.partial(one, jax.random.key(0)) for name, one in draws.items()},
            options.repeats,
        )
        yield {"num": num, "dim": dim} | {k: _common.spread(v) for k, v in seconds.items()}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = _common.parser(__doc__.splitlines()[0])
    _common.add_load(parser)
    parser.add_argument("--dims", type=int, nargs="*", default=[2, 16, 64, 512, 2048])
    parser.add_argument("--seeds", type=int, default=40, help="draws for the errors")
    parser.add_argument("--sizes", nargs="*", default=["512x512", "1024x2048", "4096x2048"])
    return parser.parse_args()


def main() -> None:
    """Prints both tables; without --dims or --sizes one of them."""
    options = arguments()
    rows: list[dict[str, Any]] = []
    kept = functools.partial(_common.kept, options.out, "frequencies", vars(options), rows)

    if options.dims:
        print(f"RBF of scale 1, T = {NUM}, {SAMPLES} + {SAMPLES} unit features\n")
        _common.print_table(
            ["d", *(f"{m}, {of}" for m in METHODS[1:] for of in ("value", "gradient"))],
            (
                [str(row["dim"]), *(f"{e:.2f}" for m in METHODS[1:] for e in row["errors"][m])]
                for row in kept(error_rows(options))
            ),
        )
    if options.sizes:
        with _common.busy(options.load):
            print(f"\nseconds a draw, {options.load} busy processes beside it\n")
            _common.print_table(
                ["T x d", *METHODS],
                (
                    [f"{row['num']} x {row['dim']}", *(_common.shown(row[m]) for m in METHODS)]
                    for row in kept(time_rows(options))
                ),
            )
    _common.write(options.out, "frequencies", vars(options), rows)


if __name__ == "__main__":
    main()
