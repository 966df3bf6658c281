"""Class-Aware Spectral Distribution Matching in JAX.

The metric of the method, as pure functions of arrays. Importing it needs jax alone.
"""

from csdm_jax.characteristic import characteristic_function
from csdm_jax.distances import cfd_loss, sdd, sdd_loss, sdd_parts
from csdm_jax.dot_kernels import Cosine, Linear, Polynomial, Sigmoid
from csdm_jax.frequencies import sample_frequencies
from csdm_jax.kernels import RBF, IsotropicLaplace, Kernel, Laplace, Matern
from csdm_jax.mmd import mmd2
from csdm_jax.numerics import unit_features
from csdm_jax.schedules import class_alphas

__all__ = [
    "RBF",
    "Cosine",
    "IsotropicLaplace",
    "Kernel",
    "Laplace",
    "Linear",
    "Matern",
    "Polynomial",
    "Sigmoid",
    "cfd_loss",
    "characteristic_function",
    "class_alphas",
    "mmd2",
    "sample_frequencies",
    "sdd",
    "sdd_loss",
    "sdd_parts",
    "unit_features",
]
