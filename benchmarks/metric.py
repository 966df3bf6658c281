"""`sdd_loss` with its gradient against its matrix products, exact RBF-MMD and PyTorch.

`python benchmarks/metric.py` takes n = 1000 ... 65536 with all rivals; `--quick` stops at 4096;
`--memory` only compiles, and says what a call holds beside features, frequencies and gradient. Each
n runs in a process of its own, whose peak memory is that n's. n rows on each side, unit features,
gradient with respect to the synthetic side (`--both`: to both).
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import _common
import jax
import jax.numpy as jnp
import numpy as np

import csdm_jax as cj

OURS = ("ours", "chunked")
NAMES = ("products", *OURS, "mmd", "torch")
MMD_LIMIT = 16384  # rows for which the Gram matrices' time is bearable


def functions(options: argparse.Namespace, n: int) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    keys = jax.random.split(jax.random.key(0), 4)
    x = cj.unit_features(jax.random.normal(keys[0], (n, options.dim)))
    y = cj.unit_features(jax.random.normal(keys[1], (n, options.dim)) + 0.05)
    t = cj.sample_frequencies(keys[2], cj.RBF(1.0), options.num, options.dim)
    sides = (0, 1) if options.both else (1,)
    made: dict[str, Callable[[], Any]] = {}
    for name in options.only:
        if name == "products":
            made[name] = products(x, y, t, len(sides), options.chunk)
        elif name == "torch":
            made[name] = torch_loss(x, y, t, sides)
        elif name == "mmd" and n <= MMD_LIMIT:
            exact = functools.partial(cj.mmd2, kernel=gram)
            made[name] = functools.partial(jax.jit(jax.value_and_grad(exact, sides)), x, y)
        elif name in OURS:
            made[name] = functools.partial(our_gradient(options, name, sides), x, y, t)
    return made


def our_gradient(options: argparse.Namespace, name: str, sides: tuple[int, ...]) -> Any:
    """The compiled loss with its gradient, with all phases kept or in chunks of samples."""
    chunk = options.chunk if name == "chunked" else None
    loss = functools.partial(cj.sdd_loss, sample_chunk=chunk, matmul_dtype=options.matmul_dtype)
    return jax.jit(jax.value_and_grad(loss, sides))


def temporary(options: argparse.Namespace, name: str, n: int) -> float:
    """MiB that a call holds beside its arguments and results, by the compiler's own account."""
    rows = jax.ShapeDtypeStruct((n, options.dim), jnp.float32)
    frequencies = jax.ShapeDtypeStruct((options.num, options.dim), jnp.float32)
    sides = (0, 1) if options.both else (1,)
    lowered = our_gradient(options, name, sides).lower(rows, rows, frequencies)
    return lowered.compile().memory_analysis().temp_size_in_bytes / 2**20


def print_memory(options: argparse.Namespace) -> None:
    """Prints the table of `--memory`."""
    rows = [
        {"n": n, "array_mib": n * options.dim * 4 / 2**20}
        | {name: temporary(options, name, n) for name in OURS}
        for n in options.n
    ]
    _common.print_table(
        ["n", "one side's features, MiB", "ours, MiB beside them", "chunked, MiB beside them"],
        [[str(row["n"]), *(f"{row[name]:.0f}" for name in ("array_mib", *OURS))] for row in rows],
    )
    _common.write(options.out, "metric_memory", vars(options), rows)


def gram(x: jax.Array, y: jax.Array) -> jax.Array:
    """RBF of scale 1 for unit features, from one matrix product.

    `cj.RBF` sums squared differences, which is accurate also for features that are far from 0
    and close together, and much slower: it would make the rival look worse than it has to be.
    """
    return jnp.exp(jnp.matmul(x, y.T, precision="highest") - 1.0)


def products(
    x: jax.Array, y: jax.Array, t: jax.Array, gradients: int, chunk: int
) -> Callable[[], Any]:
    """The products that cannot be avoided: phases of both sides, and one per gradient.

    A chunk at a time, so that storing what no one reads costs nothing.
    """

    def rows(factor: jax.Array, x: jax.Array) -> jax.Array:
        size = min(chunk, len(x))
        tiles = x[: len(x) // size * size].reshape(-1, size, x.shape[1])
        product = functools.partial(jnp.matmul, precision="highest")
        return jax.lax.map(lambda tile: product(tile, factor)[:, :8], tiles)

    @jax.jit
    def all_of_them(x: jax.Array, y: jax.Array, t: jax.Array, wave: jax.Array) -> list[jax.Array]:
        return [rows(t.T, x), rows(t.T, y), rows(t, wave)]

    wave = jax.random.normal(jax.random.key(4), (len(x), t.shape[0]))
    if gradients == 1:
        return lambda: all_of_them(x, y, t, wave)
    return lambda: (all_of_them(x, y, t, wave), jax.jit(rows)(t, wave))


def torch_loss(
    x: jax.Array, y: jax.Array, t: jax.Array, sides: tuple[int, ...]
) -> Callable[[], Any]:
    """The same formula in PyTorch."""
    import torch
    import torch_reference

    torch.set_num_threads(_common.cores())
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    real, synthetic, frequencies = (torch.tensor(np.asarray(a), device=device) for a in (x, y, t))
    leaves = [(real, synthetic)[side].requires_grad_(True) for side in sides]

    def run() -> float:
        loss = torch_reference.sdd_loss(real, synthetic, frequencies)
        torch.autograd.grad(loss, leaves)
        return loss.item()

    return run


def one(options: argparse.Namespace, n: int) -> None:
    """Measures one n in this process and prints JSON."""
    seconds = _common.alternated(functions(options, n), options.repeats)
    row: dict[str, Any] = {"n": n} | {name: _common.spread(s) for name, s in seconds.items()}
    for name in OURS:
        for other in seconds:
            if name in seconds and other == "products":
                row[f"{name} / products"] = _common.ratio(seconds[name], seconds[other])
            elif name in seconds and other in ("mmd", "torch"):
                row[f"{other} / {name}"] = _common.ratio(seconds[other], seconds[name])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
    row |= {"peak_mib": peak / 1024, "inputs_mib": 2 * n * options.dim * 4 / 2**20}
    row |= {"device_mib": _common.device_peak()}
    print(json.dumps(row))


def in_a_process(arguments: list[str], n: int) -> dict[str, Any]:
    """The row of one n."""
    command = [sys.executable, __file__, *arguments, "--one", str(n)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    parser.add_argument("--num", type=int, default=4096, help="frequencies T")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--chunk", type=int, default=512, help="sample_chunk of `chunked`")
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--both", action="store_true", help="gradient to both sides")
    parser.add_argument("--matmul_dtype", default=None)
    parser.add_argument("--quick", action="store_true", help="n up to 4096")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help="compile only, print memory")
    return parser.parse_args()


def main() -> None:
    """Prints the table and the slopes."""
    options = arguments()
    if options.memory:
        return print_memory(options)
    if options.one:
        return one(options, options.one)
    sizes = [n for n in options.n if n <= 4096] if options.quick else options.n
    rows = []
    for n in sizes:
        rows.append(in_a_process(sys.argv[1:], n))
        _common.save(options.out, "metric", vars(options), rows)
    columns = [key for key in rows[0] if key != "n"]
    _common.print_table(
        ["n", *columns],
        [
            [str(row["n"])]
            + [_common.shown(v) if isinstance(v := row.get(c), dict) else _common.mib(v)
               for c in columns]
            for row in rows
        ],
    )  # fmt: skip
    slopes = {}
    for name in options.only if len(rows) > 1 else ():
        points = [(row["n"], row[name]["median"]) for row in rows if name in row]
        slopes[name] = float(np.polyfit(*np.log(np.array(points)).T, 1)[0])
    print("slope of log time in log n:", {name: round(s, 3) for name, s in slopes.items()})
    _common.write(options.out, "metric", vars(options) | {"slopes": slopes}, rows)


if __name__ == "__main__":
    main()
