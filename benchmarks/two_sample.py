"""`sdd_test`: power at equal level against other tests, and seconds from a thousand rows on.

`python benchmarks/two_sample.py` prints two Markdown tables. Power: the share of p <= 0.05 over
`--trials` pairs of samples of `--n` rows in `--dim` dimensions; "none" is the level. All tests take
199 permutations; the frequency scale is the median heuristic's. "MMD" is the exact unbiased MMD of
the same kernel, permuted in NumPy; "hyppo" that library's, where it is installed; "energy" the
energy distance, permuted likewise. Seconds: the whole test, 199 permutations, T = 256,
compiled before.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import _common
import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import RBF, Energy, median_heuristic, sample_frequencies, sdd_test

PERMUTATIONS, LEVEL = 199, 0.05
ALTERNATIVES = ("none", "shift", "spread", "tails")


def pair(name: str, seed: int, n: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Two samples that differ by a shift, a factor, heavier tails, or not."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, n, dim))
    if name == "shift":
        y = y + 0.5 / np.sqrt(dim) * np.sqrt(100 / n)
    elif name == "spread":
        y = y * (1 + 0.3 * np.sqrt(100 / n) / np.sqrt(dim))
    elif name == "tails":
        y = rng.standard_t(3, size=(n, dim)) / np.sqrt(3)
    return x.astype(np.float32), y.astype(np.float32)


def ours(seed: int, x: np.ndarray, y: np.ndarray) -> float:
    """p of `sdd_test` with 512 frequencies."""
    return float(_ours(jax.random.key(seed), x, y))


@jax.jit
def _ours(key: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    kernel = RBF(median_heuristic(x, y, max_rows=4096))
    t = sample_frequencies(jax.random.fold_in(key, 1), kernel, 512, x.shape[1])
    return sdd_test(key, x, y, t, permutations=PERMUTATIONS)[1]


def by_gram(kernel: Callable[[Any], Any], seed: int, x: np.ndarray, y: np.ndarray) -> float:
    """p of the exact MMD of a kernel made from all rows, permuted in NumPy."""
    rows = jnp.concatenate([x, y])
    gram = np.array(kernel(rows)(rows, rows), np.float64)
    np.fill_diagonal(gram, 0.0)
    rng = np.random.default_rng(seed)
    signs = np.repeat([1.0 / len(x), -1.0 / len(y)], [len(x), len(y)])
    signs = np.stack([signs, *(rng.permutation(signs) for _ in range(PERMUTATIONS))])
    values = np.sum(signs @ gram * signs, axis=1)
    return float(np.mean(values >= values[0] - 1e-12))


def hyppo(seed: int, x: np.ndarray, y: np.ndarray) -> float:
    """p of hyppo's MMD, by permutation."""
    from hyppo.ksample import MMD

    return float(MMD().test(x, y, reps=PERMUTATIONS, auto=False, random_state=seed)[1])


def tests() -> dict[str, Callable[[int, np.ndarray, np.ndarray], float]]:
    """The tests that are installed, by name: seed and two samples to p."""
    found = {
        "ours": ours,
        "MMD": functools.partial(by_gram, lambda rows: RBF(median_heuristic(rows))),
        "energy": functools.partial(by_gram, lambda rows: Energy()),
    }
    return found | ({"hyppo": hyppo} if importlib.util.find_spec("hyppo") else {})


def power_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Share of rejections, a row for each alternative."""
    for name in ALTERNATIVES:
        row: dict[str, Any] = {"alternative": name}
        for test, p_of in tests().items():
            trials = range(options.trials if test != "hyppo" else options.hyppo_trials)
            samples = ((seed, *pair(name, seed, options.n, options.dim)) for seed in trials)
            row[test] = float(np.mean([p_of(*sample) <= LEVEL for sample in samples]))
        yield row


def time_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds of the whole test by rows of each sample."""
    for n in options.sizes:
        keys = jax.random.split(jax.random.key(n), 4)
        x, y = (jax.random.normal(key, (n, options.dim)) for key in keys[:2])
        t = sample_frequencies(keys[2], RBF(0.3), 256, options.dim)
        run = jax.jit(functools.partial(sdd_test, permutations=PERMUTATIONS))
        call = functools.partial(run, keys[3], x, y, t)
        seconds = _common.alternated({"ours": call}, options.repeats)
        yield {"n": n, "seconds": _common.spread(seconds["ours"])}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="rows of each sample, for the power")
    parser.add_argument("--dim", type=int, default=10)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--hyppo_trials", type=int, default=100)
    sizes = [1000, 10_000, 100_000, 1_000_000]
    parser.add_argument("--sizes", type=int, nargs="*", default=sizes)
    return parser.parse_args()


def main() -> None:
    """Prints both tables; without --sizes the first."""
    options = arguments()
    rows: list[dict[str, Any]] = []
    kept = functools.partial(_common.kept, options.out, "two_sample", vars(options), rows)

    names = list(tests())
    _common.print_table(
        ["alternative", *names],
        (
            [row["alternative"], *(f"{row[name]:.2f}" for name in names)]
            for row in kept(power_rows(options))
        ),
    )
    print()
    if options.sizes:
        _common.print_table(
            ["n = m", "seconds"],
            ([str(row["n"]), _common.shown(row["seconds"])] for row in kept(time_rows(options))),
        )
    _common.write(options.out, "two_sample", vars(options), rows)


if __name__ == "__main__":
    main()
