"""Compiled programs on disk, so that the second start compiles nothing."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import jax
from absl import logging

from csdm_jax.runtime import paths

NONE = "none"
"""What a user gives in place of a folder for no cache at all."""
MAX_BYTES = 2**28
"""Most that the folder of one kind of machine holds; what was used longest ago makes room."""
MIN_SECONDS = 0.0
"""Every program is kept: most compile in less than 0.05 s, and there are some eighty of them."""

_FEATURES = ("flags", "Features", "model name")


def keep(folder: str | None) -> None:
    """Has JAX keep what this program compiles, and read what earlier ones kept.

    Call it before anything is compiled. A folder that cannot be used costs a warning and the time
    of compilation, nothing else.

    Args:
      folder: where, or "none" for nowhere. When left out, what the user told JAX itself
        (JAX_COMPILATION_CACHE_DIR), which is left as it is, or `csdm_jax/compiled` in the user's
        cache folder.

    Raises:
      PathError: for a folder that is no path.
    """
    if folder == NONE:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if not folder and jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    asked = paths.given(folder) if folder else None
    try:
        root = asked or paths.cache("--compilation_cache") / "csdm_jax" / "compiled"
        place = root / machine()
        _prepare(place)
    except (ImportError, OSError, paths.PathError) as error:
        logging.warning(
            "compiled programs are not kept for later starts (%s): give another folder as "
            "--compilation_cache, or 'none'",
            error,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(place))
    _by_default("jax_compilation_cache_max_size", MAX_BYTES)
    _by_default("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)


def _by_default(option: str, value: Any) -> None:
    """Sets an option of JAX that its user has not set in the environment."""
    if option.upper() not in os.environ:
        jax.config.update(option, value)


def _prepare(place: Path) -> None:
    """Makes the folder, and removes what was not written to its end.

    JAX writes an entry in its place, then the time of its use beside it, both under a lock. An
    entry without that time is of a process that was stopped: JAX would never replace it,
    nor, because of it, make room.

    Raises:
      OSError: when nothing can be written there, or the disk is full.
    """
    place.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies there is run as a program
    if (free := shutil.disk_usage(place).free) < MAX_BYTES:
        raise OSError(f"{free / 1e6:.0f} MB are free at {place}, {MAX_BYTES / 1e6:.0f} are needed")
    import filelock  # JAX takes the same lock, and does not require the package

    with filelock.FileLock(place / ".lockfile", timeout=10):
        for entry in place.glob("*-cache"):
            used = entry.with_name(entry.name.removesuffix("-cache") + "-atime")
            if not used.exists() or used.stat().st_size != 8:
                entry.unlink(missing_ok=True)
                used.unlink(missing_ok=True)


@functools.cache
def machine() -> str:
    """A name for machines that can run each other's programs: architecture, CPU and its features.

    A home folder may be shared by machines whose CPUs differ, and code for one ends another's
    process.
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text().partition("\n\n")[0].splitlines() if info.exists() else []
    facts = [line for line in lines if line.partition(":")[0].strip() in _FEATURES]
    text = "\n".join(facts) or platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
