"""What the benchmarks share: alternated timing, spread, the machine, tables and JSON."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from csdm_jax.runtime import heap, memory

# PyTorch and the processes of single rows share the card with this one. Read when JAX first looks
# for devices.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("csdm_jax", "jax", "jaxlib", "flax", "optax", "numpy", "torch")


def parser(description: str) -> argparse.ArgumentParser:
    """Arguments that every benchmark takes. From here on memory is kept, as the commands do."""
    heap.keep()
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--out", type=Path, help="JSON file to write")
    arguments.add_argument("--repeats", type=int, default=5, help="timed runs of each")
    return arguments


def add_load(arguments: argparse.ArgumentParser) -> None:
    """The option of benchmarks that can be run beside busy processes."""
    arguments.add_argument(
        "--load", type=int, default=0, help="busy processes beside the measured one"
    )


# A child that ends with its parent, however that ends.
_BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"


@contextlib.contextmanager
def busy(count: int) -> Iterator[list[subprocess.Popen]]:
    """Keeps `count` cores busy; what `save` writes then says so."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    _load_facts["busy_processes"] = count
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def load_config(name: str, argument: str) -> Any:
    """The configuration of `configs/NAME.py` with what stands behind the colon."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(argument)


def alternated(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each function, run in turn, so that a slow phase of the machine meets all.

    Each is called once before, to compile and to warm up. A function returns JAX arrays, which
    are waited for, or has finished its work when it returns.
    """
    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {
        "median": float(np.median(seconds)),
        "min": float(np.min(seconds)),
        "max": float(np.max(seconds)),
    }


def ratio(slow: list[float], fast: list[float]) -> dict[str, float]:
    """Spread of slow / fast, each pair from the same round."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)])


def shown(values: dict[str, float], digits: int = 3) -> str:
    """`median (min-max)`."""
    return f"{values['median']:.{digits}g} ({values['min']:.{digits}g}-{values['max']:.{digits}g})"


def print_table(header: list[str], rows: Iterable[list[str]]) -> None:
    """A Markdown table, each row as soon as it is there."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def machine() -> dict[str, Any]:
    """Device, processor, load before, made by `busy` and after, versions, commit."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "processor": _processor(),
        "cores": cores(),
        "load": _load_facts | {"after": _load()},
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
    }


@functools.cache
def _commit() -> str:
    """The commit, "-dirty" when files differ from it; results and texts may."""
    git = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True)
    name = git(["git", "describe", "--always"]).stdout.strip()
    code = ["--", ".", ":!results", ":!*.md"]
    changed = name and git(["git", "diff", "HEAD", "--quiet", *code]).returncode
    return f"{name}-dirty" if changed else name


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load() -> float | None:
    """Load average of the last minute: above the cores, timings are disturbed."""
    info = Path("/proc/loadavg")
    return float(info.read_text().split()[0]) if info.exists() else None


_load_facts: dict[str, Any] = {"before": _load(), "busy_processes": 0}


def device_peak() -> float | None:
    """MiB at JAX's peak on its accelerator; None on a CPU, where a process holds much else."""
    return None if jax.default_backend() == "cpu" else memory.peak() / 2**20


def mib(value: float | None) -> str:
    """A cell of a table."""
    return "-" if value is None else f"{value:.0f}"


def kept(
    path: Path | None, name: str, settings: dict[str, Any], rows: list[dict], made: Iterable[dict]
) -> Iterator[dict]:
    """The rows as they are made, each of them put to `rows` and saved before it is handed on."""
    for row in made:
        rows.append(row)
        save(path, name, settings, rows)
        yield row


def save(path: Path | None, name: str, settings: dict[str, Any], rows: list[dict]) -> dict:
    """Writes results, the machine and the settings as JSON, when a path is given.

    After each row: a benchmark that runs out of time then keeps what it has. Where files lie is no
    setting: `out` and other paths are left out.

    Returns:
        What is written.
    """
    settings = {
        field: value
        for field, value in settings.items()
        if field not in ("out", "data_dir") and not isinstance(value, Path)
    }
    document = {"benchmark": name, "settings": settings, "machine": machine(), "rows": rows}
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, default=str) + "\n")
    return document


def write(path: Path | None, name: str, settings: dict[str, Any], rows: list[dict]) -> None:
    """`save` at the end, and the machine in print."""
    document = save(path, name, settings, rows)
    print(f"\nmachine: {json.dumps(document['machine'])}")
