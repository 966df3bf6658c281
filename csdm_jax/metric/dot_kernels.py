"""Kernels of the inner product (CSDM, Table 1): neither universal nor shift-invariant."""

from __future__ import annotations

import dataclasses
import math
import numbers

import jax
import jax.numpy as jnp

from csdm_jax.metric.checks import known
from csdm_jax.metric.kernels import Kernel, Scalar, check_positive, wide_pair
from csdm_jax.metric.numerics import unit_features


def _finite(name: str, value: Scalar) -> None:
    if known(value) is not None and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}: pass e.g. {name}=1.0")


def _inner_products(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.matmul(x, y.T, preferred_element_type=x.dtype)


@dataclasses.dataclass(frozen=True)
class Linear(Kernel):
    """Linear kernel `x.y`: its MMD compares the means alone, the loss of DM.

    >>> print(Linear()(jnp.ones((1, 2)), jnp.ones((1, 2))))
    [[2.]]
    """

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return _inner_products(*wide_pair(x, y))


@dataclasses.dataclass(frozen=True)
class Polynomial(Kernel):
    """Polynomial kernel `(gamma x.y + coef0)^degree`.

    Args:
        degree: integer, at least 1.
        gamma: positive factor.
        coef0: finite offset.

    Raises:
        ValueError: if an argument is out of its range.

    >>> print(Polynomial(degree=2, gamma=1.0, coef0=1.0)(jnp.ones((1, 2)), jnp.ones((1, 2))))
    [[9.]]
    """

    degree: int
    gamma: Scalar
    coef0: Scalar

    def __post_init__(self) -> None:
        if not isinstance(self.degree, numbers.Integral) or self.degree < 1:
            raise ValueError(
                f"degree must be an integer of at least 1, got {self.degree}: pass e.g. degree=2"
            )
        check_positive("gamma", self.gamma)
        _finite("coef0", self.coef0)

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        inner = _inner_products(*wide_pair(x, y))
        return (self.gamma * inner + self.coef0) ** int(self.degree)


@dataclasses.dataclass(frozen=True)
class Sigmoid(Kernel):
    """Sigmoid kernel `tanh(gamma x.y + coef0)`; not positive definite in general.

    Args:
        gamma: positive factor.
        coef0: finite offset.

    Raises:
        ValueError: if an argument is out of its range.

    >>> round(Sigmoid(gamma=1.0, coef0=0.0)(jnp.ones((1, 1)), jnp.ones((1, 1))).item(), 4)
    0.7616
    """

    gamma: Scalar
    coef0: Scalar

    def __post_init__(self) -> None:
        check_positive("gamma", self.gamma)
        _finite("coef0", self.coef0)

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.tanh(self.gamma * _inner_products(*wide_pair(x, y)) + self.coef0)


@dataclasses.dataclass(frozen=True)
class Cosine(Kernel):
    """Cosine kernel `x.y / (||x||_2 ||y||_2)`; 0 where a row is zero.

    >>> round(Cosine()(jnp.ones((1, 2)), jnp.array([[2.0, 2.0]])).item(), 4)
    1.0
    """

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        x, y = wide_pair(x, y)
        return _inner_products(unit_features(x), unit_features(y))
