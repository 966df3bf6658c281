"""Class-Aware Spectral Distribution Matching in JAX.

The metric of the method, as pure functions of arrays. Importing it needs jax alone.
"""

from csdm_jax import _moved, metric
from csdm_jax.metric import *  # noqa: F403
from csdm_jax.runtime.version import __version__ as __version__

__all__ = metric.__all__
_moved.install()
