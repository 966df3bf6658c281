"""The ConvNet's convolutions in three forms: XLA's, ours (`same_conv`), matrix products (im2col).

`python benchmarks/convolution.py`: milliseconds for 128 images, float32; forward, gradient to the
kernel, gradient to the input, and that gradient inside a loop over four tiles, as in a step.
"""

from __future__ import annotations

from collections.abc import Callable

import _common
import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.networks.layers import same_conv

IMAGES, TILES = 128, 4


def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's convolution with XLA's gradients."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def im2col(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Every neighbourhood as a row of one matrix product."""
    size = kernel.shape[0]
    padded = jnp.pad(x, ((0, 0), *[(size // 2, size // 2)] * 2, (0, 0)))
    height, width = x.shape[1:3]
    shifts = [(i, j) for i in range(size) for j in range(size)]
    rows = [padded[:, i : i + height, j : j + width] for i, j in shifts]
    return jnp.concatenate(rows, -1) @ kernel.reshape(-1, kernel.shape[-1])


FORMS = {"XLA": xla, "same_conv": same_conv, "im2col": im2col}


def tasks(form: Callable) -> dict[str, Callable]:
    """Compiled functions of (x, kernel, gradient of the output)."""

    def to_kernel(x, kernel, g):
        return jax.vjp(lambda k: form(x, k), kernel)[1](g)[0]

    def to_input(x, kernel, g):
        return jax.vjp(lambda y: form(y, kernel), x)[1](g)[0]

    def in_loop(x, kernel, g):
        tiles = [array.reshape(TILES, -1, *array.shape[1:]) for array in (x, g)]
        return jax.lax.map(lambda pair: to_input(pair[0], kernel, pair[1]), tuple(tiles))

    named = {
        "forward": lambda x, kernel, g: form(x, kernel),
        "to kernel": to_kernel,
        "to input": to_input,
        "to input, in a loop": in_loop,
    }
    return {name: jax.jit(function) for name, function in named.items()}


def layer(size: int, channels: int, width: int, repeats: int) -> list[dict]:
    """A row for each task of one layer; all forms agree, or an AssertionError."""
    keys = jax.random.split(jax.random.key(0), 3)
    arguments = (
        jax.random.normal(keys[0], (IMAGES, size, size, channels)),
        jax.random.normal(keys[1], (3, 3, channels, width)) / (9 * channels) ** 0.5,
        jax.random.normal(keys[2], (IMAGES, size, size, width)),
    )
    by_form = {name: tasks(form) for name, form in FORMS.items()}
    rows = []
    for task in by_form["XLA"]:
        values = [np.asarray(functions[task](*arguments)) for functions in by_form.values()]
        for value in values[1:]:
            np.testing.assert_allclose(value, values[0], rtol=1e-3, atol=1e-3)
        seconds = _common.alternated(
            {name: lambda f=functions[task]: f(*arguments) for name, functions in by_form.items()},
            repeats,
        )
        milliseconds = {name: [1e3 * s for s in values] for name, values in seconds.items()}
        spreads = {name: _common.spread(values) for name, values in milliseconds.items()}
        rows.append({"layer": f"{size} x {size}, {channels} -> {width}", "task": task} | spreads)
    return rows


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[32, 128])
    options = parser.parse_args()
    rows = []
    for width in options.width:
        for size, channels in ((32, 3), (16, width), (8, width)):
            rows += layer(size, channels, width, options.repeats)
    _common.print_table(
        ["layer", "task", *(f"{name}, ms" for name in FORMS)],
        [[r["layer"], r["task"], *(_common.shown(r[name]) for name in FORMS)] for r in rows],
    )
    _common.write(options.out, "convolution", vars(options), rows)


if __name__ == "__main__":
    main()
