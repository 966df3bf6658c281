"""Distribution matching: one recipe under different metrics."""

from csdm_jax.distillation.methods.matching.matching import Matching

__all__ = ["Matching"]
