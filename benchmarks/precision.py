"""What bfloat16 does to the value and the gradient of `sdd_loss`, and to a distillation step's.

    python benchmarks/precision.py

Factors of the metric's products: relative errors against float64 with the same frequencies, for two
samples of one distribution (the value is then small: what is left of sampling) and of two whose
means differ. A step: relative errors of its loss and of its gradient to the pixels against
float32, over a few steps' draws, with a network of width 32 that is trained a little; on the
digits, or with `--config cifar10_lt:imb=100,ipc=10,cpu --data_dir DATA_DIR` on CIFAR-10-LT.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import _common
import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import RBF, sample_frequencies, sdd_loss, unit_features
from csdm_jax.distillation.loop import Loop
from csdm_jax.distillation.methods.matching.matching import Reading
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.training import extractors

ROWS, DIM, NUM = 1024, 2048, 4096
SHIFTS, SCALES = (0.0, 0.2), (1.0, 3.0, 10.0)
IN_BFLOAT16 = {
    "networks": ("distill.dtype",),
    "factors": ("sdd.matmul_dtype",),
    "both": ("distill.dtype", "sdd.matmul_dtype"),
}
DRAWS = 5


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
                "gradient": distance(gradient, exact_gradient),
            }
        )
    return found


def distance(found: np.ndarray, exact: np.ndarray) -> float:
    """Relative, of all components together."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def configuration(options: argparse.Namespace) -> Any:
    """The configuration whose step is taken: one extractor, trained briefly, and a small batch."""
    config = _common.load_config(*options.config.partition(":")[::2])
    config.network.width, config.distill.batch = 32, options.batch
    config.extractors.count, config.extractors.epochs = 1, options.epochs
    config.data.data_dir = options.data_dir
    return config


def first_steps(config: Any, pool: extractors.Pool) -> list[tuple[float, np.ndarray]]:
    """Loss and pixel gradient of some steps' draws, all at the images that a run begins with."""
    made = Experiment(config, Path("unused"))
    made.supplies.pool = pool
    return first_gradients(made.loop(config.method))


def first_gradients(loop: Loop) -> list[tuple[float, np.ndarray]]:
    """The same of a matching method's loop."""
    phase = loop.method.phases[0]
    state, constants, _ = loop.begin(jax.random.key(0))

    @jax.jit
    def gradient(stored, index):
        key = jax.random.fold_in(jax.random.wrap_key_data(constants.key_data), index)
        batch = phase.draw(key)
        batch = batch.with_values(constants.images[batch.values])
        reading = Reading(constants.supplied, state.memory, batch, key)
        return jax.value_and_grad(loop.method.loss, has_aux=True)(stored, reading)

    steps = (gradient(state.stored, jnp.int32(k)) for k in range(DRAWS))
    return [(float(loss), np.asarray(g["images"], np.float64)) for (loss, _), g in steps]


def step_errors(options: argparse.Namespace) -> list[dict]:
    """Of a step with bfloat16 in the networks, in the metric's factors, and in both."""
    with tempfile.TemporaryDirectory() as folder:
        pool = Experiment(configuration(options), Path(folder)).supplies.pool
    exact, found = first_steps(configuration(options), pool), []
    for name, fields in IN_BFLOAT16.items():
        config = configuration(options)
        config.update_from_flattened_dict(dict.fromkeys(fields, "bfloat16"))
        pairs = list(zip(first_steps(config, pool), exact, strict=True))
        values = [abs(one[0] / other[0] - 1) for one, other in pairs]
        gradients = [distance(one[1], other[1]) for one, other in pairs]
        spreads = {"value": _common.spread(values), "gradient": _common.spread(gradients)}
        found.append({"step_of": options.config, "bfloat16": name} | spreads)
    return found


def main() -> None:
    """Prints the tables."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--config", default="digits_lt", help="whose step; with its argument")
    parser.add_argument("--data_dir", default="", help="its data set")
    parser.add_argument("--batch", type=int, default=64, help="real images a class")
    parser.add_argument("--epochs", type=int, default=10, help="of the extractor's training")
    options = parser.parse_args()
    rows = [row for scale in SCALES for shift in SHIFTS for row in errors(scale, shift)]
    _common.print_table(
        ["scale", "shift of the mean", "factors", "value", "error of value", "of gradient"],
        [
            [f"{row['scale']:g}", f"{row['shift']:g}", row["factors"], f"{row['exact']:.3g}"]
            + [f"{row[name]:.1e}" for name in ("value", "gradient")]
            for row in rows
        ],
    )
    steps = step_errors(options)
    print()
    _common.print_table(
        ["bfloat16 in", "error of the step's loss", "of its pixel gradient"],
        [
            [row["bfloat16"], *(_common.shown(row[name], 2) for name in ("value", "gradient"))]
            for row in steps
        ],
    )
    _common.write(options.out, "precision", vars(options), rows + steps)


if __name__ == "__main__":
    main()
