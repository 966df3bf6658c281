"""Starts: what makes the images from which synthetic ones begin, mostly real ones, by name.

A start is one small file with a `Start`, and one line in `STARTS`. Methods that choose images
themselves, such as "random", take none.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any

import jax

from csdm_jax.distillation.context import Context
from csdm_jax.distillation.needs import Need, Pool
from csdm_jax.distillation.starts import herding, kmeans, noise, random, realism
from csdm_jax.distillation.starts.base import Start
from csdm_jax.runtime.registry import Registry, lookup
from csdm_jax.training import extractors

STARTS: Registry[Start] = Registry(
    "start",
    "csdm_jax.starts",
    {
        "herding": herding.START,
        "kmeans": kmeans.START,
        "noise": noise.START,
        "random": random.START,
        "realism": realism.START,
    },
)


def check(name: str, method: str, needs: Sequence[Need]) -> None:
    """Refuses a start that a method cannot have.

    Args:
      name: of the start.
      method: its name, for the message.
      needs: what it is supplied with.

    Raises:
      ValueError: for an unknown start, or one that reads extractors where none are supplied.
    """
    if lookup(STARTS, name, "start").reads_pool and Pool() not in needs:
        others = ", ".join(one for one, start in STARTS.items() if not start.reads_pool)
        raise ValueError(
            f"distill.initialisation = {name!r} reads the extractors, and the method {method!r} "
            f"is supplied with none: choose {others} for it"
        )


def table() -> str:
    """The registered starts as a Markdown table: name and idea."""
    lines = ["| start | idea | reads the extractors |", "|---|---|---|"]
    for name, start in STARTS.items():
        text = inspect.getdoc(sys.modules[start.images.__module__]) or ""
        reads = "yes" if start.reads_pool else "no"
        lines.append(f"| `{name}` | {text.splitlines()[0]} | {reads} |")
    return "\n".join(lines)


def images(
    name: str, context: Context, wanted: int, key: jax.Array, supplied: tuple[Any, ...]
) -> jax.Array:
    """The first images.

    Args:
      name: of the start.
      context: data, network and normalisation.
      wanted: images of every class.
      key: decides what is random in the choice.
      supplied: what the method is supplied with.

    Returns:
      float32 `[C * wanted, H, W, ch]` in [0, 1], class-major.

    Raises:
      ValueError: for an unknown start, or one that reads a pool where none is supplied.
    """
    start = lookup(STARTS, name, "start")
    if not start.reads_pool:
        return start.images(context, wanted, key)
    pool = extractors.among(supplied)
    if pool is not None:
        return start.images(context, wanted, key, pool)
    raise ValueError(
        f"the start {name!r} reads the extractors: hand `initial_images` what the method is "
        "supplied with, a pool among it"
    )
