"""How much memory a compiled step needs, and how much was used."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import Any

import jax


def needed(compiled: Any) -> int:
    """Bytes at the peak of a compiled function's run, as far as the compiler knows.

    On an accelerator: arguments, outputs and what lies between. On a CPU: what lies between, on top
    of what the process holds already, its arguments among it.
    """
    analysis = compiled.memory_analysis()
    fresh = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    step = analysis.temp_size_in_bytes + fresh
    if jax.default_backend() == "cpu":
        return _resident() + step
    return analysis.argument_size_in_bytes + step


def peak() -> int:
    """Bytes at the peak so far: of this process on a CPU, of its device elsewhere."""
    if jax.default_backend() == "cpu":
        return _resident_peak()
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)


def _resident_peak() -> int:
    """Bytes the process held at its peak."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):  # in kB
                return int(line.split()[1]) * 1024
    # Counts what the process that started this one held then.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _resident() -> int:
    """Bytes the process holds now; its peak so far where the system does not tell."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return peak()
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
