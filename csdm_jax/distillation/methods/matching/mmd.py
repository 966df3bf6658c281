"""Exact MMD per class, with any kernel of the paper's Table 1: what CSDM is compared with (E.3).

The kernels of the inner product are not universal; on unit features the cosine kernel is the
linear one, which is the method `dm`.

Source: Gretton et al. 2012; Wu et al. 2026, Table 1 and Appendix E.3.
Cost: two forward passes of the synthetic and one of the real batch, O(n^2 d) for the metric.
Deviations: none.
Licence: none public; the paper alone.
Status: tested; no settings of its own published.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax import metric
from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import spectral
from csdm_jax.distillation.methods.matching.matching import Matching, kind
from csdm_jax.metric.ragged import Ragged
from csdm_jax.runtime.fields import Field, choice, integer, number
from csdm_jax.runtime.registry import lookup


def _shift_invariant(name: str, config: Any) -> metric.Kernel:
    return spectral.KERNELS[name](config.sdd)


KERNELS: dict[str, Callable[[Any], metric.Kernel]] = {
    "polynomial": lambda config: metric.Polynomial(
        config.mmd.degree, config.mmd.gamma, config.mmd.coef0
    ),
    "sigmoid": lambda config: metric.Sigmoid(config.mmd.gamma, config.mmd.coef0),
    **{name: functools.partial(_shift_invariant, name) for name in spectral.KERNELS},
}
FIELDS = spectral.FIELDS | {
    # Shift-invariant kernels take their scale from sdd.
    "mmd.kernel": Field("polynomial", choice(KERNELS)),
    "mmd.degree": Field(2, integer(1, 16)),
    "mmd.gamma": Field(1.0, number(0.0, 1e6, open_ends=True)),
    "mmd.coef0": Field(1.0, number(0.0, 1e6)),  # below 0 the polynomial is no kernel
}


def check(config: Any) -> None:
    """Raises a ValueError when the kernel has no Gram matrix."""
    row = jnp.zeros((1, 2))
    if config.mmd.kernel in spectral.KERNELS:
        spectral.check(config)
    _kernel_of(spectral.scaled(config))(row, row)


def settle(config: Any, context: Context, supplied: tuple[Any, ...]) -> dict[str, Any]:
    """The scale where it is open, of a kernel that has one."""
    if config.mmd.kernel not in spectral.KERNELS:
        return {}
    return spectral.settle_scale(config, context, supplied)


def create(config: Any, context: Context) -> Matching:
    """Sum over classes of the squared MMD of the kernel `mmd.kernel`."""
    kernel = _kernel_of(config)

    def distance(
        real: Ragged | metric.Reference, synthetic: Ragged, key: jax.Array
    ) -> tuple[jax.Array, dict]:
        del key
        half, parts = metric.sdd_parts(real, synthetic, None, estimator="exact", kernel=kernel)
        return 2 * half, {"distance": parts["sdd"]}

    def summarise(real: Ragged, key: jax.Array) -> metric.Reference:
        del key
        return metric.reference(real, kernel, dtype=jnp.bfloat16)

    return Matching(config, context, distance, summarise)


KIND = kind(create, FIELDS, check=check, settle=settle)


def _kernel_of(config: Any) -> metric.Kernel:
    return lookup(KERNELS, config.mmd.kernel, "kernel of MMD")(config)
