"""How often the plateau rule halves the learning rate on a noisy loss, by window and patience.

`python benchmarks/plateau.py`: a loss that is flat, or falls, with noise of relative size
`--noise` (11 %, measured on mini-batch losses), under the rule that a run uses.
"""

from __future__ import annotations

import _common
import jax
import jax.numpy as jnp
import numpy as np
import optax

RULES = ((500, 1), (10, 50), (10, 100), (20, 100))  # patience in windows, steps in a window
SEEDS = 10


def losses(steps: int) -> dict[str, np.ndarray]:
    """Expected losses over the steps."""
    t = np.arange(steps) / steps
    return {
        "flat": np.ones(steps),
        "falls steadily to a half": 0.5**t,
        "falls to a half, flat after a third": np.maximum(0.5, 1 - 1.5 * t),
    }


def halvings(loss: np.ndarray, patience: int, window: int) -> np.ndarray:
    """Halvings so far after every step."""
    rule = optax.contrib.reduce_on_plateau(factor=0.5, patience=patience, accumulation_size=window)

    def step(state, value):
        _, state = rule.update(jnp.zeros(1), state, value=value)
        return state, state.scale

    start = rule.init(jnp.zeros(1))
    return -np.log2(jax.lax.scan(step, start, jnp.asarray(loss, jnp.float32))[1])


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--noise", type=float, default=0.11)
    options = parser.parse_args()
    rows = []
    for name, expected in losses(options.steps).items():
        for patience, window in RULES:
            noise = np.random.default_rng(0).normal(0, options.noise, (SEEDS, options.steps))
            found = np.mean([halvings(expected * (1 + one), patience, window) for one in noise], 0)
            half, whole = float(found[options.steps // 2 - 1]), float(found[-1])
            row = {"loss": name, "patience": patience, "window": window}
            rows.append(row | {"halvings_half_way": half, "halvings": whole})
    _common.print_table(
        ["loss", "patience (windows)", "window (steps)", "halvings half way", "at the end"],
        [
            [r["loss"], str(r["patience"]), str(r["window"])]
            + [f"{r[name]:.1f}" for name in ("halvings_half_way", "halvings")]
            for r in rows
        ],
    )
    _common.write(options.out, "plateau", vars(options), rows)


if __name__ == "__main__":
    main()
