"""Class-Aware Spectral Distribution Matching in JAX.

The metric of the method, as pure functions of arrays: importing it needs jax alone. What distils,
tests and compares is imported when it is first asked for, and needs the extra `distil`.
"""

import difflib
from typing import Any

from csdm_jax import _moved, metric
from csdm_jax.metric import *  # noqa: F403
from csdm_jax.runtime.version import __version__ as __version__

METHOD = (
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
)
"""Names of `csdm_jax.api`."""

__all__ = metric.__all__
_moved.install()


def __getattr__(name: str) -> Any:
    name = _moved.present(name)
    if name not in METHOD:
        near = difflib.get_close_matches(name, METHOD, n=1, cutoff=0.8)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"module 'csdm_jax' has no attribute {name!r}{hint}")
    from csdm_jax.runtime import extras

    with extras.needed("distil"):
        from csdm_jax import api
    return getattr(api, name)


def __dir__() -> list[str]:
    return [*globals(), *METHOD]
