"""Numerics shared by kernels and distances: safe roots, dtypes, unit features."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from csdm_jax.metric.checks import as_features

_TINY = 1e-30  # squared norms below this count as 0, so that no gradient divides by 0


def safe_sqrt(squared: jax.Array) -> jax.Array:
    """Square root, element by element, with gradient 0 at 0, where that of `sqrt` is infinite."""
    positive = squared > _TINY
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def compute_dtype(*arrays: jax.Array) -> jnp.dtype:
    """float64 if any array has it, else float32: half precision is for storage only."""
    doubles = any(jnp.asarray(array).dtype == jnp.float64 for array in arrays)
    return jnp.dtype(jnp.float64 if doubles else jnp.float32)


def rounded_product(
    x: jax.Array, y: jax.Array, dtype: DTypeLike | None
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """The rows of x and y, rounded to a dtype if one is given, and their inner products [n, m].

    Sums are in the dtype of x; the gradient passes the rounding as if it were none.
    """
    if dtype is None or jnp.dtype(dtype) == x.dtype:
        return (x, y), jnp.matmul(x, y.T, precision="highest")
    x, y = (
        rows + jax.lax.stop_gradient(rows.astype(dtype).astype(rows.dtype) - rows)
        for rows in (x, y)
    )
    return (x, y), _narrow_product(x, y, jnp.dtype(dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _narrow_product(x: jax.Array, y: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`x y^T` of narrow factors. Its gradients, which are to cancel, are kept wide."""
    return _matmul_of(x, y.T, dtype)


def _matmul_of(a: jax.Array, b: jax.Array, dtype: jnp.dtype) -> jax.Array:
    return jnp.matmul(a.astype(dtype), b.astype(dtype), preferred_element_type=a.dtype)


_narrow_product.defvjp(
    lambda x, y, dtype: (_narrow_product(x, y, dtype), (x, y)),
    lambda dtype, rows, g: (_matmul_of(g, rows[1], dtype), _matmul_of(g.T, rows[0], dtype)),
)


def row_chunks(array: jax.Array, size: int) -> jax.Array:
    """Split the first axis into chunks, zero-padded to a whole number of them."""
    count = -(-array.shape[0] // size)
    padding = [(0, count * size - array.shape[0])] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(count, size, *array.shape[1:])


def varying_like(constant: jax.Array, *arrays: jax.Array) -> jax.Array:
    """The constant, typed as varying over the mesh axes of `jax.shard_map` that the arrays do.

    A loop that starts from a constant and adds such arrays keeps one type.
    """
    axes = frozenset().union(*map(_varying_axes, arrays))
    return jax.lax.pcast(constant, tuple(axes), to="varying") if axes else constant


def _varying_axes(array: jax.Array) -> frozenset[str]:
    kind = jax.typeof(array)
    if hasattr(kind, "manual_axis_type"):
        return kind.manual_axis_type.varying
    return getattr(kind, "vma", frozenset())  # its name before jax 0.10


def uniforms(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Random numbers in the open interval (0, 1), float32."""
    return unit_interval(jax.random.bits(key, shape, jnp.uint32))


def unit_interval(bits: jax.Array) -> jax.Array:
    """Random bits to the midpoints of 2^23 cells of (0, 1): never 0 or 1, symmetric about 1/2."""
    return ((bits >> 9).astype(jnp.float32) + 0.5) * 2.0**-23


def unit_features(x: ArrayLike) -> jax.Array:
    """Scale every feature vector to Euclidean length 1: `x / ||x||_2`.

    It brings networks and data sets to one scale, so that one kernel scale serves all.
    A zero vector stays zero and receives a zero gradient.

    Args:
        x: features, shape [..., d], any real dtype; the norm is taken in float32 or wider.

    Returns:
        Array of the shape and dtype of `x`; float32 for integers.

    Raises:
        ValueError: if the features are complex or not an array of numbers.

    Source: NCFM (Wang et al. 2025), feature normalisation.

    >>> unit_features(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    x = as_features("features", x)
    wide = x.astype(compute_dtype(x))
    # Dividing by the largest entry first keeps the squares of huge and tiny vectors in range.
    peak = jax.lax.stop_gradient(jnp.max(jnp.abs(wide), axis=-1, keepdims=True))
    wide = wide / jnp.where(peak > 0, peak, 1.0)
    norm = safe_sqrt(jnp.sum(jnp.square(wide), axis=-1, keepdims=True))
    return jnp.where(norm > 0, wide / jnp.where(norm > 0, norm, 1.0), 0.0).astype(x.dtype)


# Chebyshev fits on [-pi/2, pi/2], in powers of r^2: sin(r) / r to 7e-9 and cos(r) to 1e-12.
_SINE = (1.0, -0.16666666616857523, 8.333330975243459e-3, -1.9840861260139394e-4,
         2.7525271856160387e-6, -2.3889223372566106e-8)  # fmt: skip
_COSINE = (1.0, -0.4999999999701437, 4.166666647290818e-2, -1.3888884171347196e-3,
           2.480103993714963e-5, -2.7524669479027243e-7, 1.9907475899778355e-9)  # fmt: skip
# pi in three parts; the first has few bits, so that its multiples are exact in float32.
_PI_PARTS = (3.140625, 9.6797943115234375e-4, -3.2584136988589307e-7)


@jax.custom_jvp
def sincos(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sine and cosine in one, from one range reduction.

    In float32 the absolute error is below 3e-7 up to |x| = 1e6, where float32 itself resolves a
    phase to 0.06; beyond, values stay in [-1, 1]. XLA's own functions are more accurate (4e-8)
    and take five times as long on a CPU. Other dtypes use those.

    Args:
        x: any shape, radians.

    Returns:
        Sine and cosine, each of the shape and dtype of `x`.

    >>> [round(float(value), 6) for value in sincos(jnp.array(1.0))]
    [0.841471, 0.540302]
    """
    if x.dtype != jnp.float32:
        return jnp.sin(x), jnp.cos(x)
    half_turns = jnp.round(x * (1.0 / jnp.pi))
    rest = x
    for part in _PI_PARTS:
        rest = rest - half_turns * part
    rest = jnp.clip(rest, -0.6 * jnp.pi, 0.6 * jnp.pi)  # changes nothing below 1e6
    square = jnp.square(rest)
    sine, cosine = rest * _horner(_SINE, square), _horner(_COSINE, square)
    odd = half_turns.astype(jnp.int32) & 1 == 1
    return jnp.where(odd, -sine, sine), jnp.where(odd, -cosine, cosine)


@sincos.defjvp
def _sincos_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    (sine, cosine), (dx,) = sincos(*primals), tangents
    return (sine, cosine), (cosine * dx, -sine * dx)


def _horner(coefficients: tuple[float, ...], z: jax.Array) -> jax.Array:
    value = jnp.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * z + coefficient
    return value
