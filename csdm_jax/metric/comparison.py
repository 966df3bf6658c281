"""Two samples of the same classes and how they are compared: what all class-aware losses share."""

from __future__ import annotations

from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from csdm_jax.metric.checks import (
    as_features,
    check_chunks,
    check_kernel,
    check_matmul_dtype,
    check_pair,
    check_sample,
    check_sizes,
    checked_scales,
    known,
)
from csdm_jax.metric.estimators import ESTIMATORS, cheaper_estimator
from csdm_jax.metric.kernels import GramFunction, Kernel, SpectralKernel
from csdm_jax.metric.ragged import Ragged
from csdm_jax.metric.references import Reference
from csdm_jax.metric.sketches import Sketch, check_sketch


class Options(TypedDict, total=False):
    """Keyword arguments of `cfd_loss`, `sdd_loss`, which documents them, and `sdd_parts`."""

    alpha: ArrayLike  # 1/2 if left out; None for all others
    real_weights: ArrayLike | None
    synthetic_weights: ArrayLike | None
    real_sizes: tuple[int, ...] | None
    synthetic_sizes: tuple[int, ...] | None
    frequency_chunk: int | None
    sample_chunk: int | None
    matmul_dtype: DTypeLike | None
    scales: tuple[float, ...] | None


class SDDOptions(Options, total=False):
    """Keyword arguments that `sdd_loss` and `sdd_parts` have beside."""

    estimator: str  # "spectral" if left out
    kernel: GramFunction | None
    normalise: bool


class Comparison(NamedTuple):
    """Checked arguments of a loss.

    Attributes:
        real: features of C classes, or their sketch.
        synthetic: features of the same classes.
        frequencies: shape [T, d]; None where no spectrum is asked for.
        alpha: scalar or shape [C].
        frequency_chunk: frequencies at a time, all at once if None.
        sample_chunk: rows at a time, the gradient computing phases again; kept if None.
        matmul_dtype: floating type of the factors of the products with the frequencies.
        scales: factors of the frequencies, at all of which spectra are taken; None for 1 alone.
        one_class: whether results per class are scalars.
        half: whether every alpha is known to be 1/2, where the amplitude counts nothing.
        kernel: whose MMD^2 is taken exactly; None where that is estimated from the frequencies.
        normalise: whether each class's gradient keeps the norm that it has at alpha = 1/2.
        own: the real side's part of the exact MMD^2, shape [C]; None where it is not known.
        known: the real side's sketch, where its rows are given, too.
    """

    real: Ragged | Sketch
    synthetic: Ragged | Sketch
    frequencies: jax.Array | None
    alpha: jax.Array
    frequency_chunk: int | None
    sample_chunk: int | None
    matmul_dtype: DTypeLike | None
    scales: tuple[float, ...] | None
    one_class: bool
    half: bool = False
    kernel: GramFunction | None = None
    normalise: bool = False
    own: jax.Array | None = None
    known: Sketch | None = None


def compare(
    real: ArrayLike | Ragged | Sketch | Reference,
    synthetic: ArrayLike | Ragged | Sketch,
    frequencies: ArrayLike | None,
    *,
    alpha: ArrayLike = 0.5,
    real_weights: ArrayLike | None = None,
    synthetic_weights: ArrayLike | None = None,
    real_sizes: tuple[int, ...] | None = None,
    synthetic_sizes: tuple[int, ...] | None = None,
    frequency_chunk: int | None = None,
    sample_chunk: int | None = None,
    matmul_dtype: DTypeLike | None = None,
    scales: tuple[float, ...] | None = None,
    names: tuple[str, str] = ("real", "synthetic"),
    ranks: tuple[int, ...] = (2, 3),
    spectra: bool = True,
) -> Comparison:
    """Check the arguments of `sdd_loss` and bring both samples to one form.

    Args:
        names: of the two samples, in messages.
        ranks: accepted of the features.
        spectra: whether frequencies are needed whatever the estimator.

    Raises:
        ValueError: as `sdd_loss`.
    """
    needless = frequencies is None and not spectra
    frequencies = None if needless else as_features("frequencies", frequencies)
    check_chunks(frequency_chunk=frequency_chunk, sample_chunk=sample_chunk)
    check_matmul_dtype(matmul_dtype)
    scales = checked_scales(scales)
    own, sketch = None, None
    if isinstance(real, Reference):
        own, sketch, real = real.own, real.sketch, real.rows
    if sketch is not None and frequencies is not None:
        check_sketch(names[0], sketch, frequencies, len(scales or (1,)))
    given = (
        _Given(names[0], real, real_weights, real_sizes),
        _Given(names[1], synthetic, synthetic_weights, synthetic_sizes),
    )
    sides, one_class = _sides(given, frequencies, len(scales or (1,)), ranks)
    alpha, values = _check_classes(*sides, alpha, one_class=one_class), known(alpha)
    half = values is not None and bool(np.all(values == 0.5))
    return Comparison(
        *sides,
        frequencies,
        alpha,
        frequency_chunk,
        sample_chunk,
        matmul_dtype,
        scales,
        one_class,
        half,
        own=own,
        known=sketch,
    )


class _Given(NamedTuple):
    """One side as it was given: an array or a sketch, taken out of a `Ragged`."""

    name: str
    rows: Any
    weights: ArrayLike | None
    sizes: tuple[int, ...] | None


def _sides(
    given: tuple[_Given, _Given],
    frequencies: jax.Array | None,
    scales: int,
    ranks: tuple[int, ...],
) -> tuple[tuple[Ragged | Sketch, Ragged | Sketch], bool]:
    """Both sides checked, and whether they are of one class without sizes."""
    first, second = (_taken_apart(side) for side in given)
    features = [s for s in (first, second) if not isinstance(s.rows, Sketch)]
    if len(features) == 2:
        check_pair(first[:3], second[:3], frequencies, ranks=ranks)
    for name, rows, weights, _ in features:
        check_sample(name, rows, frequencies, weights, ranks=ranks)
    for side in (first, second):
        if isinstance(side.rows, Sketch):
            check_sketch(side.name, side.rows, frequencies, scales)
    one_class = (
        first.rows.cosine.ndim == 1
        if isinstance(first.rows, Sketch)
        else (first.rows.ndim == 2 and first.sizes is None)
    )
    return (_as_sample(*first), _as_sample(*second)), one_class


def _taken_apart(side: _Given) -> _Given:
    """The same, with features, weights and sizes apart, however they were given."""
    name, rows, weights, sizes = side
    if isinstance(rows, (Ragged, Sketch)) and not (weights is None and sizes is None):
        raise ValueError(
            f"{name} features are {type(rows).__name__} and have weights and sizes of their own: "
            f"leave {name}_weights and {name}_sizes out"
        )
    if isinstance(rows, Sketch):
        return side
    if isinstance(rows, Ragged):
        ragged: Ragged = rows
        rows, weights, sizes = ragged.values, ragged.weights, ragged.sizes
    return _Given(name, as_features(f"{name} features", rows), weights, sizes)


def _as_sample(
    name: str, x: jax.Array | Sketch, weights: ArrayLike | None, sizes: tuple[int, ...] | None
) -> Ragged | Sketch:
    """Features [n, d], [C, n, d] or, with sizes, [N, d] as the rows of all classes."""
    if isinstance(x, Sketch):
        return x
    if sizes is not None:
        check_sizes(name, x, weights, sizes)
        sizes = tuple(sizes)
    elif x.ndim == 3:
        sizes = (x.shape[1],) * x.shape[0] if is_static(x) else None
    else:
        sizes = x.shape[:1]
    weights = None if weights is None else jnp.asarray(weights)
    if sizes is None:
        return Ragged(x, None, weights=weights)
    weights = None if weights is None else jnp.ravel(weights)
    return Ragged(x.reshape(-1, x.shape[-1]), sizes, weights=weights)


def features_of(comparison: Comparison) -> tuple[Ragged, Ragged]:
    """Both sides, where neither is a sketch."""
    real, synthetic = comparison.real, comparison.synthetic
    assert isinstance(real, Ragged) and isinstance(synthetic, Ragged)
    return real, synthetic


def exact_kernel(
    comparison: Comparison, estimator: str, kernel: GramFunction | None
) -> GramFunction | None:
    """The kernel if its MMD^2 is to be taken exactly, None if from the frequencies.

    Raises:
        ValueError: as `sdd_loss`.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"unknown estimator {estimator!r}: choose one of {list(ESTIMATORS)}")
    if estimator != "spectral":
        if kernel is None:
            raise ValueError(
                f"estimator {estimator!r} needs the kernel of the frequencies, got None: pass e.g. "
                "kernel=RBF(1.0)"
            )
        check_kernel(kernel)
    frequencies = comparison.frequencies
    sides = (comparison.real, comparison.synthetic)
    if estimator == "auto" and frequencies is not None:
        real, synthetic = (side.sizes if isinstance(side, Ragged) else None for side in sides)
        estimator = cheaper_estimator(real, synthetic, frequencies.shape[0], kernel)
    if estimator == "spectral":
        return None
    if not all(isinstance(side, Ragged) for side in sides):
        raise ValueError(
            f"estimator {estimator!r} needs the features of both sides, got a sketch: use "
            "estimator='spectral'"
        )
    if frequencies is None and not comparison.half:
        raise ValueError(
            "alpha other than a known 1/2 needs frequencies for the amplitude, got None: draw them "
            "with sample_frequencies"
        )
    if frequencies is not None and not comparison.half:
        _check_spectral(kernel)
    return kernel


def _check_spectral(kernel: GramFunction | None) -> None:
    """Raise a ValueError for a kernel that the frequencies cannot belong to."""
    if isinstance(kernel, Kernel) and not isinstance(kernel, SpectralKernel):
        raise ValueError(
            f"{kernel} has no spectral measure, and alpha other than 1/2 an amplitude that needs "
            "one: use an RBF, Laplace, IsotropicLaplace or Matern kernel, or alpha=0.5"
        )


def is_static(x: jax.Array) -> bool:
    """Whether all sizes are numbers, none a symbol of `jax.export`."""
    return all(isinstance(size, int) for size in x.shape)


def _check_classes(
    real: Ragged | Sketch, synthetic: Ragged | Sketch, alpha: ArrayLike, *, one_class: bool
) -> jax.Array:
    """Check that both sides have the same classes and alpha fits; it comes back as an array."""
    classes = real.num_classes
    if classes != synthetic.num_classes:
        raise ValueError(
            f"real features have {classes} classes, synthetic {synthetic.num_classes}: pass the "
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
