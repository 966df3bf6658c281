"""What bfloat16 factors in the metric's products do to the value and the gradient of `sdd_loss`.

    python benchmarks/precision.py

Relative errors against float64 with the same frequencies, for two samples of one distribution (the
value is then small: what is left of sampling) and of two whose means differ.
"""

from __future__ import annotations

import _common
import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import RBF, sample_frequencies, sdd_loss, unit_features

ROWS, DIM, NUM = 1024, 2048, 4096
SHIFTS, SCALES = (0.0, 0.2), (1.0, 3.0, 10.0)


def errors(scale: float, shift: float) -> list[dict]:
    """Of float32 and of bfloat16 factors."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = unit_features(jax.random.normal(keys[0], (ROWS, DIM)))
    y = unit_features(jax.random.normal(keys[1], (ROWS, DIM)) + shift)
    t = sample_frequencies(keys[2], RBF(scale), NUM, DIM)

    def evaluated(dtype, matmul_dtype=None):
        def loss(y, x, t):
            return sdd_loss(x, y, t, matmul_dtype=matmul_dtype)

        inputs = (array.astype(dtype) for array in (y, x, t))
        value, gradient = jax.jit(jax.value_and_grad(loss))(*inputs)
        return float(value), np.asarray(gradient, np.float64)

    with jax.enable_x64(True):
        exact, exact_gradient = evaluated(jnp.float64)
    found = []
    for matmul_dtype in (None, jnp.bfloat16):
        value, gradient = evaluated(jnp.float32, matmul_dtype)
        found.append(
            {
                "scale": scale,
                "shift": shift,
                "factors": "bfloat16" if matmul_dtype else "float32",
                "exact": exact,
                "value": abs(value / exact - 1),
                "gradient": float(
                    np.linalg.norm(gradient - exact_gradient) / np.linalg.norm(exact_gradient)
                ),
            }
        )
    return found


def main() -> None:
    """Prints the table."""
    options = _common.parser(__doc__.splitlines()[0]).parse_args()
    rows = [row for scale in SCALES for shift in SHIFTS for row in errors(scale, shift)]
    _common.print_table(
        ["scale", "shift of the mean", "factors", "value", "error of value", "of gradient"],
        [
            [f"{row['scale']:g}", f"{row['shift']:g}", row["factors"], f"{row['exact']:.3g}"]
            + [f"{row[name]:.1e}" for name in ("value", "gradient")]
            for row in rows
        ],
    )
    _common.write(options.out, "precision", vars(options), rows)


if __name__ == "__main__":
    main()
