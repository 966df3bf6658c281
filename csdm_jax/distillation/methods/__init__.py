"""Distillation methods by name.

A method is one small file in the folder of its family, with a `Kind`, and one line in `METHODS`.
The loop knows the interface of `csdm_jax.distillation.methods.base` alone.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any

from csdm_jax.distillation import starts
from csdm_jax.distillation.methods.base import Context, Kind, Method
from csdm_jax.distillation.methods.matching import (
    csdm,
    dance,
    datadam,
    dm,
    dsdm,
    idm,
    iid,
    m3d,
    mmd,
    ncfm,
    ncfm_sampler,
    tgdd,
    wmdd,
)
from csdm_jax.distillation.methods.selection import (
    forgetting,
    graph_cut,
    herding,
    k_center,
    kmeans,
    random,
    rded,
)
from csdm_jax.distillation.methods.trajectories import att, datm, ftd, lad, mtt, tesla
from csdm_jax.runtime.registry import Registry, lookup

METHODS: Registry[Kind] = Registry(
    "method",
    "csdm_jax.methods",
    {
        "att": att.KIND,
        "csdm": csdm.CLASS_AWARE,
        "csdm_single": csdm.SINGLE,
        "dance": dance.KIND,
        "datadam": datadam.KIND,
        "datm": datm.KIND,
        "dm": dm.KIND,
        "dm_weighted": dm.WEIGHTED,
        "dsdm": dsdm.KIND,
        "forgetting": forgetting.KIND,
        "ftd": ftd.KIND,
        "graph_cut": graph_cut.KIND,
        "herding": herding.KIND,
        "idm": idm.KIND,
        "iid": iid.KIND,
        "k_center": k_center.KIND,
        "kmeans": kmeans.KIND,
        "lad": lad.KIND,
        "m3d": m3d.KIND,
        "mmd": mmd.KIND,
        "mtt": mtt.KIND,
        "ncfm": ncfm.KIND,
        "ncfm_sampler": ncfm_sampler.KIND,
        "random": random.KIND,
        "rded": rded.KIND,
        "tesla": tesla.KIND,
        "tgdd": tgdd.KIND,
        "wmdd": wmdd.KIND,
    },
)

FACTS = ("source", "cost", "deviations")
"""What the docstring of every method's module states, each on a line of its own that begins so."""


def kind(name: str) -> Kind:
    """A method's entry.

    Raises:
      ValueError: for an unknown name.
    """
    return lookup(METHODS, name, "method")


def check(name: str, config: Any) -> None:
    """Looks whether a method can work under a configuration, before anything is compiled.

    Raises:
      ValueError: when it cannot, or for an unknown name.
    """
    own = kind(name)
    if not own.selects:
        starts.check(config.distill.initialisation, name, own.needs)
    own.check(config)


def create(name: str, config: Any, context: Context) -> Method:
    """A method by name.

    Raises:
      ValueError: for an unknown name.
    """
    return kind(name).create(config, context)


def facts(name: str) -> dict[str, str]:
    """What is to be known of a method: `family`, `idea` and the `FACTS`.

    Raises:
      ValueError: for an unknown name, or a method whose module does not state its facts.
    """
    made = kind(name).create
    module = sys.modules[made.__module__]
    text = inspect.cleandoc(module.__doc__ or "")
    found = {"family": module.__name__.split(".")[-2], "idea": _first_line(made)}
    for fact in FACTS:
        line = re.search(rf"^{fact.capitalize()}: ((?:.|\n(?! *\n|[A-Z]\w+: ))+)", text, re.M)
        if not line:
            raise ValueError(
                f"the docstring of {module.__name__} states no {fact}: write a line "
                f"'{fact.capitalize()}: ...' in it"
            )
        found[fact] = " ".join(line[1].split())
    return found


def _first_line(made: Any) -> str:
    return (inspect.getdoc(made) or "").partition("\n")[0]


def table() -> str:
    """The registered methods as a Markdown table: name, family and idea."""
    lines = ["| method | family | idea |", "|---|---|---|"]
    for name in METHODS:
        said = facts(name)
        lines.append(f"| `{name}` | {said['family']} | {said['idea']} |")
    return "\n".join(lines)
