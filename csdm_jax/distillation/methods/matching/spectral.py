"""What the metrics in the frequency domain share: kernel, frequencies and their fields.

Where a scale is left open, 0, it follows the median heuristic on unit features of real images under
the first trained extractor, the same for all seeds of a run and in its card.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging

from csdm_jax import metric
from csdm_jax.distillation import features
from csdm_jax.distillation.methods.base import Context
from csdm_jax.metric.frequencies import METHODS as FREQUENCY_METHODS
from csdm_jax.metric.kernels import SpectralKernel
from csdm_jax.runtime.fields import Field, choice, integer, number
from csdm_jax.runtime.registry import lookup
from csdm_jax.training import extractors

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
SCALE = Field(1.0, number(0.0, 1e6))  # 0 follows the median heuristic
FIELDS = {
    "sdd.kernel": Field("rbf", choice(KERNELS)),
    "sdd.scale": SCALE,
    "sdd.nu": Field(1.5, number(0.0, 1e3, open_ends=True)),
    # What features and frequencies are rounded to before they are multiplied; sums are float32.
    "sdd.matmul_dtype": Field("float32", choice(("float32", "bfloat16"))),
    **DRAWN,
}


ROWS = 1024  # real images of which the distances are taken
NOISY = 1.0  # relative error of a gradient from which on it is more noise than signal


def kernel_of(config: Any) -> SpectralKernel:
    """The kernel that the section `sdd` describes.

    Raises:
      ValueError: for an unknown kernel, or while its scale is open.
    """
    if not config.sdd.scale:
        raise ValueError("sdd.scale is open: take what Kind.settle says")
    return lookup(KERNELS, config.sdd.kernel, "kernel")(config.sdd)


def check(config: Any) -> None:
    """Raises a ValueError when the kernel cannot do what the configuration asks of it.

    Its frequencies must be drawn by `frequency_method`, and only a kernel of the Euclidean distance
    gets its scale from the median of distances.
    """
    sdd = config.sdd
    if not sdd.scale and sdd.kernel == "laplace":
        raise ValueError(
            "sdd.scale = 0 follows the median of Euclidean distances, which says nothing of the "
            "kernel laplace: give a scale, or take sdd.kernel=isotropic_laplace"
        )
    kernel = kernel_of(scaled(config))
    metric.sample_frequencies(jax.random.key(0), kernel, 1, 2, method=sdd.frequency_method)


def scaled(config: Any) -> Any:
    """The configuration; with a scale of 1 while that is open, for what does not depend on it."""
    if config.sdd.scale:
        return config
    config = config.copy_and_resolve_references()
    config.sdd.scale = 1.0
    return config


def settle_scale(config: Any, context: Context, supplied: tuple[Any, ...]) -> dict[str, float]:
    """The median heuristic for `sdd.scale`, where the configuration leaves it open."""
    return {} if config.sdd.scale else {"sdd.scale": median_scale(context, supplied)}


def median_scale(context: Context, supplied: tuple[Any, ...]) -> float:
    """The frequency scale of the median distance, three digits; of at most `ROWS` real images.

    Args:
      context: data and network.
      supplied: with a pool.
    """
    unit = _unit_features(context, supplied, np.arange(len(context.host)))
    return float(f"{float(metric.median_heuristic(unit)):.3g}")


def _unit_features(context: Context, supplied: tuple[Any, ...], rows: np.ndarray) -> jax.Array:
    """Of at most `ROWS` of these rows, at equal spacing, under the first trained extractor."""
    rows = rows[np.arange(min(ROWS, len(rows))) * len(rows) // min(ROWS, len(rows))]
    pool = extractors.among(supplied)
    assert pool is not None  # whoever settles a scale is supplied with one
    params = next(features.each(pool.trained))
    found = features.outputs(context, params, lambda at: context.host.take(rows[at]), len(rows))
    return metric.unit_features(found[1])


def warn_of_noise(config: Any, context: Context, supplied: tuple[Any, ...]) -> None:
    """Warns where the gradient from `num_frequencies` is more noise than signal at the start."""
    error = gradient_error(config, context, supplied)
    if error > NOISY:
        logging.warning(
            "sdd.scale %g lies in the noise: before the first step the gradient from %d "
            "frequencies is off by %.1f of its norm; take sdd.estimator=exact, a smaller scale, "
            "or more sdd.num_frequencies",
            config.sdd.scale,
            config.sdd.num_frequencies,
            error,
        )


def gradient_error(config: Any, context: Context, supplied: tuple[Any, ...]) -> float:
    """Relative error that the draw of frequencies gives the gradient of SDD, of the largest class.

    Of its unit features, the first few of which stand for synthetic images, against the exact
    estimator.
    """
    largest = int(np.argmax(context.counts))
    first = sum(context.counts[:largest])
    rows = first + np.arange(context.counts[largest])
    real = _unit_features(context, supplied, rows)
    synthetic = real[: config.distill.ipc * context.parameterisation.tiles]
    kernel = kernel_of(config)
    drawn = _sampled(config, context, kernel, jax.random.key(0))  # every process has its own

    def gradient(estimator: str) -> np.ndarray:
        def loss(rows: jax.Array) -> jax.Array:
            return metric.sdd_loss(real, rows, drawn, estimator=estimator, kernel=kernel)

        return np.asarray(jax.jit(jax.grad(loss))(synthetic), np.float64)

    exact = gradient("exact")
    size = np.linalg.norm(exact)
    return float(np.linalg.norm(gradient("spectral") - exact) / size) if size else 0.0


def frequencies(config: Any, context: Context, kernel: metric.Kernel, key: jax.Array) -> jax.Array:
    """`[T, d]`, drawn for one step, split over the devices."""
    return context.devices.split_evenly(_sampled(config, context, kernel, key))


def _sampled(config: Any, context: Context, kernel: metric.Kernel, key: jax.Array) -> jax.Array:
    sdd, dim = config.sdd, context.network.feature_dim
    return metric.sample_frequencies(
        key, kernel, sdd.num_frequencies, dim, method=sdd.frequency_method
    )
