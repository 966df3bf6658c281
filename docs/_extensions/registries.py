"""What the program knows of itself, written into the pages of `reference/` at build time.

They are Jinja templates and see what is in `NAMES`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable
from typing import Any

import jinja2
from sphinx.application import Sphinx

import csdm_jax
from csdm_jax.distillation import methods, starts
from csdm_jax.experiment import config as configuration

HEADING = "## `{}`\n"
EVALUATED = "```{{eval-rst}}\n{}\n```\n"


def fields() -> str:
    """Every field of the configuration, a table a section."""
    sections: dict[str, list[str]] = {}
    for name, (default, rule) in configuration.schema().items():
        section, _, _ = name.rpartition(".")
        cells = (f"`{name}`", f"`{default!r}`", rule.words)
        sections.setdefault(section, []).append(_row(cells))
    head = "| field | default | accepted |\n|---|---|---|\n"
    return "\n".join(
        (HEADING.format(section) if section else "") + "\n" + head + "\n".join(rows) + "\n"
        for section, rows in sections.items()
    )


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def public(*, metric: bool) -> str:
    """Public names of the package below what the modules say that define them.

    Args:
      metric: those of the metric, or those beside it.
    """
    groups: dict[str, list[str]] = {}
    for name in csdm_jax.__all__ if metric else csdm_jax.METHOD:
        groups.setdefault(getattr(csdm_jax, name).__module__, []).append(name)
    return "\n".join(
        f"## {_summary(module)}\n\n" + documented("csdm_jax", names)
        for module, names in groups.items()
    )


def _summary(module: str) -> str:
    """The first sentence of a module's docstring."""
    text = inspect.cleandoc(importlib.import_module(module).__doc__ or module)
    return " ".join(text.partition("\n\n")[0].split()).partition(":")[0].rstrip(".")


def documented(module: str, names: Iterable[str]) -> str:
    """Functions and classes, with a module's name for theirs."""
    lines = [f".. currentmodule:: {module}", ""]
    for name in names:
        kind = "class" if inspect.isclass(getattr(importlib.import_module(module), name)) else None
        lines += [f".. auto{kind or 'function'}:: {name}", *["   :members:"] * bool(kind), ""]
    return EVALUATED.format("\n".join(lines))


def module(name: str, *, level: int = 2) -> str:
    """A module with what it defines, below a heading of some level."""
    heading = "#" * (level - 2) + HEADING.format(name)
    members = f".. automodule:: {name}\n   :members:\n   :no-undoc-members:\n"
    return f"{heading}\n{EVALUATED.format(members)}"


NAMES = {
    "configuration": configuration,
    "documented": documented,
    "fields": fields,
    "methods": methods,
    "module": module,
    "public": public,
    "starts": starts,
}


def _fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    if page.startswith("reference/"):
        template = jinja2.Template(source[0], undefined=jinja2.StrictUndefined)
        source[0] = template.render(**NAMES)


def _is_skipped(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Fields of named tuples: the docstring of their class has them."""
    return True if type(member).__name__ == "_tuplegetter" else None


def _readable(
    app: Sphinx, what: str, name: str, member: Any, options: Any, signature: str, returned: str
) -> tuple[str, str] | None:
    """A default that is a function is no Python when printed, and Sphinx then reads no types."""
    if signature and "<function" in signature:
        return re.sub(r"<function .*? at 0x\w+>", "...", signature), returned
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _fill_in)
    app.connect("autodoc-skip-member", _is_skipped)
    app.connect("autodoc-process-signature", _readable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
