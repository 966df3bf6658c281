"""What a compiled program does, read in its text."""

from __future__ import annotations

import re
from typing import Any

import jax

_NAME = re.compile(r"%([\w.\-]+)")


def compiled(function: Any, *arguments: Any) -> str:
    """The text of a function compiled for arguments, arrays or their shapes."""
    return jax.jit(function).lower(*arguments).compile().as_text()


def always_run(text: str) -> str:
    """The lines that run in every call: all but what only a branch of a conditional reaches."""
    bodies: dict[str, list[str]] = {}
    waiting: list[str] = []
    name = ""
    for line in text.splitlines():
        if line.rstrip().endswith("{") and not line.startswith(" "):
            name = _NAME.search(line)[1]
            bodies[name] = []
            if line.startswith("ENTRY"):
                waiting.append(name)
        elif name:
            bodies[name].append(line)
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in reached or name not in bodies:
            continue
        reached.add(name)
        for line in bodies[name]:
            if " conditional(" not in line:
                waiting += _NAME.findall(line)
    return "\n".join(line for name in bodies if name in reached for line in bodies[name])
