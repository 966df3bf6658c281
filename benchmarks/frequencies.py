"""How well frequencies are spread: error of SDD and of its gradient, relative to iid draws.

`python benchmarks/frequencies.py` prints a Markdown table: root mean square error over the seeds,
of the value against the exact MMD^2 and of the gradient against the exact gradient, divided by
the same for "iid" at equal T. Below 1 is better than iid.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from csdm_jax import RBF, mmd2, sample_frequencies, sdd, unit_features

KERNEL, SEEDS, NUM, SAMPLES = RBF(1.0), 20, 1024, 40


def errors(method: str, dim: int) -> tuple[float, float]:
    """Root mean square errors of value and gradient over `SEEDS` draws of frequencies."""
    real_key, synthetic_key, key = jax.random.split(jax.random.key(dim), 3)
    real = unit_features(jax.random.normal(real_key, (SAMPLES, dim)))
    synthetic = unit_features(jax.random.normal(synthetic_key, (SAMPLES, dim)) + 0.5)
    exact, exact_gradient = jax.value_and_grad(lambda y: mmd2(real, y, KERNEL))(synthetic)

    @jax.jit
    def deviation(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        frequencies = sample_frequencies(key, KERNEL, NUM, dim, method=method)
        value, gradient = jax.value_and_grad(lambda y: sdd(real, y, frequencies))(synthetic)
        return (value - exact) ** 2, jnp.sum((gradient - exact_gradient) ** 2)

    squares = [deviation(k) for k in jax.random.split(key, SEEDS)]
    value, gradient = (
        float(jnp.sqrt(jnp.mean(jnp.array(column)))) for column in zip(*squares, strict=True)
    )
    return value, gradient


def main() -> None:
    """Prints the table."""
    print(f"RBF of scale 1, T = {NUM}, {SAMPLES} + {SAMPLES} unit features, {SEEDS} seeds\n")
    print("| d | qmc, value | qmc, gradient | orthogonal, value | orthogonal, gradient |")
    print("|---|---|---|---|---|")
    for dim in (2, 16, 64, 512, 2048):
        iid = errors("iid", dim)
        cells = [
            f"{mine / theirs:.2f}"
            for method in ("qmc", "orthogonal")
            for mine, theirs in zip(errors(method, dim), iid, strict=True)
        ]
        print(f"| {dim} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
