"""CSDM: the class-aware Spectral Distribution Distance on unit features (the paper's method)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from csdm_jax import metric
from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.matching import Features, Matching
from csdm_jax.runtime.registry import lookup

KERNELS = {
    "rbf": lambda sdd: metric.RBF(sdd.scale),
    "laplace": lambda sdd: metric.Laplace(sdd.scale),
    "isotropic_laplace": lambda sdd: metric.IsotropicLaplace(sdd.scale),
    "matern": lambda sdd: metric.Matern(sdd.scale, sdd.nu),
}


def check_frequencies(sdd: Any) -> None:
    """Raises a ValueError when the kernel's frequencies cannot be drawn by `frequency_method`."""
    kernel = lookup(KERNELS, sdd.kernel, "kernel")(sdd)
    metric.sample_frequencies(jax.random.key(0), kernel, 1, 2, method=sdd.frequency_method)


def create(config: Any, context: Context) -> Matching:
    """Class-aware SDD: alpha runs from `alpha.head` to `alpha.tail` with the class count."""
    return _matching(config, context, head=config.alpha.head, tail=config.alpha.tail)


def create_single(config: Any, context: Context) -> Matching:
    """The ablation with one alpha, `alpha.single`, for all classes."""
    return _matching(config, context, head=config.alpha.single, tail=config.alpha.single)


def _matching(config: Any, context: Context, *, head: float, tail: float) -> Matching:
    sdd = config.sdd
    kernel = lookup(KERNELS, sdd.kernel, "kernel")(sdd)
    alphas = metric.class_alphas(jnp.array(context.data.counts), head=head, tail=tail)
    dim = context.network.feature_dim

    def distance(real: Features, synthetic: Features, key: jax.Array) -> tuple[jax.Array, dict]:
        frequencies = metric.sample_frequencies(
            key, kernel, sdd.num_frequencies, dim, method=sdd.frequency_method
        )
        return metric.sdd_parts(
            real.values,
            synthetic.values,
            context.devices.split_evenly(frequencies),
            alpha=alphas[real.classes],
            real_weights=real.weights,
            real_sizes=real.sizes,
            synthetic_sizes=synthetic.sizes,
            matmul_dtype=None if sdd.matmul_dtype == "float32" else sdd.matmul_dtype,
        )

    return Matching(config, context, distance)
