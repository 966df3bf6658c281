"""Distillation methods by name.

A method is one small file with a factory `create(config, context) -> Method` and one line in
`METHODS`. The loop knows the interface of `csdm_jax.distillation.methods.base` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csdm_jax.distillation.methods import csdm, dm, mmd, ncfm, random
from csdm_jax.distillation.methods.base import Context, Method
from csdm_jax.runtime.registry import lookup

METHODS: dict[str, Callable[[Any, Context], Method]] = {
    "csdm": csdm.create,
    "csdm_single": csdm.create_single,
    "dm": dm.create,
    "mmd": mmd.create,
    "ncfm": ncfm.create,
    "random": random.create,
}


def create(name: str, config: Any, context: Context) -> Method:
    """A method by name.

    Raises:
      ValueError: for an unknown name.
    """
    return lookup(METHODS, name, "method")(config, context)
