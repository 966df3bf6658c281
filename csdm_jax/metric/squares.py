"""SDD of each class and its amplitude part, by either estimator."""

from __future__ import annotations

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from csdm_jax.metric.characteristic import Spectrum, spectral_means
from csdm_jax.metric.comparison import Comparison, Options, compare, exact_kernel
from csdm_jax.metric.exact import exact_squares
from csdm_jax.metric.kernels import GramFunction
from csdm_jax.metric.numerics import safe_sqrt
from csdm_jax.metric.ragged import Ragged
from csdm_jax.metric.references import Reference
from csdm_jax.metric.sketches import Sketch


def compare_estimated(
    real: ArrayLike | Ragged | Sketch | Reference,
    synthetic: ArrayLike | Ragged | Sketch,
    frequencies: ArrayLike | None,
    *,
    estimator: str = "spectral",
    kernel: GramFunction | None = None,
    normalise: bool = False,
    **options: Unpack[Options],
) -> Comparison:
    """Checked arguments of `sdd_loss`, with the kernel if its estimator is the exact one."""
    comparison = compare(real, synthetic, frequencies, spectra=estimator == "spectral", **options)
    kernel = exact_kernel(comparison, estimator, kernel)
    comparison = comparison._replace(kernel=kernel, normalise=normalise and not comparison.half)
    return comparison if kernel is not None else _with_sketch(comparison)


def mean_squares(comparison: Comparison) -> dict[str, jax.Array]:
    """SDD of each class, shape [C], and its amplitude part where there are frequencies."""
    if comparison.kernel is None:
        return spectral_means(squares, comparison)
    means = {"square": exact_squares(comparison)}
    if comparison.frequencies is not None:
        means |= spectral_means(
            lambda real, synthetic: {"amplitude": jnp.square(_gap(real, synthetic))},
            _with_sketch(comparison),
        )
    return means


def _with_sketch(comparison: Comparison) -> Comparison:
    """The real side by its sketch, where that is known."""
    known = comparison.known
    return comparison if known is None else comparison._replace(real=known)


def squares(real: Spectrum, synthetic: Spectrum) -> dict[str, jax.Array]:
    """Squared difference of two spectra, and its amplitude part; the phase is what remains."""
    (a, b), (c, d) = real, synthetic
    gap = _gap(real, synthetic)
    return {
        "square": jnp.square(a - c) + jnp.square(b - d),
        "amplitude": jnp.square(gap),
    }


def _gap(real: Spectrum, synthetic: Spectrum) -> jax.Array:
    """`|R| - |S|` of two spectra."""
    (a, b), (c, d) = real, synthetic
    return safe_sqrt(a * a + b * b) - safe_sqrt(c * c + d * d)


def weighed(parts: dict[str, jax.Array], alpha: jax.Array) -> jax.Array:
    """`alpha amplitude + (1 - alpha) phase`, written without the phase.

    At alpha = 1/2 the amplitude, whose gradient jumps where a spectrum is 0, has factor 0.
    """
    plain = (1.0 - alpha) * parts["square"]
    if "amplitude" not in parts:  # it counts nothing
        return plain
    return plain + (2.0 * alpha - 1.0) * parts["amplitude"]
