"""Achieved floating-point rate of a step against the device's own matrix product.

`python benchmarks/rate.py`; on a CPU: `python benchmarks/rate.py --width 32 --batch 64`.
"""

from __future__ import annotations

import argparse

import _common
import jax
import jax.numpy as jnp
import step

from csdm_jax.data.longtail import class_counts


def convnet_flops(width: int) -> float:
    """Of one 32x32 image through the three convolutions, forward."""
    layers = ((32, 3), (16, width), (8, width))
    return sum(2.0 * side**2 * 9 * channels * width for side, channels in layers)


def step_flops(options: argparse.Namespace, width: int, counts: tuple[int, ...]) -> float:
    """What a step cannot avoid: real forward; two synthetic forward and back; the metric."""
    real = sum(min(count, options.batch) for count in counts)
    synthetic = step.CLASSES * step.IPC * 4
    product = 2.0 * options.frequencies * width * 16
    return convnet_flops(width) * (real + 4 * synthetic) + product * (real + 2 * synthetic)


def matmul_rate(dtype: jnp.dtype, side: int, repeats: int) -> float:
    """FLOP/s of a square matrix product, the best of some runs."""
    x = jnp.ones((side, side), dtype)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    seconds = _common.alternated({"product": lambda: product(x)}, repeats)["product"]
    return 2.0 * side**3 / min(seconds)


def main() -> None:
    """Prints the table."""
    on_cpu = jax.default_backend() == "cpu"
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--imbalance", type=float, default=100.0)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=1 if on_cpu else 10)
    options = argparse.Namespace(**vars(step.arguments([])) | vars(parser.parse_args()))
    counts = class_counts(step.HEAD, options.imbalance, step.CLASSES)
    flops, rows = step_flops(options, options.width, counts), []
    for bfloat16 in (False, True):
        options.bfloat16 = bfloat16
        run = step.ours(counts, options, options.width)
        seconds = min(_common.alternated({"ours": run}, options.repeats)["ours"]) / options.steps
        dtype = jnp.dtype(jnp.bfloat16 if bfloat16 else jnp.float32)
        peak = matmul_rate(dtype, 2048 if on_cpu else 8192, options.repeats)
        row = {"dtype": dtype.name, "seconds": seconds, "rate": flops / seconds, "matmul": peak}
        rows.append(row | {"share": row["rate"] / peak})
    _common.print_table(
        ["networks in", "s/step", "GFLOP/s", "matmul GFLOP/s", "share"],
        [
            [r["dtype"], f"{r['seconds']:.3g}", f"{r['rate'] / 1e9:.0f}",
             f"{r['matmul'] / 1e9:.0f}", f"{r['share']:.2f}"]
            for r in rows
        ],
    )  # fmt: skip
    _common.write(options.out, "rate", vars(options), rows)


if __name__ == "__main__":
    main()
