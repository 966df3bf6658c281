"""Distances between the real and synthetic features of all classes, the real side taken once."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import (
    RBF,
    Energy,
    Kernel,
    Linear,
    Mixture,
    Polynomial,
    Sketch,
    cfd_loss,
    class_alphas,
    median_heuristic,
    sample_frequencies,
    sdd_parts,
    sketch,
)
from csdm_jax.metric.ragged import Ragged

SCALES = ("0.3", "1", "3", "10", "30", "median / 2", "median", "2 median")
DIRECTIONS = 128
SCHEDULES = {"0.7 to 0.3": (0.7, 0.3), "0.3 to 0.7": (0.3, 0.7), "0.1": (0.1, 0.1)}
"""alpha of the largest and the smallest class."""

Name = tuple[str, str]
"""A metric and its scale, "" if it has none."""


METRICS = ("linear", "polynomial", "energy", "M3D", "sliced Wasserstein", "RBF", "SDD", "CFD")


def place(name: Name) -> tuple[int, str, int]:
    """Where a distance stands in a table: variants behind their metric, scales by size."""
    metric, scale = name
    first = metric.split(",")[0]
    number = METRICS.index(first) if first in METRICS else len(METRICS)
    return number, metric, ("", *SCALES).index(scale)


def scales(median: jax.Array) -> dict[str, jax.Array]:
    """Frequency scales by name; some are multiples of the median heuristic's."""
    multiples = {"median / 2": 0.5, "median": 1.0, "2 median": 2.0}
    return {
        name: multiples[name] * median if name in multiples else jnp.float32(name)
        for name in SCALES
    }


def kernels(median: jax.Array, spread: jax.Array) -> dict[Name, Kernel]:
    """Kernels whose MMD is taken exactly.

    Args:
        median: the median heuristic's scale.
        spread: mean squared distance of the class's real rows, of which M3D takes fractions and
            multiples for the widths of five Gaussians. Its own is that of real and synthetic rows
            together, of which here 2 % at most are synthetic where the class is not small.
    """
    widths = [spread * 2.0**k for k in range(-2, 3)]
    return {
        ("linear", ""): Linear(),
        ("polynomial", ""): Polynomial(degree=2, gamma=1.0, coef0=1.0),
        ("energy", ""): Energy(),
        ("M3D", ""): Mixture(tuple(RBF(jnp.sqrt(2.0 / width)) for width in widths)),
    } | {("RBF", name): RBF(scale) for name, scale in scales(median).items()}


class Reference(NamedTuple):
    """What is computed once for real features.

    Attributes:
        rows: the features, C classes.
        median: the median heuristic's scale.
        spread: [C], mean squared distance of a class's rows.
        within: mean of each kernel over the pairs of a class, [C].
        frequencies: of RBF(1.0), [T, d], by method.
        sketches: by method and scale.
        directions: [d, P], unit vectors.
        projected: [n_c, P] of each class, in ascending order.
    """

    rows: Ragged
    median: jax.Array
    spread: jax.Array
    within: dict[Name, jax.Array]
    frequencies: dict[str, jax.Array]
    sketches: dict[Name, Sketch]
    directions: jax.Array
    projected: list[jax.Array]


@functools.partial(jax.jit, static_argnames="num")
def refer(key: jax.Array, rows: Ragged, *, num: int) -> Reference:
    """Takes the real side, with `num` frequencies of each method."""
    dim = rows.values.shape[1]
    median = median_heuristic(rows.values)
    classes = [x for x, _ in rows.by_class()]
    spread = jnp.stack(
        [2.0 * (jnp.mean(jnp.sum(x**2, 1)) - jnp.sum(x.mean(0) ** 2)) for x in classes]
    )
    by_class = [
        {name: jnp.mean(kernel.gram(x, x)) for name, kernel in kernels(median, width).items()}
        for x, width in zip(classes, spread, strict=True)
    ]
    frequencies = {
        method: sample_frequencies(jax.random.fold_in(key, k), RBF(1.0), num, dim, method=method)
        for k, method in enumerate(("orthogonal", "iid"))
    }
    directions = jax.random.normal(jax.random.fold_in(key, 2), (dim, DIRECTIONS))
    directions = directions / jnp.linalg.norm(directions, axis=0)
    return Reference(
        rows,
        median,
        spread,
        jax.tree.map(lambda *means: jnp.stack(means), *by_class),
        frequencies,
        {
            (method, name): sketch(rows, scale * t)
            for method, t in frequencies.items()
            for name, scale in scales(median).items()
        },
        directions,
        [jnp.sort(x @ directions, axis=0) for x in classes],
    )


def mmd2_by_class(reference: Reference, synthetic: jax.Array) -> dict[Name, jax.Array]:
    """Squared MMD of each kernel, [C], for features [C, m, d]."""
    found = []
    for c, (x, _) in enumerate(reference.rows.by_class()):
        y = synthetic[c]
        found.append(
            {
                name: reference.within[name][c]
                + jnp.mean(kernel.gram(y, y))
                - 2.0 * jnp.mean(kernel.gram(x, y))
                for name, kernel in kernels(reference.median, reference.spread[c]).items()
            }
        )
    return jax.tree.map(lambda *values: jnp.stack(values), *found)


def wasserstein(x: jax.Array, y: jax.Array, power: int) -> jax.Array:
    """Mean over the columns of the p-th power of the Wasserstein distance W_p of their values.

    The integral of `|F_x^-1 - F_y^-1|^p`, exactly: both are steps.

    Args:
        x: [n, P], each column in ascending order.
        y: [m, P], likewise.
        power: p, at least 1.
    """
    n, m = len(x), len(y)
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # in parts of 1 / (n m)
    starts, widths = edges[:-1], np.diff(edges) / (n * m)
    steps = jnp.abs(x[starts // m] - y[starts // n]) ** power
    return jnp.mean(jnp.asarray(widths.astype(x.dtype)) @ steps)


def _spectral(
    reference: Reference, synthetic: jax.Array, exact: dict[Name, jax.Array],
    alphas: dict[str, jax.Array],
) -> dict[Name, jax.Array]:  # fmt: skip
    """All that comes from frequencies; with a schedule also exact MMD and their amplitude."""
    found: dict[Name, jax.Array] = {}
    for (method, name), real in reference.sketches.items():
        t = scales(reference.median)[name] * reference.frequencies[method]
        own = sketch(synthetic, t)
        loss, parts = sdd_parts(real, own, t)
        if method == "iid":
            found["SDD, iid", name] = loss
            continue
        amplitude, phase = parts["amplitude"], parts["phase"]
        found |= {("SDD", name): loss, ("CFD", name): cfd_loss(real, own, t)}
        found |= {("amplitude", name): jnp.sum(amplitude), ("phase", name): jnp.sum(phase)}
        for schedule, alpha in alphas.items():
            mixed = alpha * amplitude + (1 - alpha) * phase
            found[f"SDD, {schedule}", name] = jnp.sum(mixed)
            mixed = (1 - alpha) * exact["RBF", name] + (2 * alpha - 1) * amplitude
            found[f"RBF, {schedule}", name] = jnp.sum(mixed)
    return found


def _of_one(
    reference: Reference, synthetic: jax.Array, alphas: dict[str, jax.Array]
) -> dict[Name, jax.Array]:
    exact = mmd2_by_class(reference, synthetic)
    found = {name: jnp.sum(values) for name, values in exact.items()}
    # CFD has a root at each frequency; this is one of each class, without frequencies.
    for metric, scale in exact:
        if metric in ("linear", "RBF"):
            root = jnp.sqrt(jnp.maximum(exact[metric, scale], 0.0))
            found[f"{metric}, root", scale] = jnp.sum(root)
    for schedule in ("0.7 to 0.3", "0.3 to 0.7"):  # all that a schedule does to a linear kernel
        alpha = alphas[schedule]
        weighted = 2.0 * (1 - alpha) * exact["linear", ""]
        found[f"linear, weights of {schedule}", ""] = jnp.sum(weighted)
    found |= _spectral(reference, synthetic, exact, alphas)
    sliced = [
        wasserstein(x, jnp.sort(y @ reference.directions, axis=0), 2)
        for x, y in zip(reference.projected, synthetic, strict=True)
    ]
    return found | {("sliced Wasserstein", ""): jnp.sum(jnp.stack(sliced))}


@jax.jit
def distances(
    reference: Reference, synthetic: jax.Array, counts: jax.Array
) -> dict[Name, jax.Array]:
    """Every distance of each subset, summed over the classes, [S].

    Args:
        reference: the real side.
        synthetic: unit features [S, C, m, d].
        counts: [C], images of each class in the training set, which say alpha.
    """
    alphas = {
        name: class_alphas(counts, head=head, tail=tail) for name, (head, tail) in SCHEDULES.items()
    }
    return jax.lax.map(lambda one: _of_one(reference, one, alphas), synthetic)
