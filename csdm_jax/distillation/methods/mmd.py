"""Exact MMD per class, with any kernel of the paper's Table 1: what CSDM is compared with (E.3).

The kernels of the inner product are not universal; on unit features the cosine kernel is the
linear one, which is the method `dm`. Gram matrices cost `batch` squared for each class.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax import metric
from csdm_jax.distillation.methods import csdm
from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import Features, Matching
from csdm_jax.runtime.registry import lookup


def _shift_invariant(name: str, config: Any) -> metric.Kernel:
    return csdm.KERNELS[name](config.sdd)


KERNELS: dict[str, Callable[[Any], metric.Kernel]] = {
    "polynomial": lambda config: metric.Polynomial(
        config.mmd.degree, config.mmd.gamma, config.mmd.coef0
    ),
    "sigmoid": lambda config: metric.Sigmoid(config.mmd.gamma, config.mmd.coef0),
    **{name: functools.partial(_shift_invariant, name) for name in csdm.KERNELS},
}


def check_kernel(config: Any) -> None:
    """Raises a ValueError when the kernel has no Gram matrix."""
    row = jnp.zeros((1, 2))
    lookup(KERNELS, config.mmd.kernel, "kernel of MMD")(config)(row, row)


def create(config: Any, context: Context) -> Matching:
    """Sum over classes of the squared MMD of the kernel `mmd.kernel`."""
    kernel = lookup(KERNELS, config.mmd.kernel, "kernel of MMD")(config)

    def distance(real: Features, synthetic: Features, key: jax.Array) -> tuple[jax.Array, dict]:
        del key
        per_class = jnp.stack(
            [
                metric.mmd2(values, images, kernel, x_weights=weights)
                for (values, weights), (images, _) in zip(
                    _by_class(real), _by_class(synthetic), strict=True
                )
            ]
        )
        return jnp.sum(per_class), {"distance": per_class}

    return Matching(config, context, distance)


def _by_class(features: Features) -> list[tuple[jax.Array, jax.Array | None]]:
    """Values and weights of each class; sizes are static, so slices are free."""
    ends = itertools.accumulate(features.sizes)
    spans = [slice(end - size, end) for end, size in zip(ends, features.sizes, strict=True)]
    weights = features.weights
    return [(features.values[s], None if weights is None else weights[s]) for s in spans]
