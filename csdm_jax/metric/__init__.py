"""Distances between distributions and what they are made of: pure functions that need JAX alone."""

from csdm_jax.metric.bandwidth import median_heuristic
from csdm_jax.metric.characteristic import characteristic_function
from csdm_jax.metric.distances import cfd_loss, sdd, sdd_loss, sdd_parts
from csdm_jax.metric.dot_kernels import Cosine, Linear, Polynomial, Sigmoid
from csdm_jax.metric.estimators import cheaper_estimator
from csdm_jax.metric.exact import reference
from csdm_jax.metric.frequencies import sample_frequencies
from csdm_jax.metric.gradients import sdd_gradients
from csdm_jax.metric.kernels import (
    RBF,
    Energy,
    IsotropicLaplace,
    Kernel,
    Laplace,
    Matern,
    Mixture,
)
from csdm_jax.metric.mmd import mmd2
from csdm_jax.metric.numerics import unit_features
from csdm_jax.metric.references import Reference
from csdm_jax.metric.schedules import class_alphas
from csdm_jax.metric.sketches import Sketch, merge, sketch
from csdm_jax.metric.two_sample import sdd_test

__all__ = [
    "RBF",
    "Cosine",
    "Energy",
    "IsotropicLaplace",
    "Kernel",
    "Laplace",
    "Linear",
    "Matern",
    "Mixture",
    "Polynomial",
    "Reference",
    "Sigmoid",
    "Sketch",
    "cfd_loss",
    "characteristic_function",
    "cheaper_estimator",
    "class_alphas",
    "median_heuristic",
    "merge",
    "mmd2",
    "reference",
    "sample_frequencies",
    "sdd",
    "sdd_gradients",
    "sdd_loss",
    "sdd_parts",
    "sdd_test",
    "sketch",
    "unit_features",
]
