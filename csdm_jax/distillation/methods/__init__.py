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
from csdm_jax.distillation.methods.gradients import dc, dcc, dream, dsa, dsac, idc
from csdm_jax.distillation.methods.kernel_ridge import frepo
from csdm_jax.distillation.methods.matching import (
    cafe,
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
from csdm_jax.distillation.methods.recovery import gvbsm, rldd
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
        "cafe": cafe.KIND,
        "csdm": csdm.CLASS_AWARE,
        "csdm_single": csdm.SINGLE,
        "dance": dance.KIND,
        "datadam": datadam.KIND,
        "datm": datm.KIND,
        "dc": dc.KIND,
        "dcc": dcc.KIND,
        "dm": dm.KIND,
        "dm_weighted": dm.WEIGHTED,
        "dream": dream.KIND,
        "dsa": dsa.KIND,
        "dsac": dsac.KIND,
        "dsdm": dsdm.KIND,
        "forgetting": forgetting.KIND,
        "frepo": frepo.KIND,
        "ftd": ftd.KIND,
        "graph_cut": graph_cut.KIND,
        "gvbsm": gvbsm.KIND,
        "herding": herding.KIND,
        "idc": idc.KIND,
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
        "rldd": rldd.KIND,
        "tesla": tesla.KIND,
        "tgdd": tgdd.KIND,
        "wmdd": wmdd.KIND,
    },
)

FACTS = ("source", "cost", "deviations", "licence", "status")
"""What the docstring of every method's module states, each on a line of its own that begins so.

The licence is that of the authors' public code: "MIT", "no licence file", "none public". The status
begins with "tested" and says what keeps `recipe=published` from being what its authors did.
"""
COLUMNS = ("family", "idea", "cost", "source", "licence", "status")
"""Of `table`, beside the name."""


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
        starts.check(config.distill.initialisation, name, own.needed(config))
    own.check(config)


def create(name: str, config: Any, context: Context) -> Method:
    """A method by name.

    Raises:
      ValueError: for an unknown name.
    """
    return kind(name).create(config, context)


def family(name: str) -> str:
    """The folder that a method's file lies in.

    Raises:
      ValueError: for an unknown name.
    """
    return kind(name).create.__module__.split(".")[-2]


def facts(name: str) -> dict[str, str]:
    """What is to be known of a method: `family`, `idea`, `description` and the `FACTS`.

    Raises:
      ValueError: for an unknown name, or a method whose module does not state its facts.
    """
    made = kind(name).create
    text = inspect.cleandoc(sys.modules[made.__module__].__doc__ or "")
    stated = {
        fact: re.search(rf"^{fact.capitalize()}: ((?:.|\n(?! *\n|[A-Z]\w+: ))+)", text, re.M)
        for fact in FACTS
    }
    missing = [fact.capitalize() for fact, found in stated.items() if not found]
    if missing:
        raise ValueError(
            f"the docstring of {made.__module__} does not state all facts: write "
            f"{', '.join(repr(f'{fact}: ...') for fact in missing)} in it, a line each"
        )
    found = {fact: line for fact, line in stated.items() if line}
    description = text[: min(line.start() for line in found.values())].strip()
    return {"family": family(name), "idea": _first_line(made), "description": description} | {
        fact: " ".join(line[1].split()) for fact, line in found.items()
    }


def deviations(name: str) -> str | None:
    """In what a method is not what its authors published; None for one that does not say so.

    Raises:
      ValueError: for an unknown name.
    """
    kind(name)
    try:
        return facts(name)["deviations"]
    except ValueError:  # a user's own need not state facts
        return None


def _first_line(made: Any) -> str:
    return (inspect.getdoc(made) or "").partition("\n")[0]


def table() -> str:
    """The registered methods as a Markdown table: name and `COLUMNS`."""
    lines = [f"| method | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in METHODS:
        said = facts(name)
        cells = [said[column].replace("|", r"\|") for column in COLUMNS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)
