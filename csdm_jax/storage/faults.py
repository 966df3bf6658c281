"""Crash points for the fault harness in `tests/`: where a test may kill the process.

`CSDM_CRASH_AT=checkpoint.before_rename:3` kills the process, as SIGKILL does, the third time that
this point is reached. Without the variable a point costs a look-up.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "CSDM_CRASH_AT"
POINTS = (
    "file.before_write",
    "file.in_write",
    "file.before_rename",
    "file.after_rename",
    "checkpoint.before_write",
    "checkpoint.in_write",
    "checkpoint.before_rename",
    "checkpoint.after_rename",
    "checkpoint.before_delete",
    "checkpoint.in_delete",
)

_reached: dict[str, int] = {}


def reach(point: str) -> None:
    """Dies here when the environment asks for it."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    name, _, number = wanted.partition(":")
    if name == point:
        _reached[point] = _reached.get(point, 0) + 1
        if _reached[point] == int(number or 1):
            os.kill(os.getpid(), signal.SIGKILL)
