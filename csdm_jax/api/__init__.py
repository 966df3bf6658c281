"""The method for arrays in memory: distil, evaluate, compare, and what registers one's own.

The same engine as the command line: configurations, stages, checkpoints, files in a folder. A call
with the same arguments goes on where an earlier one was stopped, or returns what it has made.
"""

from csdm_jax.api.comparing import Comparison, compare_methods
from csdm_jax.api.distilling import Distilled, distil
from csdm_jax.api.evaluating import Evaluation, evaluate
from csdm_jax.api.registering import (
    register_data,
    register_method,
    register_network,
    register_parameterisation,
)

__all__ = [
    "Comparison",
    "Distilled",
    "Evaluation",
    "compare_methods",
    "distil",
    "evaluate",
    "register_data",
    "register_method",
    "register_network",
    "register_parameterisation",
]
