"""Freed memory stays with the process: on a CPU, fresh pages cost much of a step's time.

XLA allocates the arrays of a step when it begins and frees them when it ends. The GNU C library
gives blocks of that size back to the system and asks for them anew in the next step, and the system
has to clear every page at its first touch. PyTorch, too, trains 1.6 to 1.9 times as many images a
second where what it frees is kept (benchmarks/README.md).
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of <malloc.h>
_OWN = (
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)
"""Variables by which users say themselves how memory is allocated."""


def keep() -> bool:
    """From now on this process keeps what it frees, for its next allocations.

    What it holds grows during the first steps, as blocks do not always fit where others were, to as
    much as 2.5 times what a step needs (benchmarks/README.md), and stays there. To be called before
    JAX has threads, whose memory would be apart.

    Returns:
      Whether it does: not where users have set a variable of `_OWN`, nor with another C library.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OWN):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1))
    return mallopt is not None and all([mallopt(*one) for one in wanted])
