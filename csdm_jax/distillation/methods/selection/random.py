"""Random: real images in the same parameterisation, not optimised. The floor of every table.

They are those that a matching method of the same seed starts from where `distill.initialisation`
is "random".

Source: none.
Cost: none.
Deviations: with recipe=published tested by DeepCore's recipe, a staircase near its cosine, on the
networks of the configuration.
Licence: none needed.
Status: tested; published settings of DeepCore, but for the cosine.
"""

from __future__ import annotations

from typing import Any

from csdm_jax.distillation.methods.base import Context
from csdm_jax.distillation.methods.selection.published import TESTED
from csdm_jax.distillation.methods.selection.selection import Selection, kind
from csdm_jax.distillation.starts import random


def create(config: Any, context: Context) -> Selection:
    """Random selection under the same storage budget."""
    return Selection(config, context, random.images)


KIND = kind(create, published=TESTED)
