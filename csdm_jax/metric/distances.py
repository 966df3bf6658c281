"""Distances between the distributions of real and synthetic features (CSDM, Section 4)."""

from __future__ import annotations

from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from csdm_jax.metric.characteristic import Spectrum, normalised_weights, spectral_means
from csdm_jax.metric.checks import check_shared, check_two_rows
from csdm_jax.metric.comparison import Comparison, Options, SDDOptions, compare
from csdm_jax.metric.gradients import equal_norms, with_known_real
from csdm_jax.metric.numerics import safe_sqrt
from csdm_jax.metric.ragged import Ragged
from csdm_jax.metric.references import Reference
from csdm_jax.metric.sketches import Sketch
from csdm_jax.metric.squares import compare_estimated, mean_squares, squares, weighed


def sdd(
    x: ArrayLike | Sketch,
    y: ArrayLike | Sketch,
    frequencies: ArrayLike,
    *,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
    unbiased: bool = False,
    scales: tuple[float, ...] | None = None,
    return_per_scale: bool = False,
    frequency_chunk: int | None = None,
    sample_chunk: int | None = None,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Spectral distribution distance `(1/T) sum_j |Phi_x(t_j) - Phi_y(t_j)|^2`.

    With frequencies from a kernel's spectral measure it is an unbiased estimate of that kernel's
    (biased, V-statistic) MMD^2, at a cost linear in n. It is the square; there is no root. `mmd2`
    is the same without frequencies.

    Args:
        x: sample, shape [n, d], any real dtype, computed in float32 or wider; or its `sketch`.
        y: sample, shape [m, d], or its sketch.
        frequencies: shape [T, d], from `sample_frequencies`.
        x_weights: shape [n], non-negative, of any scale; a row of weight zero is absent.
        y_weights: shape [m], likewise.
        unbiased: estimate the U-statistic, without each point's kernel with itself, in place of the
            V-statistic: `(|Phi|^2 - q) / (1 - q)` for `|Phi|^2` of each sample, with q the sum of
            the squared shares of its rows, 1/n without weights. It may be negative.
        scales: factors of the frequencies, over which the mean is taken, as of a kernel at several
            scales; the products with the frequencies are made once.
        return_per_scale: also give the value at each of `scales`, shape [K].
        frequency_chunk: frequencies at a time, to bound memory; all at once if left out.
        sample_chunk: rows at a time, likewise. Neither changes value or gradient.

    Returns:
        Scalar float32, at least 0 unless `unbiased`; with `return_per_scale` a pair.

    Raises:
        ValueError: if shapes disagree, a sample is empty, or for `unbiased` of one row, concrete
            weights are negative, not finite or all zero, a scale is not positive, or a chunk is
            below 1.

    Source: CSDM, Theorem 4.3; unbiased: Gretton et al. 2012, Lemma 6.

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
        scales=scales,
        names=("x", "y"),
        ranks=(2,),
    )
    if comparison.real.num_classes * comparison.synthetic.num_classes != 1:
        raise ValueError("sdd compares two samples, got a sketch of classes: use sdd_loss")
    if return_per_scale and scales is None:
        raise ValueError("return_per_scale needs scales, got None: pass e.g. scales=(0.5, 1, 2)")
    integrand = _squared_moduli if unbiased else squares
    means = spectral_means(integrand, comparison, per_scale=return_per_scale)
    values = means["square"]
    if unbiased:
        values = values + _without_own(means, comparison)
    return (jnp.mean(values), values[0]) if return_per_scale else values[0]


def sdd_loss(
    real: ArrayLike | Ragged | Sketch | Reference,
    synthetic: ArrayLike | Ragged | Sketch,
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
            zero. Or a `sketch` of them at these frequencies; or a `reference`.
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
        scales: factors of the frequencies, over which the mean is taken, as of a kernel at several
            scales; the products with the frequencies are made once.
        estimator: "spectral" (if left out), all from the frequencies, at a cost linear in the
            rows; "exact", SDD from the kernel; or "auto", what `cheaper_estimator` says.
        normalise: multiply each class's loss by the factor, taken as a constant, with which its
            gradient to the synthetic features has the norm that it has at alpha = 1/2: alpha then
            changes directions alone, not how much a class weighs. It costs two more gradients to
            the synthetic side.
        kernel: whose frequencies these are, e.g. `RBF(1.0)`, with scales a `Mixture`; needed
            unless the estimator is "spectral". Where alpha is 1/2 in all classes, any kernel that
            `mmd2` takes.

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
    comparison = compare_estimated(real, synthetic, frequencies, **options)
    if comparison.kernel is not None and comparison.half:
        comparison = comparison._replace(frequencies=None)  # the amplitude counts nothing
    return jnp.sum(_by_class(comparison)[0])


def sdd_parts(
    real: ArrayLike | Ragged | Sketch | Reference,
    synthetic: ArrayLike | Ragged | Sketch,
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
    comparison = compare_estimated(real, synthetic, frequencies, **options)
    losses, means = _by_class(comparison)
    parts = {"sdd": means["square"]}
    if "amplitude" in means:
        amplitude, phase = means["amplitude"], means["square"] - means["amplitude"]
        if comparison.kernel is None:
            phase = jnp.maximum(phase, 0.0)  # negative by rounding only
        parts = {"amplitude": amplitude, "phase": phase}
    return jnp.sum(losses), {
        name: part[0] if comparison.one_class else part for name, part in parts.items()
    }


def cfd_loss(
    real: ArrayLike | Ragged | Sketch,
    synthetic: ArrayLike | Ragged | Sketch,
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
        parts = squares(real, synthetic)
        weight = comparison.alpha.astype(parts["square"].dtype).reshape(-1, 1)
        return {"root": safe_sqrt(weighed(parts, weight))}

    return jnp.sum(spectral_means(root, comparison)["root"])


def _by_class(comparison: Comparison) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of each class, shape [C], and what it is made of."""
    if comparison.normalise:
        comparison = with_known_real(comparison)
    means = mean_squares(comparison)
    losses = weighed(means, comparison.alpha.astype(means["square"].dtype))
    if comparison.normalise:
        losses = losses * equal_norms(comparison)
    return losses, means


def _squared_moduli(real: Spectrum, synthetic: Spectrum) -> dict[str, jax.Array]:
    """What the unbiased form is made of."""
    (a, b), (c, d) = real, synthetic
    return {
        "square": jnp.square(a - c) + jnp.square(b - d),
        "x": jnp.square(a) + jnp.square(b),
        "y": jnp.square(c) + jnp.square(d),
    }


def _without_own(means: dict[str, jax.Array], comparison: Comparison) -> jax.Array:
    """What leaving out each row's kernel with itself adds to SDD: `(|Phi|^2 - 1) q / (1 - q)`."""
    added = jnp.zeros_like(means["square"])
    for name, side in (("x", comparison.real), ("y", comparison.synthetic)):
        own = _own_share(name, side, means["square"].dtype)
        added = added + (means[name] - 1.0) * (own / (1.0 - own))
    return added


def _own_share(name: str, side: Ragged | Sketch, dtype: jnp.dtype) -> jax.Array:
    """The sum of the squared shares of a sample's rows, below 1."""
    if isinstance(side, Sketch):
        share = jnp.reshape(side.squares / jnp.square(side.weight), ())
        check_shared(name, share)
        return share
    rows = side.values.shape[0]
    check_two_rows(name, np.ones(rows) if side.weights is None else side.weights)
    return jnp.sum(jnp.square(normalised_weights(side, dtype)))
