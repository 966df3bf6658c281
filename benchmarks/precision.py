"""What bfloat16 does to the value and the gradient of `sdd_loss`: in its products, in the network.

    python benchmarks/precision.py

Relative errors against float64 with the same frequencies, for two samples of one distribution (the
value is then small: what is left of sampling) and of two whose means differ. Then those of a
network that computes its features in bfloat16 (`distill.dtype`), against the float32 network.
"""

from __future__ import annotations

import _common
import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import RBF, networks, sample_frequencies, sdd_loss, unit_features

ROWS, DIM, NUM = 1024, 2048, 4096
SHIFTS, SCALES = (0.0, 0.2), (1.0, 3.0, 10.0)
WIDTH, REAL, SYNTHETIC = 32, 64, 20


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
                "gradient": _distance(gradient, exact_gradient),
            }
        )
    return found


def _distance(gradient: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(gradient - exact) / np.linalg.norm(exact))


def feature_errors(scale: float) -> list[dict]:
    """Of a network in bfloat16, alone and with bfloat16 factors, and of its pixel gradient."""
    keys = jax.random.split(jax.random.key(0), 4)
    # Colours that differ from image to image; noise alone looks alike to a network.
    real, synthetic = (
        jax.random.normal(k, (n, 1, 1, 3)) + jax.random.normal(k, (n, 32, 32, 3))
        for k, n in zip(keys[:2], (REAL, SYNTHETIC), strict=True)
    )

    def evaluated(dtype, matmul_dtype=None):
        net = networks.create(
            "convnet", num_classes=10, image_shape=(32, 32, 3), width=WIDTH, dtype=dtype
        )
        params = net.init(keys[2])

        def features(images, params):
            return unit_features(net.apply(params, images)[1].astype(jnp.float32))

        t = sample_frequencies(keys[3], RBF(scale), NUM, net.feature_dim)

        def loss(images, real, params, t):  # arguments all: XLA would evaluate constants itself
            x, y = features(real, params), features(images, params)
            return sdd_loss(x, y, t, matmul_dtype=matmul_dtype)

        value, gradient = jax.jit(jax.value_and_grad(loss))(synthetic, real, params, t)
        return float(value), np.asarray(gradient, np.float64)

    exact, exact_gradient = evaluated(jnp.float32)
    found = []
    for what, matmul_dtype in (("features", None), ("features and factors", jnp.bfloat16)):
        value, gradient = evaluated(jnp.bfloat16, matmul_dtype)
        found.append(
            {
                "scale": scale,
                "bfloat16": what,
                "float32": exact,
                "value": abs(value / exact - 1),
                "pixel_gradient": _distance(gradient, exact_gradient),
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
    networks_rows = [row for scale in SCALES for row in feature_errors(scale)]
    print()
    _common.print_table(
        ["scale", "in bfloat16", "value in float32", "error of value", "of pixel gradient"],
        [
            [f"{row['scale']:g}", row["bfloat16"], f"{row['float32']:.3g}"]
            + [f"{row[name]:.1e}" for name in ("value", "pixel_gradient")]
            for row in networks_rows
        ],
    )
    _common.write(options.out, "precision", vars(options), rows + networks_rows)


if __name__ == "__main__":
    main()
