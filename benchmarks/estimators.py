"""SDD from frequencies against SDD from Gram matrices with the amplitude from frequencies.

`python benchmarks/estimators.py` prints two Markdown tables. Errors: relative root mean square over
the draws, of the gradient of `sdd_loss` to the synthetic features, against the same with exact SDD
and an amplitude from many frequencies. 256 real and 10 synthetic unit features, mixtures as a ReLU
gives them; "far": the synthetic ones are real ones with noise, as at the start of a run; "near":
the same after `--steps` of Adam on the loss itself. The frequency scale is the median heuristic's
times `--factor`. Seconds: value and gradient to the synthetic side at the shapes of a step, drawing
the frequencies not included, in turn; ratios are of the same round. "3 scales": three factors of
the same T frequencies by one product; "3 T": as frequencies of their own.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
from typing import Any

import _common
import jax
import jax.numpy as jnp
import numpy as np
import optax

from csdm_jax import RBF, median_heuristic, sample_frequencies, sdd_loss, unit_features

REAL, SYNTHETIC = 256, 10
FORMS = ("spectral", "exact")
SHAPES = {  # real images of a class at most, imbalance factor, synthetic images of a class, d, T
    "paper, IF 1": (1024, 1, 40, 2048, 4096),
    "paper, IF 100": (1024, 100, 40, 2048, 4096),
    "paper, IF 200": (1024, 200, 40, 2048, 4096),
    "cpu preset, IF 100": (64, 100, 40, 512, 1024),
}


def loss_of(form: str, kernel: RBF, **options: Any) -> Callable[..., jax.Array]:
    """`sdd_loss` of real and synthetic features and frequencies."""
    return functools.partial(sdd_loss, estimator=form, kernel=kernel, **options)


def start(dim: int) -> tuple[jax.Array, jax.Array]:
    """Real features and synthetic ones far from them."""
    keys = jax.random.split(jax.random.key(dim), 4)
    means = jax.random.normal(keys[0], (8, dim))
    member = jax.random.randint(keys[1], (REAL,), 0, len(means))
    rows = means[member] + jax.random.normal(keys[2], (REAL, dim))
    real = unit_features(jax.nn.relu(rows))
    noise = 0.3 / jnp.sqrt(dim) * jax.random.normal(keys[3], (SYNTHETIC, dim))
    return real, unit_features(real[:SYNTHETIC] + noise)


def near(real: jax.Array, far: jax.Array, kernel: RBF, alpha: float, steps: int) -> jax.Array:
    """The synthetic features after steps on the exact form, with frequencies of each step."""
    optimiser = optax.adam(0.01)

    @jax.jit
    def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
        rows, state = carry
        t = sample_frequencies(key, kernel, 1024, real.shape[1], method="orthogonal")
        gradient = jax.grad(loss_of("exact", kernel, alpha=alpha), 1)(real, rows, t)
        updates, state = optimiser.update(gradient, state)
        return (unit_features(optax.apply_updates(rows, updates)), state), None

    keys = jax.random.split(jax.random.key(1), steps)
    return jax.lax.scan(step, (far, optimiser.init(far)), keys)[0][0]


def reference(real: jax.Array, rows: jax.Array, kernel: RBF, alpha: float, num: int) -> jax.Array:
    """The gradient with exact SDD and an amplitude of many orthogonal frequencies."""
    gradient = jax.jit(jax.grad(loss_of("exact", kernel, alpha=alpha), 1))
    total, part = jnp.zeros_like(rows), 8192
    for key in jax.random.split(jax.random.key(2), max(1, num // part)):
        t = sample_frequencies(key, kernel, part, real.shape[1], method="orthogonal")
        total = total + gradient(real, rows, t)
    return total / max(1, num // part)


def errors(
    real: jax.Array, rows: jax.Array, kernel: RBF, alpha: float, num: int, truth: jax.Array,
    options: argparse.Namespace,
) -> dict[str, float]:  # fmt: skip
    """Relative error of the gradient, by form and method of frequencies."""
    found = {}
    for method in options.methods:
        for form in FORMS:
            gradient = jax.grad(loss_of(form, kernel, alpha=alpha), 1)

            @jax.jit
            def square(
                key: jax.Array,
                gradient: Callable[..., jax.Array] = gradient,
                method: str = method,
            ) -> jax.Array:
                t = sample_frequencies(key, kernel, num, real.shape[1], method=method)
                return jnp.sum(jnp.square(gradient(real, rows, t) - truth))

            keys = jax.random.split(jax.random.key(3), options.draws)
            mean = np.mean([float(square(key)) for key in keys])
            found[f"{form}, {method}"] = float(np.sqrt(mean) / jnp.linalg.norm(truth))
    return found


def error_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each dimension, scale, alpha, place and number of frequencies."""
    for dim in options.dims:
        real, far = start(dim)
        for factor in options.factors:
            kernel = RBF(factor * float(median_heuristic(real)))
            for alpha in options.alphas:
                places = {"far": far, "near": near(real, far, kernel, alpha, options.steps)}
                for place, rows in places.items():
                    truth = reference(real, rows, kernel, alpha, options.reference)
                    for num in options.nums:
                        row = {"dim": dim, "factor": factor, "alpha": alpha, "place": place}
                        yield row | {"num": num} | errors(
                            real, rows, kernel, alpha, num, truth, options
                        )  # fmt: skip


def sizes(most: int, imbalance: float) -> tuple[int, ...]:
    """Images of each class in a step of CIFAR-10-LT."""
    return tuple(min(most, int(5000 * imbalance ** (-c / 9))) for c in range(10))


def timed(shape: tuple[int, float, int, int, int]) -> dict[str, Callable[[], Any]]:
    """What is timed at one shape."""
    most, imbalance, count, dim, num = shape
    real_sizes, kernel = sizes(most, imbalance), RBF(1.0)
    keys = jax.random.split(jax.random.key(0), 3)
    real, synthetic = (
        unit_features(jax.nn.relu(jax.random.normal(key, (rows, dim))))
        for key, rows in ((keys[0], sum(real_sizes)), (keys[1], 10 * count))
    )
    frequencies = sample_frequencies(keys[2], kernel, num, dim)
    classes = {"real_sizes": real_sizes, "synthetic_sizes": (count,) * 10}
    alphas = jnp.linspace(0.7, 0.3, 10)
    quarter = frequencies[: num // 4]
    scales = (0.5, 1.0, 2.0)
    variants: dict[str, tuple[str, dict[str, Any], jax.Array | None]] = {
        "spectral": ("spectral", {"alpha": alphas}, frequencies),
        "exact, alpha 1/2": ("exact", {"alpha": 0.5}, None),
        "exact, T": ("exact", {"alpha": alphas}, frequencies),
        "exact, T / 4": ("exact", {"alpha": alphas}, quarter),
        "3 scales": ("spectral", {"alpha": alphas, "scales": scales}, frequencies),
        "3 T": ("spectral", {"alpha": alphas}, jnp.concatenate([s * frequencies for s in scales])),
    }
    made = {}
    for name, (form, given, t) in variants.items():
        gradient = jax.jit(jax.value_and_grad(loss_of(form, kernel, **given, **classes), 1))
        made[name] = functools.partial(gradient, real, synthetic, t)
    return made


def time_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds, and ratios to the spectral form of the same round; a row for each shape."""
    for name in options.shapes:
        seconds = _common.alternated(timed(SHAPES[name]), options.repeats)
        yield {
            "shape": name,
            "seconds": {form: _common.spread(s) for form, s in seconds.items()},
            "to_spectral": {f: _common.ratio(s, seconds["spectral"]) for f, s in seconds.items()},
        }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="*", default=[512, 2048])
    parser.add_argument("--factors", type=float, nargs="+", default=[1.0], help="of the scale")
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.3, 0.5, 0.7])
    parser.add_argument("--nums", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--methods", nargs="+", default=["iid", "orthogonal"])
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--steps", type=int, default=200, help="to come near")
    parser.add_argument("--reference", type=int, default=262144, help="frequencies of the truth")
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    return parser.parse_args()


def main() -> None:
    """Prints both tables; without --dims or --shapes one of them."""
    options = arguments()
    rows: list[dict[str, Any]] = []
    kept = functools.partial(_common.kept, options.out, "estimators", vars(options), rows)

    if options.dims:
        names = [f"{form}, {method}" for method in options.methods for form in FORMS]
        _common.print_table(
            ["d", "scale", "alpha", "place", "T", *names],
            (
                [str(row[key]) for key in ("dim", "factor", "alpha", "place", "num")]
                + [f"{row[name]:.2g}" for name in names]
                for row in kept(error_rows(options))
            ),
        )
        print()
    if options.shapes:
        forms = ("spectral", "exact, alpha 1/2", "exact, T", "exact, T / 4", "3 scales", "3 T")
        _common.print_table(
            ["shape", "spectral, s", *(f"{form} / spectral" for form in forms[1:])],
            (
                [row["shape"], _common.shown(row["seconds"]["spectral"])]
                + [_common.shown(row["to_spectral"][form]) for form in forms[1:]]
                for row in kept(time_rows(options))
            ),
        )
    _common.write(options.out, "estimators", vars(options), rows)


if __name__ == "__main__":
    main()
