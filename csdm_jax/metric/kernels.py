"""Shift-invariant kernels (CSDM, Table 1) and their spectral measures.

A kernel is a frozen dataclass: hashable, hence a static argument of `jax.jit`; or, made inside a
function from a traced scale, one in whose scale gradients are taken or that is mapped over. A new
shift-invariant kernel is one class that says its Gram matrix and how uniform numbers
become draws from its spectral measure.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammainc, gammaln, ndtri
from jax.typing import DTypeLike

from csdm_jax.metric.checks import as_features, known
from csdm_jax.metric.numerics import compute_dtype, rounded_product, row_chunks, safe_sqrt

DIFFERENCES = 2**18  # numbers of float32 that stay in a core's cache
# An entry of a kernel that is no product of matrices, in products; see benchmarks/README.md.
DIFFERENCE_COST = 16.0
ABSOLUTE_COST = 128.0  # of a sum of absolute differences
SYMBOLIC_TILE = 8  # rows at a time where a size is a symbol of `jax.export`

Scalar = float | jax.Array


def check_positive(name: str, value: Scalar) -> None:
    """Raise a ValueError unless the value is one number, positive and finite where it is known."""
    if np.shape(value) != ():
        raise ValueError(
            f"{name} must be one number, got shape {np.shape(value)}: use jax.vmap over several"
        )
    if known(value) is not None and not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, got {value}: pass e.g. {name}=1.0")


def wide_pair(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both samples in the dtype of the Gram matrix, or a ValueError if they do not fit."""
    x, y = as_features("x features", x), as_features("y features", y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"a kernel compares samples of shapes [n, d] and [m, d], got {x.shape} and "
            f"{y.shape}: take both from one network, one row per image"
        )
    dtype = compute_dtype(x, y)
    return x.astype(dtype), y.astype(dtype)


# Differences, not ||x||^2 + ||y||^2 - 2 x.y: that form loses half the digits of a small distance.
@jax.jit
def _l1_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    # Not abs: JAX's derivative of it at 0 is 1, so that coinciding rows would push each other.
    return _sums_over_coordinates(lambda delta: delta * jnp.sign(delta), x, y)


@jax.jit
def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    return _sums_over_coordinates(jnp.square, x, y)


def _sums_over_coordinates(
    term: Callable[[jax.Array], jax.Array], x: jax.Array, y: jax.Array
) -> jax.Array:
    """Sums over d of a function of the differences, for all pairs of rows, shape [n, m].

    The differences [n, m, d] are there for a few rows of x at a time, whatever the compiler fuses
    (the gradient's it does not): at most `DIFFERENCES` of them, or those of one row.
    """

    def of(rows: jax.Array) -> jax.Array:
        return jnp.sum(term(rows[:, None, :] - y[None, :, :]), axis=-1)

    n, (m, d) = x.shape[0], y.shape
    static = all(isinstance(size, int) for size in (n, m, d))
    tile = max(1, DIFFERENCES // max(1, m * d)) if static else SYMBOLIC_TILE
    if static and tile >= n:
        return of(x)
    rows = jax.checkpoint(of, prevent_cse=False)  # the gradient makes them anew
    return jax.lax.map(rows, row_chunks(x, tile)).reshape(-1, m)[:n]


def squared_distances_by_products(
    x: jax.Array, y: jax.Array, matmul_dtype: DTypeLike | None
) -> jax.Array:
    """The same from one matrix product, off by some 1e-7 of the largest squared norm."""
    x, y = wide_pair(x, y)
    (x, y), product = rounded_product(x, y, matmul_dtype)
    squares = [jnp.sum(jnp.square(rows), axis=1) for rows in (x, y)]
    return squares[0][:, None] + squares[1][None, :] - 2.0 * product


class Kernel:
    """A positive function of two feature vectors; `universal` and `shift_invariant` as Table 1.

    Called with samples x [n, d] and y [m, d] of any float dtype, it returns the Gram matrix
    [n, m] in float32 or wider. Its gradient is finite everywhere, at equal rows too.
    """

    universal: ClassVar[bool] = False
    shift_invariant: ClassVar[bool] = False
    gram_cost: ClassVar[float] = DIFFERENCE_COST
    """Of an entry of `gram`, in those of a matrix product of the same depth."""

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        raise NotImplementedError

    def gram(
        self, x: jax.Array, y: jax.Array, *, matmul_dtype: DTypeLike | None = None
    ) -> jax.Array:
        """The Gram matrix of rows near 0, where speed counts more than the last digits.

        A smooth kernel (RBF, Matern from nu = 3/2 on) takes one matrix product, whose factors are
        rounded to `matmul_dtype`. One with a peak, which would lose its digits at equal rows, sums
        differences as in a call.
        """
        del matmul_dtype
        return self(x, y)


GramFunction = Kernel | Callable[[jax.Array, jax.Array], jax.Array]
"""What compares samples [n, d] and [m, d] in a Gram matrix [n, m]."""


@runtime_checkable
class SpectralMeasure(Protocol):
    """What `sample_frequencies` draws from by any method: uniform numbers to frequencies."""

    def coordinates(self, dim: int) -> int:
        """How many uniform numbers one frequency in R^dim takes."""
        ...

    def frequencies(self, uniforms: jax.Array) -> jax.Array:
        """Draws [num, dim] from the spectral measure, from uniforms [num, coordinates(dim)]."""
        ...


@runtime_checkable
class Distribution(Protocol):
    """What `sample_frequencies` draws from by "iid": a distribution as NumPyro has them.

    A `spectral_density` of GPJax is one. One of scalars (`event_shape` of ()) gives each
    coordinate.
    """

    def sample(self, key: Any, sample_shape: tuple[int, ...]) -> jax.Array:
        """Independent draws, shape `[*sample_shape, *event_shape]`."""
        ...


class SpectralKernel(Kernel):
    """A universal, shift-invariant kernel: by Bochner's theorem it has a spectral measure."""

    universal = True
    shift_invariant = True

    def coordinates(self, dim: int) -> int:
        """How many uniform numbers one frequency in R^dim takes."""
        raise NotImplementedError

    def frequencies(self, uniforms: jax.Array) -> jax.Array:
        """Draws [num, dim] from the spectral measure, from uniforms [num, coordinates(dim)]."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class IsotropicKernel(SpectralKernel):
    """A kernel of `||x - y||_2`: its frequencies are Gaussian vectors of random length."""

    scale: Scalar

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def mixing(self, uniforms: jax.Array) -> jax.Array:
        """The factor that turns N(0, I) into the spectral measure, by inverse CDF; any shape."""
        raise NotImplementedError

    def coordinates(self, dim: int) -> int:
        return dim + 1

    def frequencies(self, uniforms: jax.Array) -> jax.Array:
        return self.scale * self.mixing(uniforms[:, :1]) * ndtri(uniforms[:, 1:])


@dataclasses.dataclass(frozen=True)
class RBF(IsotropicKernel):
    """Gaussian kernel `exp(-scale^2 ||x - y||_2^2 / 2)`; frequencies are N(0, scale^2 I).

    Args:
        scale: frequency scale (an inverse length scale), positive; of order 1 for unit features.

    Raises:
        ValueError: if the scale is not positive and finite.

    >>> round(RBF(scale=1.0)(jnp.zeros((1, 2)), jnp.ones((1, 2))).item(), 4)
    0.3679
    """

    gram_cost = 1.0

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return self._of_squared(squared_distances(*wide_pair(x, y)))

    def gram(
        self, x: jax.Array, y: jax.Array, *, matmul_dtype: DTypeLike | None = None
    ) -> jax.Array:
        return self._of_squared(squared_distances_by_products(x, y, matmul_dtype))

    def _of_squared(self, distances: jax.Array) -> jax.Array:
        return jnp.exp(-0.5 * self.scale**2 * distances)

    def mixing(self, uniforms: jax.Array) -> jax.Array:
        return jnp.ones_like(uniforms)


@dataclasses.dataclass(frozen=True)
class Laplace(SpectralKernel):
    """Laplace kernel `exp(-scale ||x - y||_1)`; frequencies are iid Cauchy(0, scale) per axis.

    Args:
        scale: frequency scale, positive.

    Raises:
        ValueError: if the scale is not positive and finite.

    >>> round(Laplace(scale=0.5)(jnp.zeros((1, 2)), jnp.ones((1, 2))).item(), 4)
    0.3679
    """

    gram_cost = ABSOLUTE_COST

    scale: Scalar

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.exp(-self.scale * _l1_distances(*wide_pair(x, y)))

    def coordinates(self, dim: int) -> int:
        return dim

    def frequencies(self, uniforms: jax.Array) -> jax.Array:
        # tan(pi (u - 1/2)) loses the tails to rounding near pi/2; the cotangent keeps them.
        tail = jnp.minimum(uniforms, 1.0 - uniforms)
        return jnp.where(uniforms < 0.5, -self.scale, self.scale) / jnp.tan(jnp.pi * tail)


@dataclasses.dataclass(frozen=True)
class Matern(IsotropicKernel):
    """Matern kernel of smoothness nu; frequencies are multivariate Student-t, 2 nu dof.

    With `z = sqrt(2 nu) scale ||x - y||_2` and `nu = p + 1/2`:
    `k = exp(-z) p!/(2p)! sum_k (2p-k)!/((p-k)! k!) (2z)^k`. It joins the isotropic Laplace
    kernel (nu = 1/2) to the RBF kernel (nu to infinity).

    Args:
        scale: frequency scale, positive.
        nu: smoothness, positive. Every value has frequencies; the Gram matrix needs a
            half-integer (1/2, 3/2, 5/2, ...), the others having no elementary form.

    Raises:
        ValueError: if scale or nu is not positive and finite; on a call, if nu is not a
            half-integer.

    >>> round(Matern(scale=1.0, nu=1.5)(jnp.zeros((1, 1)), jnp.ones((1, 1))).item(), 4)
    0.4834
    """

    nu: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("nu", self.nu)

    @property
    def gram_cost(self) -> float:  # type: ignore[override]
        """Of an entry of `gram`, in those of a matrix product of the same depth."""
        return 1.0 if self._smooth else DIFFERENCE_COST

    @property
    def _smooth(self) -> bool:
        return known(self.nu) is not None and self.nu > 1.0

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return self._of_squared(squared_distances(*wide_pair(x, y)))

    def gram(
        self, x: jax.Array, y: jax.Array, *, matmul_dtype: DTypeLike | None = None
    ) -> jax.Array:
        if not self._smooth:
            return self(x, y)
        return self._of_squared(squared_distances_by_products(x, y, matmul_dtype))

    def _of_squared(self, distances: jax.Array) -> jax.Array:
        if known(self.nu) is None:
            raise ValueError("Matern's Gram matrix needs a known nu: only scale may be traced")
        order = self.nu - 0.5
        if order < 0 or order != int(order):
            raise ValueError(
                f"Matern's Gram matrix needs nu = 1/2, 3/2, 5/2, ..., got nu={self.nu}: take the "
                "nearest half-integer, or use the frequencies of sample_frequencies instead"
            )
        p = int(order)
        z = math.sqrt(2 * self.nu) * self.scale * safe_sqrt(distances)
        series = jnp.zeros_like(z)
        for k in range(p, -1, -1):  # Horner's rule
            falling = math.comb(p, k) * math.factorial(2 * p - k) / math.factorial(2 * p)
            series = series * z + falling * 2.0**k
        return jnp.exp(-z) * series

    def mixing(self, uniforms: jax.Array) -> jax.Array:
        return jnp.sqrt(self.nu / _gamma_quantile(self.nu, uniforms))


@dataclasses.dataclass(frozen=True)
class IsotropicLaplace(IsotropicKernel):
    """Isotropic Laplace kernel `exp(-scale ||x - y||_2)`; frequencies are multivariate Cauchy.

    It is the Matern kernel with nu = 1/2.

    Args:
        scale: frequency scale, positive.

    Raises:
        ValueError: if the scale is not positive and finite.

    >>> round(IsotropicLaplace(scale=1.0)(jnp.zeros((1, 1)), jnp.ones((1, 1))).item(), 4)
    0.3679
    """

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return Matern(self.scale, 0.5)(x, y)

    def mixing(self, uniforms: jax.Array) -> jax.Array:
        return Matern(self.scale, 0.5).mixing(uniforms)


@dataclasses.dataclass(frozen=True)
class Mixture(SpectralKernel):
    """The mean of several kernels, such as one kernel at several scales.

    Its MMD^2 is the mean of theirs, and a frequency is one of a kernel drawn at random.

    Args:
        kernels: at least one; all shift-invariant where frequencies are drawn.

    Raises:
        ValueError: if there is none, or one is no kernel of this package.

    >>> both = Mixture((RBF(scale=1.0), RBF(scale=2.0)))
    >>> round(both(jnp.zeros((1, 1)), jnp.ones((1, 1))).item(), 4)
    0.3709
    """

    kernels: tuple[Kernel, ...]

    def __post_init__(self) -> None:
        if not self.kernels or not all(isinstance(kernel, Kernel) for kernel in self.kernels):
            raise ValueError(
                f"Mixture takes a tuple of kernels, got {self.kernels!r}: pass e.g. "
                "Mixture((RBF(1.0), RBF(3.0)))"
            )

    @property
    def shift_invariant(self) -> bool:  # type: ignore[override]
        """Whether all of its kernels are."""
        return all(kernel.shift_invariant for kernel in self.kernels)

    @property
    def universal(self) -> bool:  # type: ignore[override]
        """Whether one of its kernels is."""
        return any(kernel.universal for kernel in self.kernels)

    @property
    def gram_cost(self) -> float:  # type: ignore[override]
        """Of an entry of `gram`, in those of a matrix product of the same depth."""
        return sum(kernel.gram_cost for kernel in self.kernels)

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return _mean([kernel(x, y) for kernel in self.kernels])

    def gram(
        self, x: jax.Array, y: jax.Array, *, matmul_dtype: DTypeLike | None = None
    ) -> jax.Array:
        return _mean([k.gram(x, y, matmul_dtype=matmul_dtype) for k in self.kernels])

    def coordinates(self, dim: int) -> int:
        return 1 + max(kernel.coordinates(dim) for kernel in self._spectral())

    def frequencies(self, uniforms: jax.Array) -> jax.Array:
        kernels, rest = self._spectral(), uniforms[:, 1:]
        width = rest.shape[1]
        dim = next(d for d in range(width + 1) if self.coordinates(d) == width + 1)
        which = jnp.floor(uniforms[:, :1] * len(kernels)).astype(jnp.int32)
        drawn = [kernel.frequencies(rest[:, : kernel.coordinates(dim)]) for kernel in kernels]
        return jnp.select([which == number for number in range(len(kernels))], drawn)

    def _spectral(self) -> list[SpectralKernel]:
        found = [kernel for kernel in self.kernels if isinstance(kernel, SpectralKernel)]
        if len(found) < len(self.kernels):
            raise ValueError(
                f"{self} is not shift-invariant, so it has no spectral measure to draw from: mix "
                "RBF, Laplace, IsotropicLaplace and Matern kernels, or use mmd2"
            )
        return found


def _mean(grams: list[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, grams) / len(grams)


@dataclasses.dataclass(frozen=True)
class Energy(Kernel):
    """The kernel `-||x - y||_2` of the energy distance, which needs no scale.

    Conditionally positive definite: `mmd2` of it is the (squared) energy distance
    `2 E|x - y| - E|x - x'| - E|y - y'|`, 0 only for equal distributions. It is no mean of waves
    over a probability measure, so `sample_frequencies` cannot draw from it.

    Source: Szekely & Rizzo 2013; Sejdinovic et al. 2013.

    >>> print(Energy()(jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]])))
    [[-5.]]
    """

    universal = True  # characteristic, for distributions with a mean
    shift_invariant = True

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return -safe_sqrt(squared_distances(*wide_pair(x, y)))


@jax.jit
def _gamma_quantile(shape: float, uniforms: jax.Array) -> jax.Array:
    """Inverse CDF of Gamma(shape, 1) by bisection on the logarithm (JAX has no gammaincinv)."""
    # The CDF is at most g^shape / Gamma(shape + 1), which bounds the quantile from below.
    low = jnp.maximum((jnp.log(uniforms) + gammaln(shape + 1.0)) / shape, -80.0)
    high = jnp.full_like(uniforms, jnp.log(shape + 10.0 * jnp.sqrt(shape) + 20.0))

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = 0.5 * (low + high)
        below = gammainc(jnp.full_like(middle, shape), jnp.exp(middle)) < uniforms
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, 32, halve, (low, high))  # 85 * 2^-32: float32's resolution
    return jnp.exp(0.5 * (low + high))
