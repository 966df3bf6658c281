"""Shapes as types, checked in every call that a test makes.

The package needs no library of types for this: what its functions take and give is declared here,
and the test process puts a checked function in each one's place. A call that is refused keeps its
own error; of one that returns, arguments and results must have the shapes declared, and dimensions
of one name one size.
"""

# ruff: noqa: F722 - names of dimensions are no forward annotations
from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from beartype.door import is_bearable
from jaxtyping import Complex, Float, Int, Num, jaxtyped

Array = jax.Array | np.ndarray
Frequencies = Float[Array, "T d"]
Images = Float[Array, "n H W ch"]
SAMPLES = {"x": Num[Array, "n d"], "y": Num[Array, "m d"]}
WEIGHTS = {"x_weights": Num[Array, "n"] | None, "y_weights": Num[Array, "m"] | None}
SIDES = {
    "real": Num[Array, "n d"] | Num[Array, "C n d"],
    "synthetic": Num[Array, "m d"] | Num[Array, "C m d"],
    "frequencies": Frequencies,
}
SCALAR = Float[Array, ""]

DECLARED: dict[str, tuple[dict[str, Any], Any]] = {
    "metric.characteristic.characteristic_function": (
        {"x": Num[Array, "n d"], "frequencies": Frequencies, "weights": Num[Array, "n"] | None},
        Complex[Array, "T"],
    ),
    "metric.distances.sdd": (
        SAMPLES | {"frequencies": Frequencies} | WEIGHTS,
        SCALAR | tuple[SCALAR, Float[Array, "*K"]],
    ),
    "metric.two_sample.sdd_test": (SAMPLES | {"frequencies": Frequencies}, tuple[SCALAR, SCALAR]),
    "metric.bandwidth.median_heuristic": (
        {"x": Num[Array, "n d"], "y": Num[Array, "m d"] | None},
        SCALAR,
    ),
    "metric.distances.sdd_loss": (SIDES, SCALAR),
    "metric.distances.sdd_parts": (SIDES, tuple[SCALAR, dict[str, Float[Array, "*classes"]]]),
    "metric.distances.cfd_loss": (SIDES, SCALAR),
    "metric.mmd.mmd2": (SAMPLES | WEIGHTS, SCALAR),
    "metric.numerics.unit_features": ({"x": Num[Array, "*rows d"]}, Float[Array, "*rows d"]),
    "metric.schedules.class_alphas": ({"counts": Num[Array, "C"]}, Float[Array, "C"]),
    "metric.frequencies.sample_frequencies": ({}, Frequencies),
    "augment.dsa.apply": ({"images": Images}, Images),
    "augment.dsa.augment_each": ({"images": Images}, Images),
    "augment.mixing.cutmix": (
        {"images": Num[Array, "n H W ch"], "labels": Float[Array, "n K"]},
        tuple[Num[Array, "n H W ch"], Float[Array, "n K"]],
    ),
    "networks.layers.conv": ({"x": Float[Array, "n H W c"]}, Float[Array, "n _H _W _k"]),
    "networks.layers.linear": ({"x": Float[Array, "n d"]}, Float[Array, "n K"]),
    "networks.layers.normed": (
        {"x": Float[Array, "n H W c"], "scale": Float[Array, "c"], "bias": Float[Array, "c"]},
        Float[Array, "n H W c"],
    ),
    "networks.layers.instance_norm": ({"x": Float[Array, "n H W c"]}, Float[Array, "n H W c"]),
    "data.device.epoch_batches": ({}, Int[Array, "B batch"]),
    "data.device.present": ({"row": Int[Array, ""]}, Float[Array, "batch"]),
}
"""Function of the package -> what it takes and what it gives."""


def checked(name: str, function: Callable, takes: dict[str, Any], gives: Any) -> Callable:
    """The function, whose calls raise a TypeError when shapes are not as declared.

    Arguments that are no arrays, such as lists of numbers, have no shape to check.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        given = signature.bind(*arguments, **options).arguments
        found = {field: given[field] for field in takes if isinstance(given.get(field), Array)}
        with jaxtyped("context"):
            for field, value in [*found.items(), ("the result", result)]:
                declared = takes.get(field, gives)
                if not is_bearable(value, declared):
                    raise TypeError(f"{name}: {field} is {_shown(value)}, declared {declared}")
        return result

    return call


def _shown(value: Any) -> str:
    leaves = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", value)
    return str(leaves)


def install() -> None:
    """Puts the checked functions in place, wherever the package names the plain ones."""
    for path, (takes, gives) in DECLARED.items():
        module, name = f"csdm_jax.{path}".rsplit(".", 1)
        plain = getattr(importlib.import_module(module), name)
        function = checked(name, plain, takes, gives)
        for room in [m for key, m in sys.modules.items() if key.split(".")[0] == "csdm_jax"]:
            if vars(room).get(name) is plain:
                setattr(room, name, function)
