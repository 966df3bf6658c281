"""Gradients of the class-aware discrepancy to the synthetic features: how much each part pulls."""

from __future__ import annotations

from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from csdm_jax.metric.characteristic import spectrum
from csdm_jax.metric.comparison import Comparison, SDDOptions
from csdm_jax.metric.numerics import compute_dtype, safe_sqrt
from csdm_jax.metric.ragged import Ragged
from csdm_jax.metric.references import Reference
from csdm_jax.metric.sketches import Sketch
from csdm_jax.metric.squares import compare_estimated, mean_squares


def sdd_gradients(
    real: ArrayLike | Ragged | Sketch | Reference,
    synthetic: ArrayLike | Ragged,
    frequencies: ArrayLike,
    **options: Unpack[SDDOptions],
) -> dict[str, jax.Array]:
    """Norms of the gradient of `sdd_loss` to the synthetic features, by class and by part.

    They tell what alpha does: far from the optimum the amplitude's gradient is small beside the
    phase's, and alpha_c acts as a weight 2 (1 - alpha_c) of the class; near it the direction
    changes.

    Args, Raises: as `sdd_loss`; the synthetic side is no sketch.

    Returns:
        A dict of norms, each of shape [C], or scalars for [n, d] features without sizes: "loss" of
        the gradient of D_c, "amplitude" of `alpha_c` times that of the amplitude, "phase" of
        `1 - alpha_c` times that of the phase, and "half" of D_c if alpha_c were 1/2. The loss's is
        at most the sum of both parts'.

    >>> x, y, t = jnp.array([[0.0], [1.0]]), jnp.array([[0.5]]), jnp.array([[1.0]])
    >>> {name: round(float(norm), 3) for name, norm in sdd_gradients(x, y + 1.0, t).items()}
    {'loss': 0.738, 'amplitude': 0.0, 'phase': 0.738, 'half': 0.738}
    """
    comparison = with_known_real(compare_estimated(real, synthetic, frequencies, **options))
    square, amplitude = _gradients(comparison)
    alpha = _row_alphas(comparison, square.dtype)
    parts = {
        "loss": (1.0 - alpha) * square + (2.0 * alpha - 1.0) * amplitude,
        "amplitude": alpha * amplitude,
        "phase": (1.0 - alpha) * (square - amplitude),
        "half": 0.5 * square,
    }
    norms = {name: _norms(comparison, part) for name, part in parts.items()}
    return {name: norm[0] if comparison.one_class else norm for name, norm in norms.items()}


def with_known_real(comparison: Comparison) -> Comparison:
    """The comparison with the real side's spectrum known, which several gradients then share.

    Not where frequencies are taken in chunks, so that memory stays bounded.
    """
    real, t = comparison.real, comparison.frequencies
    whole = comparison.frequency_chunk is None and comparison.kernel is None
    if isinstance(real, Sketch) or t is None or not whole:
        return comparison
    settings = (comparison.sample_chunk, comparison.matmul_dtype, comparison.scales)
    cosine, sine = spectrum(real, t, *settings)
    ones = jnp.ones(len(cosine), cosine.dtype)
    return comparison._replace(real=Sketch(cosine, sine, ones, ones))


def equal_norms(comparison: Comparison) -> jax.Array:
    """What gives the gradient of each class the norm that it has at alpha = 1/2, shape [C]."""
    square, amplitude = _gradients(comparison)
    alpha = _row_alphas(comparison, square.dtype)
    gradient = (1.0 - alpha) * square + (2.0 * alpha - 1.0) * amplitude
    norm = _norms(comparison, gradient)
    positive = norm > 0
    factors = 0.5 * _norms(comparison, square) / jnp.where(positive, norm, 1.0)
    return jax.lax.stop_gradient(jnp.where(positive, factors, 1.0))


def _gradients(comparison: Comparison) -> tuple[jax.Array, jax.Array]:
    """Gradients of SDD and of the amplitude of each class to its rows, [M, d] each."""
    synthetic = _synthetic(comparison)[0]

    def means(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = mean_squares(comparison._replace(synthetic=synthetic.with_values(rows)))
        return jnp.sum(found["square"]), jnp.sum(found["amplitude"])

    values = jax.lax.stop_gradient(synthetic.values)
    (one, _), pull = jax.vjp(means, values.astype(compute_dtype(values)))
    zero = jnp.zeros_like(one)
    return pull((jnp.ones_like(one), zero))[0], pull((zero, jnp.ones_like(one)))[0]


def _synthetic(comparison: Comparison) -> tuple[Ragged, tuple[int, ...]]:
    """The synthetic rows and the sizes of their classes."""
    synthetic, t = comparison.synthetic, comparison.frequencies
    if not isinstance(synthetic, Ragged) or synthetic.sizes is None or t is None:
        raise ValueError(
            "gradients by part need frequencies, and synthetic features whose sizes are known, got "
            "none, a sketch or symbols: pass both"
        )
    return synthetic, synthetic.sizes


def _members(comparison: Comparison) -> tuple[np.ndarray, int]:
    """Class of each synthetic row, and how many classes there are."""
    sizes = _synthetic(comparison)[1]
    return np.repeat(np.arange(len(sizes)), sizes), len(sizes)


def _row_alphas(comparison: Comparison, dtype: jnp.dtype) -> jax.Array:
    """Alpha of each synthetic row, [M, 1]."""
    members, classes = _members(comparison)
    return jnp.broadcast_to(comparison.alpha.astype(dtype), (classes,))[members][:, None]


def _norms(comparison: Comparison, gradient: jax.Array) -> jax.Array:
    """Norms of the rows of each class together, shape [C]."""
    members, classes = _members(comparison)
    squares = jnp.sum(jnp.square(gradient), axis=1)
    return safe_sqrt(jax.ops.segment_sum(squares, members, classes, indices_are_sorted=True))
