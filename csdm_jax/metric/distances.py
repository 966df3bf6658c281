"""Distances between the distributions of real and synthetic features (CSDM, Section 4)."""

from __future__ import annotations

from typing import Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from csdm_jax.metric.characteristic import Spectrum, spectral_means
from csdm_jax.metric.comparison import Options, compare
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
    frequencies: ArrayLike,
    **options: Unpack[Options],
) -> jax.Array:
    """Class-aware spectral discrepancy, summed over the classes.

    `D_c = (1/T) sum_j alpha_c (|R| - |S|)^2 + (1 - alpha_c) 2 |R||S| (1 - cos(arg R - arg S))`
    with R, S the characteristic functions of class c at t_j. `alpha = 1/2` is half of `sdd`.

    Args:
        real: real features, shape [n, d] (one class) or [C, n, d], any real dtype; computed in
            float32 or wider. Classes of different sizes: put them one after the other, [N, d],
            and give `real_sizes`, or a `Ragged` that has them; or pad, and weigh the padding with
            zero.
        synthetic: synthetic features, shape [m, d] or [C, m, d], or [M, d] likewise.
        frequencies: shape [T, d], from `sample_frequencies`.
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

    Returns:
        Scalar float32, at least 0 up to rounding; 0 iff the class distributions agree at all
        frequencies. Its gradient is finite everywhere.

    Raises:
        ValueError: if shapes or sizes disagree, a sample or class is empty, a concrete alpha is
            outside (0, 1), concrete weights are negative, not finite or all zero, or a chunk is
            below 1.

    Source: CSDM, Section 4.2.4 and Proposition A.5.

    >>> real, synthetic = jnp.array([[0.0]]), jnp.array([[jnp.pi]])
    >>> float(sdd_loss(real, synthetic, jnp.array([[1.0]]), alpha=0.25))
    3.0
    """
    return sdd_parts(real, synthetic, frequencies, **options)[0]


def sdd_parts(
    real: ArrayLike | Ragged,
    synthetic: ArrayLike | Ragged,
    frequencies: ArrayLike,
    **options: Unpack[Options],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`sdd_loss` together with its amplitude and phase, unweighted.

    `loss = sum_c alpha_c amplitude_c + (1 - alpha_c) phase_c`; the amplitude tells how far the
    diversity is off, the phase how far the realism.

    Args, Raises: as `sdd_loss`.

    Returns:
        The loss, scalar float32, and a dict of "amplitude" and "phase", each of shape [C], or
        scalars for [n, d] features without sizes; both at least 0.

    Source: CSDM, Section 4.2.4.

    >>> x, y = jnp.array([[0.0]]), jnp.array([[jnp.pi]])
    >>> loss, parts = sdd_parts(x, y, jnp.array([[1.0]]), alpha=0.25)
    >>> float(loss), float(parts["amplitude"]), float(parts["phase"])
    (3.0, 0.0, 4.0)
    """
    comparison = compare(real, synthetic, frequencies, **options)
    means = spectral_means(_squares, comparison)
    loss = jnp.sum(_weigh(means, comparison.alpha.astype(means["square"].dtype)))
    phase = jnp.maximum(means["square"] - means["amplitude"], 0.0)  # negative by rounding only
    parts = {"amplitude": means["amplitude"], "phase": phase}
    return loss, {name: part[0] if comparison.one_class else part for name, part in parts.items()}


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
    amplitude = safe_sqrt(a * a + b * b) - safe_sqrt(c * c + d * d)
    return {
        "square": jnp.square(a - c) + jnp.square(b - d),
        "amplitude": jnp.square(amplitude),
    }


def _weigh(squares: dict[str, jax.Array], alpha: jax.Array) -> jax.Array:
    """`alpha amplitude + (1 - alpha) phase`, written without the phase.

    At alpha = 1/2 the amplitude, whose gradient jumps where a spectrum is 0, has factor 0.
    """
    return (1.0 - alpha) * squares["square"] + (2.0 * alpha - 1.0) * squares["amplitude"]
