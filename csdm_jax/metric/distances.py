"""Distances between the distributions of real and synthetic features (CSDM, Section 4)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from csdm_jax.metric.characteristic import Sample, Spectrum, spectral_means
from csdm_jax.metric.checks import check_chunks, check_matmul_dtype, check_pair, check_sizes, known
from csdm_jax.metric.numerics import modulus


def sdd(
    x: jax.Array,
    y: jax.Array,
    frequencies: jax.Array,
    *,
    x_weights: jax.Array | None = None,
    y_weights: jax.Array | None = None,
    frequency_chunk: int | None = None,
    sample_chunk: int | None = None,
) -> jax.Array:
    """Spectral distribution distance `(1/T) sum_j |Phi_x(t_j) - Phi_y(t_j)|^2`.

    With frequencies from a kernel's spectral measure it is an unbiased estimate of that kernel's
    (biased, V-statistic) MMD^2, at a cost linear in n. There is no square root.

    Args:
        x: sample, shape [n, d], any float dtype; computed in float32 or wider.
        y: sample, shape [m, d].
        frequencies: shape [T, d], from `sample_frequencies`.
        x_weights: shape [n], non-negative; a row of weight zero is absent.
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
    check_pair(("x", x, x_weights), ("y", y, y_weights), frequencies, ranks=(2,))
    check_chunks(frequency_chunk=frequency_chunk, sample_chunk=sample_chunk)
    means = spectral_means(
        _squares,
        _as_sample("x", x, x_weights),
        _as_sample("y", y, y_weights),
        frequencies,
        frequency_chunk=frequency_chunk,
        sample_chunk=sample_chunk,
    )
    return means["square"][0]


def sdd_loss(
    real: jax.Array,
    synthetic: jax.Array,
    frequencies: jax.Array,
    *,
    alpha: jax.Array | float = 0.5,
    real_weights: jax.Array | None = None,
    synthetic_weights: jax.Array | None = None,
    real_sizes: tuple[int, ...] | None = None,
    synthetic_sizes: tuple[int, ...] | None = None,
    frequency_chunk: int | None = None,
    sample_chunk: int | None = None,
    matmul_dtype: DTypeLike | None = None,
) -> jax.Array:
    """Class-aware spectral discrepancy, summed over the classes.

    `D_c = (1/T) sum_j alpha_c (|R| - |S|)^2 + (1 - alpha_c) 2 |R||S| (1 - cos(arg R - arg S))`
    with R, S the characteristic functions of class c at t_j. `alpha = 1/2` is half of `sdd`.

    Args:
        real: real features, shape [n, d] (one class) or [C, n, d], any float dtype; computed in
            float32 or wider. Classes of different sizes: put them one after the other, [N, d],
            and give `real_sizes`; or pad, and weigh the padding with zero.
        synthetic: synthetic features, shape [m, d] or [C, m, d], or [M, d] likewise.
        frequencies: shape [T, d], from `sample_frequencies`.
        alpha: weight of the amplitude against the phase, in the open interval (0, 1); a scalar,
            or shape [C] for C classes (see `class_alphas`).
        real_weights: one per row of `real`, non-negative; a row of weight zero is absent.
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
    loss, _ = sdd_parts(
        real,
        synthetic,
        frequencies,
        alpha=alpha,
        real_weights=real_weights,
        synthetic_weights=synthetic_weights,
        real_sizes=real_sizes,
        synthetic_sizes=synthetic_sizes,
        frequency_chunk=frequency_chunk,
        sample_chunk=sample_chunk,
        matmul_dtype=matmul_dtype,
    )
    return loss


def sdd_parts(
    real: jax.Array,
    synthetic: jax.Array,
    frequencies: jax.Array,
    *,
    alpha: jax.Array | float = 0.5,
    real_weights: jax.Array | None = None,
    synthetic_weights: jax.Array | None = None,
    real_sizes: tuple[int, ...] | None = None,
    synthetic_sizes: tuple[int, ...] | None = None,
    frequency_chunk: int | None = None,
    sample_chunk: int | None = None,
    matmul_dtype: DTypeLike | None = None,
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
    check_pair(
        ("real", real, real_weights), ("synthetic", synthetic, synthetic_weights), frequencies
    )
    check_chunks(frequency_chunk=frequency_chunk, sample_chunk=sample_chunk)
    check_matmul_dtype(matmul_dtype)
    sides = (
        _as_sample("real", real, real_weights, real_sizes),
        _as_sample("synthetic", synthetic, synthetic_weights, synthetic_sizes),
    )
    one_class = real.ndim == 2 and real_sizes is None
    alpha = _check_classes(*sides, alpha, one_class=one_class)
    means = spectral_means(
        _squares,
        *sides,
        frequencies,
        frequency_chunk=frequency_chunk,
        sample_chunk=sample_chunk,
        matmul_dtype=matmul_dtype,
    )
    loss = jnp.sum(_weigh(means, alpha.astype(means["square"].dtype)))
    phase = jnp.maximum(means["square"] - means["amplitude"], 0.0)  # negative by rounding only
    parts = {"amplitude": means["amplitude"], "phase": phase}
    return loss, {name: part[0] if one_class else part for name, part in parts.items()}


def cfd_loss(
    real: jax.Array,
    synthetic: jax.Array,
    frequencies: jax.Array,
    *,
    alpha: jax.Array | float = 0.5,
    real_weights: jax.Array | None = None,
    synthetic_weights: jax.Array | None = None,
    real_sizes: tuple[int, ...] | None = None,
    synthetic_sizes: tuple[int, ...] | None = None,
    frequency_chunk: int | None = None,
    sample_chunk: int | None = None,
    matmul_dtype: DTypeLike | None = None,
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
    check_pair(
        ("real", real, real_weights), ("synthetic", synthetic, synthetic_weights), frequencies
    )
    check_chunks(frequency_chunk=frequency_chunk, sample_chunk=sample_chunk)
    check_matmul_dtype(matmul_dtype)
    sides = (
        _as_sample("real", real, real_weights, real_sizes),
        _as_sample("synthetic", synthetic, synthetic_weights, synthetic_sizes),
    )
    one_class = real.ndim == 2 and real_sizes is None
    alpha = _check_classes(*sides, alpha, one_class=one_class)

    def root(real: Spectrum, synthetic: Spectrum) -> dict[str, jax.Array]:
        squares = _squares(real, synthetic)
        weight = alpha.astype(squares["square"].dtype).reshape(-1, 1)
        return {"root": modulus(_weigh(squares, weight))}

    means = spectral_means(
        root,
        *sides,
        frequencies,
        frequency_chunk=frequency_chunk,
        sample_chunk=sample_chunk,
        matmul_dtype=matmul_dtype,
    )
    return jnp.sum(means["root"])


def _squares(real: Spectrum, synthetic: Spectrum) -> dict[str, jax.Array]:
    """Squared difference of two spectra, and its amplitude part; the phase is what remains."""
    (a, b), (c, d) = real, synthetic
    amplitude = modulus(a * a + b * b) - modulus(c * c + d * d)
    return {
        "square": jnp.square(a - c) + jnp.square(b - d),
        "amplitude": jnp.square(amplitude),
    }


def _weigh(squares: dict[str, jax.Array], alpha: jax.Array) -> jax.Array:
    """`alpha amplitude + (1 - alpha) phase`, written without the phase.

    At alpha = 1/2 the amplitude, whose gradient jumps where a spectrum is 0, has factor 0.
    """
    return (1.0 - alpha) * squares["square"] + (2.0 * alpha - 1.0) * squares["amplitude"]


def _as_sample(
    name: str, x: jax.Array, weights: jax.Array | None, sizes: tuple[int, ...] | None = None
) -> Sample:
    """Features [n, d], [C, n, d] or, with sizes, [N, d] as the rows of all classes."""
    if sizes is not None:
        check_sizes(name, x, weights, sizes)
    elif x.ndim == 3:
        sizes = (x.shape[1],) * x.shape[0]
    rows = x.reshape(-1, x.shape[-1])
    weights = None if weights is None else jnp.ravel(jnp.asarray(weights))
    return Sample(rows, weights, rows.shape[:1] if sizes is None else tuple(sizes))


def _check_classes(
    real: Sample, synthetic: Sample, alpha: jax.Array | float, *, one_class: bool
) -> jax.Array:
    """Check that both sides have the same classes and alpha fits; it comes back as an array."""
    classes = len(real.sizes)
    if classes != len(synthetic.sizes):
        raise ValueError(
            f"real features have {classes} classes, synthetic {len(synthetic.sizes)}: pass the "
            "same classes on both sides, with real_sizes and synthetic_sizes"
        )
    if np.shape(alpha) not in ((), () if one_class else (classes,)):
        raise ValueError(
            f"alpha has shape {np.shape(alpha)}, the features "
            f"{'one class' if one_class else f'{classes} classes'}: pass a scalar or one alpha "
            f"per class, shape {() if one_class else (classes,)}"
        )
    values = known(alpha)
    if values is not None and not np.all((values > 0) & (values < 1)):
        raise ValueError(
            f"alpha must lie in the open interval (0, 1), got {values.tolist()}: at 0 or 1 the "
            "discrepancy is no distance; see class_alphas"
        )
    return jnp.asarray(alpha)
