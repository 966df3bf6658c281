"""What the metrics in the frequency domain share: kernel, frequencies and their fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from csdm_jax import metric
from csdm_jax.distillation.methods.base import Context
from csdm_jax.metric.frequencies import METHODS as FREQUENCY_METHODS
from csdm_jax.metric.kernels import SpectralKernel
from csdm_jax.runtime.fields import Field, choice, integer, number
from csdm_jax.runtime.registry import lookup

KERNELS: dict[str, Callable[[Any], SpectralKernel]] = {
    "rbf": lambda sdd: metric.RBF(sdd.scale),
    "laplace": lambda sdd: metric.Laplace(sdd.scale),
    "isotropic_laplace": lambda sdd: metric.IsotropicLaplace(sdd.scale),
    "matern": lambda sdd: metric.Matern(sdd.scale, sdd.nu),
}
DRAWN = {
    "sdd.num_frequencies": Field(4096, integer(1, 1_000_000)),
    "sdd.frequency_method": Field("iid", choice(FREQUENCY_METHODS)),
}
FIELDS = {
    "sdd.kernel": Field("rbf", choice(KERNELS)),
    "sdd.scale": Field(1.0, number(0.0, 1e6, open_ends=True)),
    "sdd.nu": Field(1.5, number(0.0, 1e3, open_ends=True)),
    # What features and frequencies are rounded to before they are multiplied; sums are float32.
    "sdd.matmul_dtype": Field("float32", choice(("float32", "bfloat16"))),
    **DRAWN,
}


def kernel_of(config: Any) -> SpectralKernel:
    """The kernel that the section `sdd` describes."""
    return lookup(KERNELS, config.sdd.kernel, "kernel")(config.sdd)


def check(config: Any) -> None:
    """Raises a ValueError when the kernel's frequencies cannot be drawn by `frequency_method`."""
    method = config.sdd.frequency_method
    metric.sample_frequencies(jax.random.key(0), kernel_of(config), 1, 2, method=method)


def frequencies(config: Any, context: Context, kernel: metric.Kernel, key: jax.Array) -> jax.Array:
    """`[T, d]`, drawn for one step, split over the devices."""
    sdd, dim = config.sdd, context.network.feature_dim
    drawn = metric.sample_frequencies(
        key, kernel, sdd.num_frequencies, dim, method=sdd.frequency_method
    )
    return context.devices.split_evenly(drawn)
