"""Orthonormal rows, each uniform on the sphere, at a cost of the order of what is returned.

A matrix that is uniform on the orthogonal group (a QR decomposition of Gaussian numbers) has such
rows, at a cost of dim^3 in sequential steps. Here only the rows are uniform, one by one, which is
all that an unbiased average over them needs. Two steps build `dim` of them from smaller ones:

- even dim: with a, b the i-th rows of two independent such matrices of half the size, and
  `cos^2 theta_i ~ Beta(dim/4, dim/4)`, the rows are `(a cos theta_i, b sin theta_i)` and
  `(-a sin theta_i, b cos theta_i)`. They are orthogonal, and uniform: the squared length of half
  of a uniform vector follows that Beta law, independently of the directions of its halves.
- odd dim: a uniform vector u, and the rows of a matrix of size dim - 1 carried by a Householder
  reflection into the hyperplane orthogonal to u. A uniform vector in a uniform hyperplane is
  uniform.

Rows for vectors with few entries would depend on each other through the few angles that meet
these. So the columns are mixed first by an orthogonal matrix without zeros, a Kronecker product of
two small ones, and random signs; what is orthogonal and uniform stays so. The spread of averages
over the rows is then that of uniform orthogonal matrices (benchmarks/README.md).

Sources: angles in a tree (butterfly matrices): Genz 1998; a reflection for one more dimension:
Stewart 1980; structured orthogonal features: Choromanski et al. 2017.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax.metric.numerics import uniforms

Shape = tuple[int, int, int]  # matrices, rows of each, dimension


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def orthonormal_rows(key: jax.Array, count: int, rows: int, dim: int) -> jax.Array:
    """Independent matrices with orthonormal rows, each row uniform on the unit sphere.

    No factorisation: some (2 sqrt(dim) + 4) multiplications an entry, in matrix products and
    elementwise, and of the order of log(rows) random numbers a row.

    Args:
        key: JAX random key.
        count: number of matrices.
        rows: of each matrix, from 1 to dim.
        dim: dimension, at least 1.

    Returns:
        Array [count, rows, dim], float32.

    >>> q = orthonormal_rows(jax.random.key(0), 1, 2, 3)[0]
    >>> bool(jnp.allclose(q @ q.T, jnp.eye(2), atol=1e-6))
    True
    """
    vector_key, angle_key, sign_key = jax.random.split(key, 3)
    shapes = _shapes((count, rows, dim))
    vectors, angles = _unit_vectors(vector_key, shapes), _angles(angle_key, shapes)
    q = vectors.pop()
    for shape in reversed(shapes[:-1]):
        q = _add_dimension(q, vectors.pop()) if shape[2] % 2 else _join_halves(q, *angles.pop())
        q = q[:, : shape[1]]
    return _mix_columns(sign_key, q)


def _shapes(shape: Shape) -> list[Shape]:
    """The shapes of all steps, from what is asked for down to matrices of one row."""
    shapes = [shape]
    while shapes[-1][1] > 1:
        count, rows, dim = shapes[-1]
        smaller = (count, rows - 1, dim - 1) if dim % 2 else (2 * count, (rows + 1) // 2, dim // 2)
        shapes.append(smaller)
    return shapes


def _unit_vectors(key: jax.Array, shapes: list[Shape]) -> list[jax.Array]:
    """Uniform unit vectors [count, 1, dim]: one for every odd dimension, and the last rows."""
    needed = [(n, 1, dim) for n, rows, dim in shapes if dim % 2 or rows == 1]
    cuts = np.cumsum([n * dim for n, _, dim in needed])
    # One draw for all: each call of a generator takes as long to compile as all the rest.
    gaussian = jnp.split(jax.random.normal(key, (int(cuts[-1]),), jnp.float32), cuts[:-1])
    vectors = [part.reshape(shape) for part, shape in zip(gaussian, needed, strict=True)]
    return [v / jnp.linalg.norm(v, axis=-1, keepdims=True) for v in vectors]


def _angles(key: jax.Array, shapes: list[Shape]) -> list[tuple[jax.Array, jax.Array]]:
    """Cosines and sines [count, pairs of rows, 1] for every even dimension.

    `cos^2 ~ Beta(h/2, h/2)`, h half the dimension, so that `cos 2 theta` is a coordinate of a
    uniform vector in h + 1 dimensions; two coordinates have a squared length of
    `1 - U^(2 / (h - 1))` and a uniform direction (Devroye 1986, symmetric beta).
    """
    needed = [(n, (rows + 1) // 2, dim // 2) for n, rows, dim in shapes if rows > 1 and not dim % 2]
    sizes = [n * pairs for n, pairs, _ in needed]
    powers = np.repeat([2.0 / max(half - 1, 1e-9) for *_, half in needed], sizes)
    radius, turn = uniforms(key, (2, sum(sizes)))
    radius = jnp.sqrt(-jnp.expm1(jnp.asarray(powers, jnp.float32) * jnp.log(radius)))
    double = radius * jnp.cos(2.0 * jnp.pi * turn)
    parts = jnp.split(jnp.sqrt(0.5 + 0.5 * jnp.stack([double, -double])), np.cumsum(sizes), axis=1)
    shaped = [part.reshape(2, n, -1, 1) for part, (n, *_) in zip(parts, needed, strict=False)]
    return [(part[0], part[1]) for part in shaped]


def _join_halves(q: jax.Array, cosine: jax.Array, sine: jax.Array) -> jax.Array:
    """Two rows in twice the dimension from each pair of rows of two matrices."""
    a, b = jnp.split(q, 2)
    first = jnp.concatenate([cosine * a, sine * b], axis=-1)
    return jnp.concatenate([first, jnp.concatenate([-sine * a, cosine * b], axis=-1)], axis=1)


def _add_dimension(q: jax.Array, u: jax.Array) -> jax.Array:
    """u, and the rows of q in the hyperplane orthogonal to it."""
    normal = u.at[..., 0].add(jnp.where(u[..., 0] < 0, -1.0, 1.0))  # reflects e_1 to u or -u
    q = jnp.pad(q, ((0, 0), (0, 0), (1, 0)))
    along = jnp.sum(q * normal, axis=-1, keepdims=True)
    length = jnp.sum(jnp.square(normal), axis=-1, keepdims=True)
    return jnp.concatenate([u, q - (2.0 / length) * along * normal], axis=1)


def _mix_columns(key: jax.Array, q: jax.Array) -> jax.Array:
    """q times a random orthogonal matrix that spreads each vector over all columns.

    Signs after each product: the transform of a transform would be concentrated again.
    """
    count, rows, dim = q.shape
    root = math.isqrt(dim)
    a = next((n for n in range(root, root // 2, -1) if dim % n == 0), root)
    reach = a * (dim // a)  # below dim where it has no such divisor: then from both ends
    for start in sorted({0, dim - reach}):
        part = q[..., start : start + reach].reshape(count, rows, a, reach // a)
        part = jnp.matmul(part, _hartley(reach // a), precision="highest")
        part = jnp.einsum("nrab,ac->nrcb", part, _hartley(a), precision="highest")
        q = q.at[..., start : start + reach].set(part.reshape(count, rows, reach))
        signs = jax.random.rademacher(jax.random.fold_in(key, start), (count, 1, dim), jnp.float32)
        q = q * signs
    return q


def _hartley(size: int) -> jax.Array:
    """The discrete Hartley transform: an orthogonal, symmetric matrix for every size."""
    angles = 2.0 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
    return jnp.asarray((np.cos(angles) + np.sin(angles)) / math.sqrt(size), jnp.float32)
