"""Checks of shapes and concrete values, made before anything is compiled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike


def known(array: ArrayLike) -> np.ndarray | None:
    """The values as float32, or None where jit, grad or vmap trace them.

    NumPy, because under `jit` a JAX comparison is traced even if its operands are known.
    """
    return None if isinstance(array, jax.core.Tracer) else np.asarray(array, np.float32)


def as_features(name: str, x: ArrayLike | None) -> jax.Array:
    """The values as a real array, integers and booleans as float32; lists of numbers are taken.

    Raises:
        ValueError: if they are complex, not numbers, or rows of different lengths.
    """
    try:
        array = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be an array of numbers, got {type(x).__name__}: stack rows of equal "
            "length with jnp.stack"
        ) from error
    if not (array.dtype == bool or jnp.issubdtype(array.dtype, jnp.number)):
        raise ValueError(f"{name} must be numbers, got dtype {array.dtype}: pass float32")
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(
            f"{name} must be real, got dtype {array.dtype}: pass real and imaginary parts as "
            "features of their own"
        )
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    return array if floating else array.astype(jnp.float32)


def check_sample(
    name: str,
    x: jax.Array,
    frequencies: jax.Array | None,
    weights: ArrayLike | None,
    *,
    ranks: tuple[int, ...] = (2, 3),
) -> None:
    """Raise a ValueError unless features, frequencies and weights fit together."""
    if x.ndim not in ranks:
        expected = " or ".join({2: "[n, d]", 3: "[classes, n, d]"}[rank] for rank in ranks)
        raise ValueError(
            f"{name} features must have shape {expected}, got {x.shape}: flatten the features of "
            "an image to one row"
        )
    if 0 in x.shape:
        raise ValueError(f"{name} features are empty, shape {x.shape}: leave that class out")
    if frequencies is not None:
        _check_frequencies(name, x, frequencies)
    if weights is not None:
        check_weights(name, x, weights)


def _check_frequencies(name: str, x: jax.Array, frequencies: jax.Array) -> None:
    if frequencies.ndim != 2 or frequencies.shape[0] == 0:
        raise ValueError(
            f"frequencies must have shape [T, d] with T >= 1, got {frequencies.shape}: draw them "
            "with sample_frequencies"
        )
    if frequencies.shape[1] != x.shape[-1]:
        raise ValueError(
            f"{name} features have d={x.shape[-1]}, frequencies d={frequencies.shape[1]}: draw "
            f"the frequencies with dim={x.shape[-1]}"
        )


def check_weights(name: str, x: jax.Array, weights: ArrayLike) -> None:
    """Raise a ValueError unless there is a weight for each row, and some for each class."""
    if np.shape(weights) != x.shape[:-1]:
        raise ValueError(
            f"{name} weights have shape {np.shape(weights)}, features {x.shape}: pass one weight "
            f"per row, shape {x.shape[:-1]}"
        )
    values = known(weights)
    if values is None:
        return
    if not np.all(np.isfinite(values) & (values >= 0)):
        raise ValueError(
            f"{name} weights must be finite and non-negative, got values from {values.min()} to "
            f"{values.max()}: use 1 for a sample and 0 for padding"
        )
    if not np.all(values.max(axis=-1) > 0):
        raise ValueError(
            f"{name} weights of a class are all zero, shape {values.shape}: leave that class out"
        )


def check_two_rows(name: str, weights: ArrayLike) -> None:
    """Raise a ValueError unless two rows of one sample have a weight, where weights are known."""
    values = known(weights)
    if values is not None and np.sum(values > 0) < 2:
        raise ValueError(
            f"unbiased=True needs two rows of {name} with a weight above 0, got "
            f"{int(np.sum(values > 0))}: take more samples or unbiased=False"
        )


def check_shared(name: str, share: ArrayLike) -> None:
    """Raise a ValueError if one row has all the weight of a sample, where its share is known."""
    value = known(share)
    if value is not None and not value < 1.0 - 1e-6:
        raise ValueError(
            f"unbiased=True needs two rows of {name} with a weight above 0, got a sketch of one: "
            "merge more samples or unbiased=False"
        )


def check_kernel(kernel: object) -> None:
    """Raise a ValueError for a kernel's class in place of a kernel, and for what is no function."""
    if isinstance(kernel, type):
        fields = ", ".join(f"{name}=..." for name in getattr(kernel, "__dataclass_fields__", ()))
        raise ValueError(
            f"kernel is the class {kernel.__name__}, not a kernel: pass {kernel.__name__}({fields})"
        )
    if not callable(kernel):
        raise ValueError(f"kernel must be a kernel or a function, got {kernel!r}: pass RBF(1.0)")


def check_chunks(**chunks: int | None) -> None:
    """Raise a ValueError if a chunk size is below 1."""
    for name, size in chunks.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}: pass None for all at once")


def check_sizes(name: str, x: jax.Array, weights: ArrayLike | None, sizes: tuple[int, ...]) -> None:
    """Raise a ValueError unless [N, d] features are made of classes of these sizes."""
    if x.ndim != 2:
        raise ValueError(
            f"{name}_sizes belongs to {name} features of shape [N, d], got {x.shape}: put the "
            "classes one after the other"
        )
    if min(sizes, default=0) < 1 or sum(sizes) != len(x):
        raise ValueError(
            f"{name}_sizes {tuple(sizes)} must be positive and add up to the {len(x)} rows of the "
            f"{name} features: leave an empty class out"
        )
    values = None if weights is None else known(weights)
    starts = np.cumsum(sizes) - np.array(sizes)
    if values is not None and not np.all(np.maximum.reduceat(values, starts) > 0):
        raise ValueError(
            f"{name} weights of a class are all zero, {name}_sizes {tuple(sizes)}: leave that "
            "class out"
        )


def checked_scales(scales: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """The scales as a tuple of numbers, or a ValueError unless they are positive and finite."""
    if scales is None:
        return None
    values = np.asarray(scales, np.float32)
    if values.ndim != 1 or len(values) == 0 or not np.all(np.isfinite(values) & (values > 0)):
        raise ValueError(
            f"scales must be positive finite numbers, got {scales!r}: pass e.g. scales=(0.5, 1, 2)"
        )
    return tuple(float(scale) for scale in scales)


def check_matmul_dtype(dtype: DTypeLike | None) -> None:
    """Raise a ValueError unless the dtype is floating or None."""
    if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"matmul_dtype must be floating, such as 'bfloat16', got {dtype!r}: pass None to "
            "multiply in the features' precision"
        )


def check_pair(
    first: tuple[str, jax.Array, ArrayLike | None],
    second: tuple[str, jax.Array, ArrayLike | None],
    frequencies: jax.Array | None,
    *,
    ranks: tuple[int, ...] = (2, 3),
) -> None:
    """Raise a ValueError unless two (name, features, weights) can be compared."""
    (name, x, _), (other, y, _) = first, second
    if x.ndim == y.ndim and x.ndim > 0 and x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"{name} features have d={x.shape[-1]}, {other} d={y.shape[-1]}: take both from one "
            "network"
        )
    for sample in (first, second):
        check_sample(sample[0], sample[1], frequencies, sample[2], ranks=ranks)
    if x.shape[:-2] != y.shape[:-2]:
        raise ValueError(
            f"{name} features have shape {x.shape}, {other} {y.shape}: pass the same classes on "
            "both sides, [classes, n, d] and [classes, m, d]"
        )
