"""Distances between the distributions of real and synthetic features (CSDM, Section 4)."""

from __future__ import annotations

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from csdm_jax.metric.characteristic import Spectrum, spectral_means
from csdm_jax.metric.comparison import (
    Comparison,
    Options,
    SDDOptions,
    compare,
    exact_kernel,
)
from csdm_jax.metric.exact import exact_squares
from csdm_jax.metric.kernels import GramFunction
from csdm_jax.metric.numerics import safe_sqrt
from csdm_jax.metric.ragged import Ragged


def sdd(
    x: ArrayLike,
    y: ArrayLike,
    frequencies: ArrayLike,
    *,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
    frequency_chunk: int | None = None,
    sample_chunk: int | None = None,
) -> jax.Array:
    """Spectral distribution distance `(1/T) sum_j |Phi_x(t_j) - Phi_y(t_j)|^2`.

    With frequencies from a kernel's spectral measure it is an unbiased estimate of that kernel's
    (biased, V-statistic) MMD^2, at a cost linear in n. There is no square root.

    Args:
        x: sample, shape [n, d], any real dtype; computed in float32 or wider.
        y: sample, shape [m, d].
        frequencies: shape [T, d], from `sample_frequencies`.
        x_weights: shape [n], non-negative, of any scale; a row of weight zero is absent.
        y_weights: shape [m], likewise.
        frequency_chunk: frequencies at a time, to bound memory; all at once if left out.
        sample_chunk: rows at a time, likewise. Neither changes value or gradient.

    Returns:
        Scalar float32, at least 0.

    Raises:
        ValueError: if shapes disagree, a sample is empty, concrete weights are negative, not
            finite or all zero, or a chunk is below 1.

    Source: CSDM, Theorem 4.3.

    >>> float(sdd(jnp.array([[0.0]]), jnp.array([[jnp.pi]]), jnp.array([[1.0]])))
    4.0
    """
    comparison = compare(
        x,
        y,
        frequencies,
        real_weights=x_weights,
        synthetic_weights=y_weights,
        frequency_chunk=frequency_chunk,
        sample_chunk=sample_chunk,
        names=("x", "y"),
        ranks=(2,),
    )
    means = spectral_means(_squares, comparison)
    return means["square"][0]


def sdd_loss(
    real: ArrayLike | Ragged,
    synthetic: ArrayLike | Ragged,
    frequencies: ArrayLike | None,
    **options: Unpack[SDDOptions],
) -> jax.Array:
    """Class-aware spectral discrepancy, summed over the classes.

    `D_c = (1/T) sum_j alpha_c (|R| - |S|)^2 + (1 - alpha_c) 2 |R||S| (1 - cos(arg R - arg S))`
    with R, S the characteristic functions of class c at t_j. `alpha = 1/2` is half of `sdd`. All
    of it is squared; there is no root.

    With A the mean of `(|R| - |S|)^2` this is `(1 - alpha_c) SDD_c + (2 alpha_c - 1) A_c`, and
    SDD is the V-statistic MMD^2 of the frequencies' kernel. `estimator="exact"` takes SDD from
    that kernel and A alone from the frequencies: equal in expectation over frequencies, with much
    less of their noise, at a cost quadratic in the rows of a class.

    Args:
        real: real features, shape [n, d] (one class) or [C, n, d], any real dtype; computed in
            float32 or wider. Classes of different sizes: put them one after the other, [N, d],
            and give `real_sizes`, or a `Ragged` that has them; or pad, and weigh the padding with
            zero.
        synthetic: synthetic features, shape [m, d] or [C, m, d], or [M, d] likewise.
        frequencies: shape [T, d], from `sample_frequencies`; None for the exact estimator where
            alpha is known to be 1/2 in all classes, which needs none.
        alpha: weight of the amplitude against the phase, in the open interval (0, 1); a scalar,
            or shape [C] for C classes (see `class_alphas`); 1/2 if left out.
        real_weights: one per row of `real`, non-negative, of any scale; a row of weight zero is
            absent.
        synthetic_weights: one per row of `synthetic`, likewise.
        real_sizes: rows of each class in [N, d] features, static, adding up to N.
        synthetic_sizes: rows of each class in [M, d] features.
        frequency_chunk: frequencies at a time, to bound memory; all at once if left out.
        sample_chunk: rows at a time, likewise; if left out, the gradient keeps the phases of all
            rows. Neither changes value or gradient.
        matmul_dtype: floating type to which features and frequencies are rounded before they are
            multiplied, such as "bfloat16"; sums stay float32. Phases are then off by some 0.002
            (unit features, frequency scale 1). No rounding if left out.
        estimator: "spectral" (if left out), all from the frequencies, at a cost linear in the
            rows; "exact", SDD from the kernel; or "auto", what `cheaper_estimator` says.
        kernel: whose frequencies these are, e.g. `RBF(1.0)`; needed unless the estimator is
            "spectral". Where alpha is 1/2 in all classes, any kernel that `mmd2` takes.

    Returns:
        Scalar float32, at least 0 up to rounding; 0 iff the class distributions agree at all
        frequencies. Its gradient is finite everywhere. Exact with an alpha below 1/2, it may be
        below 0 by as much as A is off.

    Raises:
        ValueError: if shapes or sizes disagree, a sample or class is empty, a concrete alpha is
            outside (0, 1), concrete weights are negative, not finite or all zero, a chunk is
            below 1, the estimator is unknown, or it lacks its kernel or frequencies.

    Source: CSDM, Section 4.2.4 and Proposition A.5.

    >>> real, synthetic = jnp.array([[0.0]]), jnp.array([[jnp.pi]])
    >>> float(sdd_loss(real, synthetic, jnp.array([[1.0]]), alpha=0.25))
    3.0
    >>> from csdm_jax import RBF
    >>> round(float(sdd_loss(real, synthetic, None, estimator="exact", kernel=RBF(1.0))), 4)
    0.9928
    """
    comparison = _compare(real, synthetic, frequencies, **options)
    if comparison.kernel is not None and comparison.half:
        comparison = comparison._replace(frequencies=None)  # the amplitude counts nothing
    return _loss(_mean_squares(comparison), comparison)


def sdd_parts(
    real: ArrayLike | Ragged,
    synthetic: ArrayLike | Ragged,
    frequencies: ArrayLike | None,
    **options: Unpack[SDDOptions],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`sdd_loss` together with its amplitude and phase, unweighted.

    `loss = sum_c alpha_c amplitude_c + (1 - alpha_c) phase_c`; the amplitude tells how far the
    diversity is off, the phase how far the realism.

    Args, Raises: as `sdd_loss`.

    Returns:
        The loss, scalar float32, and a dict of "amplitude" and "phase", each of shape [C], or
        scalars for [n, d] features without sizes; both at least 0, but for an exact phase by as
        much as the amplitude is off. Without frequencies, a dict of "sdd" alone, likewise.

    Source: CSDM, Section 4.2.4.

    >>> x, y = jnp.array([[0.0]]), jnp.array([[jnp.pi]])
    >>> loss, parts = sdd_parts(x, y, jnp.array([[1.0]]), alpha=0.25)
    >>> float(loss), float(parts["amplitude"]), float(parts["phase"])
    (3.0, 0.0, 4.0)
    """
    comparison = _compare(real, synthetic, frequencies, **options)
    means = _mean_squares(comparison)
    loss = _loss(means, comparison)
    parts = {"sdd": means["square"]}
    if "amplitude" in means:
        amplitude, phase = means["amplitude"], means["square"] - means["amplitude"]
        if comparison.kernel is None:
            phase = jnp.maximum(phase, 0.0)  # negative by rounding only
        parts = {"amplitude": amplitude, "phase": phase}
    return loss, {name: part[0] if comparison.one_class else part for name, part in parts.items()}


def _compare(
    real: ArrayLike | Ragged,
    synthetic: ArrayLike | Ragged,
    frequencies: ArrayLike | None,
    *,
    estimator: str = "spectral",
    kernel: GramFunction | None = None,
    **options: Unpack[Options],
) -> Comparison:
    """Checked arguments of `sdd_loss`, with the kernel if its estimator is the exact one."""
    comparison = compare(real, synthetic, frequencies, spectra=estimator == "spectral", **options)
    return comparison._replace(kernel=exact_kernel(comparison, estimator, kernel))


def _mean_squares(comparison: Comparison) -> dict[str, jax.Array]:
    """SDD of each class, shape [C], and its amplitude part where there are frequencies."""
    if comparison.kernel is None:
        return spectral_means(_squares, comparison)
    means = {"square": exact_squares(comparison)}
    if comparison.frequencies is not None:
        means |= spectral_means(
            lambda real, synthetic: {"amplitude": _amplitude(real, synthetic)}, comparison
        )
    return means


def _loss(means: dict[str, jax.Array], comparison: Comparison) -> jax.Array:
    return jnp.sum(_weigh(means, comparison.alpha.astype(means["square"].dtype)))


def cfd_loss(
    real: ArrayLike | Ragged,
    synthetic: ArrayLike | Ragged,
    frequencies: ArrayLike,
    **options: Unpack[Options],
) -> jax.Array:
    """Characteristic function discrepancy of NCFM: a square root at each frequency.

    `(1/T) sum_j sqrt(alpha (|R| - |S|)^2 + (1 - alpha) 2 (|R||S| - Re(R conj(S))))`, an L1
    quantity where `sdd_loss` is an L2 quantity, summed over the classes. NCFM has alpha = 1/2.

    Args, Raises: as `sdd_loss`.

    Returns:
        Scalar float32, at least 0; its gradient is finite, and 0 at frequencies that agree.

    Source: NCFM (Wang et al. 2025).

    >>> x, y = jnp.array([[0.0]]), jnp.array([[jnp.pi]])
    >>> float(cfd_loss(x, y, jnp.array([[1.0]]), alpha=0.75))
    1.0
    """
    comparison = compare(real, synthetic, frequencies, **options)

    def root(real: Spectrum, synthetic: Spectrum) -> dict[str, jax.Array]:
        squares = _squares(real, synthetic)
        weight = comparison.alpha.astype(squares["square"].dtype).reshape(-1, 1)
        return {"root": safe_sqrt(_weigh(squares, weight))}

    return jnp.sum(spectral_means(root, comparison)["root"])


def _squares(real: Spectrum, synthetic: Spectrum) -> dict[str, jax.Array]:
    """Squared difference of two spectra, and its amplitude part; the phase is what remains."""
    (a, b), (c, d) = real, synthetic
    return {
        "square": jnp.square(a - c) + jnp.square(b - d),
        "amplitude": _amplitude(real, synthetic),
    }


def _amplitude(real: Spectrum, synthetic: Spectrum) -> jax.Array:
    """`(|R| - |S|)^2` of two spectra."""
    (a, b), (c, d) = real, synthetic
    return jnp.square(safe_sqrt(a * a + b * b) - safe_sqrt(c * c + d * d))


def _weigh(squares: dict[str, jax.Array], alpha: jax.Array) -> jax.Array:
    """`alpha amplitude + (1 - alpha) phase`, written without the phase.

    At alpha = 1/2 the amplitude, whose gradient jumps where a spectrum is 0, has factor 0.
    """
    weighed = (1.0 - alpha) * squares["square"]
    if "amplitude" not in squares:  # it counts nothing
        return weighed
    return weighed + (2.0 * alpha - 1.0) * squares["amplitude"]
