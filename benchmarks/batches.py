"""What a mini-batch of real rows does to the gradient of SDD: noise, and a bias but at alpha 1/2.

`python benchmarks/batches.py`: the gradient of `sdd_loss` to synthetic unit features with all real
rows of one class (mixtures of eight, as a ReLU gives them) against batches of these, at the same
frequencies, so that nothing but the batch differs. The synthetic rows are of the same mixture,
moved by `--shift` before the ReLU. "Bias": norm of the mean over
`--draws` batches less the whole gradient; "noise": root mean square of a batch's gradient about
that mean; both by the whole gradient's norm. The mean itself is off by noise / sqrt(draws), the
last column.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import _common
import jax
import numpy as np

from csdm_jax import RBF, sample_frequencies, sdd_loss, unit_features


def rows(dim: int, count: int, shift: float, seed: int) -> jax.Array:
    """Unit features of a class, a mixture of eight; moved as the synthetic side of a run is."""
    means, member, noise = jax.random.split(jax.random.key(0), 3)
    member, noise = (jax.random.fold_in(key, seed) for key in (member, noise))
    centres = jax.random.normal(means, (8, dim))
    chosen = centres[jax.random.randint(member, (count,), 0, 8)]
    features = jax.nn.relu(chosen + jax.random.normal(noise, (count, dim)) + shift)
    return unit_features(features)


def measured(options: argparse.Namespace, scale: float, alpha: float) -> Iterator[dict[str, Any]]:
    """A row for each size of batch."""
    real = rows(options.dim, options.real, 0.0, 1)
    synthetic = rows(options.dim, options.synthetic, options.shift, 2)
    key = jax.random.key(1)
    t = sample_frequencies(key, RBF(scale), options.num, options.dim, method="orthogonal")
    gradient = jax.jit(jax.grad(lambda y, x: sdd_loss(x, y, t, alpha=alpha)))
    whole = np.asarray(gradient(synthetic, real), np.float64)
    size = np.linalg.norm(whole)
    for batch in options.batches:
        found = [
            np.asarray(gradient(synthetic, real[_drawn(options.real, batch, draw)]), np.float64)
            for draw in range(options.draws)
        ]
        mean = np.mean(found, axis=0)
        noise = np.sqrt(np.mean([np.sum((one - mean) ** 2) for one in found])) / size
        yield {
            "scale": scale,
            "alpha": alpha,
            "batch": batch,
            "bias": float(np.linalg.norm(mean - whole) / size),
            "noise": float(noise),
            "uncertainty": float(noise / np.sqrt(options.draws)),
        }


def _drawn(count: int, batch: int, draw: int) -> np.ndarray:
    return np.random.default_rng(draw).permutation(count)[:batch]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--real", type=int, default=4096, help="rows of the class")
    parser.add_argument("--synthetic", type=int, default=40, help="rows of the synthetic side")
    parser.add_argument("--shift", type=float, default=0.2, help="of the synthetic side")
    parser.add_argument("--num", type=int, default=1024, help="frequencies")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.3, 0.5, 0.7])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--draws", type=int, default=400)
    return parser.parse_args()


def main() -> None:
    """Prints the table."""
    options, found = arguments(), []

    def lines() -> Iterator[list[str]]:
        for scale in options.scales:
            for alpha in options.alphas:
                for row in measured(options, scale, alpha):
                    found.append(row)
                    _common.save(options.out, "batches", vars(options), found)
                    shares = [f"{row[name]:.3f}" for name in ("bias", "noise", "uncertainty")]
                    yield [f"{scale:g}", f"{alpha:g}", str(row["batch"]), *shares]

    header = ["scale", "alpha", "real rows of a batch", "bias", "noise", "of the bias"]
    _common.print_table(header, lines())
    _common.write(options.out, "batches", vars(options), found)


if __name__ == "__main__":
    main()
