"""Random frequencies: draws from a kernel's spectral measure (CSDM, Theorem 4.2)."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from csdm_jax.metric.checks import check_kernel
from csdm_jax.metric.kernels import Distribution, IsotropicKernel, Kernel, SpectralMeasure
from csdm_jax.metric.numerics import uniforms, unit_interval
from csdm_jax.metric.rotations import orthonormal_rows


def sample_frequencies(
    key: jax.Array,
    kernel: Kernel | SpectralMeasure | Distribution,
    num: int,
    dim: int,
    *,
    method: str = "iid",
) -> jax.Array:
    """Draw frequencies from the spectral measure of a shift-invariant kernel.

    `k(x, y) = E_t exp(i t.(x - y))`, so an average over these draws estimates the kernel, and
    `sdd` on them estimates MMD^2. Each method is unbiased: every row, taken alone, follows the
    spectral measure. They differ in how the rows depend on each other:

    - "iid": independent rows; the error falls as num^(-1/2).
    - "qmc": a randomly shifted Kronecker sequence through the inverse CDF. Much smaller error
      in few dimensions; in hundreds of dimensions about that of "iid".
    - "orthogonal": blocks of `dim` orthogonal rows with independent lengths, for isotropic
      kernels: the smallest error where num is near dim or above. The rows are exactly orthogonal
      and each exactly follows the measure, in every dimension; taken together they are not
      uniform on the orthogonal group, and spread estimates alike (see `rotations`). The cost is
      that of "iid" or less, num * dim * sqrt(dim) in small matrix products, without a
      factorisation.

    Args:
        key: JAX random key.
        kernel: `RBF`, `Laplace`, `IsotropicLaplace`, `Matern` or a `Mixture` of them; any object
            with the two methods of a `SpectralMeasure`; or, for "iid", a `Distribution` of
            frequencies, such as a `spectral_density` of GPJax or what NumPyro has.
        num: number of frequencies, at least 1.
        dim: dimension of the features, at least 1.
        method: "iid", "qmc" or "orthogonal".

    Returns:
        Frequencies, shape [num, dim], float32.

    Raises:
        ValueError: if the kernel is a class or has no spectral measure, the method is unknown or
            needs an isotropic kernel, or num or dim is below 1.

    Source: CSDM, Theorem 4.2; random features: Rahimi & Recht 2007; "orthogonal": Yu et al.
    2016, built after Genz 1998 and Stewart 1980; "qmc": Cranley & Patterson 1976, Yang et al. 2014.

    >>> from csdm_jax import RBF
    >>> sample_frequencies(jax.random.key(0), RBF(scale=1.0), 64, 8).shape
    (64, 8)
    """
    if isinstance(kernel, type):
        check_kernel(kernel)
    if not isinstance(kernel, (SpectralMeasure, Distribution)):
        raise ValueError(
            f"{kernel} is not shift-invariant, so Bochner's theorem gives it no spectral measure "
            "to draw from: use mmd2 with it, or an RBF, Laplace, IsotropicLaplace or Matern kernel"
        )
    if method not in METHODS:
        raise ValueError(f"unknown frequency method {method!r}: choose one of {sorted(METHODS)}")
    for name, value in (("num", num), ("dim", dim)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}: pass e.g. {name}=1024")
    if isinstance(kernel, SpectralMeasure):
        return METHODS[method](key, kernel, num, dim)
    return _from_distribution(key, kernel, num, dim, method)


def _from_distribution(
    key: jax.Array, distribution: Distribution, num: int, dim: int, method: str
) -> jax.Array:
    if method != "iid":
        raise ValueError(
            f"method {method!r} needs a spectral measure that takes uniform numbers, got "
            f"{type(distribution).__name__}: use 'iid', or a kernel of this package"
        )
    scalars = getattr(distribution, "event_shape", (dim,)) == ()
    drawn = distribution.sample(key, (num, dim) if scalars else (num,))
    if drawn.shape != (num, dim):
        raise ValueError(
            f"{type(distribution).__name__} drew frequencies of shape {drawn.shape}, expected "
            f"{(num, dim)}: give it an event_shape of ({dim},) or ()"
        )
    return drawn.astype(jnp.float32)


def _iid(key: jax.Array, kernel: SpectralMeasure, num: int, dim: int) -> jax.Array:
    return kernel.frequencies(uniforms(key, (num, kernel.coordinates(dim))))


def _qmc(key: jax.Array, kernel: SpectralMeasure, num: int, dim: int) -> jax.Array:
    # Integer arithmetic modulo 2^32 is exact, where j * sqrt(p) in float32 would lose its
    # fractional part. The shift (Cranley-Patterson) makes every point uniform.
    steps = jnp.array(_kronecker_steps(kernel.coordinates(dim)), dtype=jnp.uint32)[None, :]
    shift = jax.random.bits(key, steps.shape, jnp.uint32)
    points = jnp.arange(num, dtype=jnp.uint32)[:, None] * steps + shift
    return kernel.frequencies(unit_interval(points))


def _orthogonal(key: jax.Array, kernel: SpectralMeasure, num: int, dim: int) -> jax.Array:
    if not isinstance(kernel, IsotropicKernel):
        raise ValueError(
            f"method 'orthogonal' needs an isotropic kernel, got {kernel}: use 'iid' or 'qmc', or "
            "an RBF, IsotropicLaplace or Matern kernel"
        )
    rotation_key, length_key, mixing_key = jax.random.split(key, 3)
    rows = min(num, dim)
    blocks = orthonormal_rows(rotation_key, math.ceil(num / rows), rows, dim)
    directions = blocks.reshape(-1, dim)[:num]
    lengths = jnp.sqrt(jax.random.chisquare(length_key, dim, (num, 1), jnp.float32))
    return kernel.scale * kernel.mixing(uniforms(mixing_key, (num, 1))) * lengths * directions


METHODS = {"iid": _iid, "qmc": _qmc, "orthogonal": _orthogonal}


@functools.lru_cache(maxsize=8)
def _kronecker_steps(count: int) -> tuple[int, ...]:
    """The fractional parts of the square roots of the first primes, in units of 2^-32."""
    bound = 16 + int(1.2 * count * math.log(count + 2)) + count  # above the count-th prime
    is_prime = bytearray([1]) * bound
    for factor in range(2, math.isqrt(bound) + 1):
        is_prime[factor * factor :: factor] = bytes(len(is_prime[factor * factor :: factor]))
    primes = [number for number in range(2, bound) if is_prime[number]][:count]
    return tuple(math.isqrt(prime << 64) & 0xFFFFFFFF for prime in primes)
