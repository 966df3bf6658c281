"""Starts of one command, the first and the second: wall and CPU seconds, programs, compiled ones.

`python benchmarks/startup.py` takes `configs/digits_lt.py` whole, cut down to six steps, and its
report alone, each from an empty cache of compiled programs and then from the one it left.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import _common

SHORT = [f"--config.{field}=6" for field in ("distill.steps", "extractors.epochs")]
SHORT += ["--config.evaluate.epochs=6"]
RUNS = {"whole": [], "six steps": SHORT, "report": ["--stage=report"]}
_SETTINGS = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


def start(config: str, workdir: Path, cache: Path, flags: list[str]) -> dict:
    """Runs the command once, with compiled programs kept below `cache` as they are by default."""
    command = [sys.executable, "-m", "csdm_jax.main", f"--config={config}"]
    command += [f"--workdir={workdir}", *flags]
    settings = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    settings |= {"XDG_CACHE_HOME": str(cache), "JAX_LOG_COMPILES": "1"}
    with tempfile.TemporaryFile("w+") as log:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=_common.ROOT, env=settings, stdout=subprocess.DEVNULL, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read()
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}\n{text[-2000:]}")
    programs = text.count("Finished XLA compilation of")
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "programs": programs,
        "compiled": programs - text.count("Persistent compilation cache hit for"),
    }


def measured(config: str, folder: Path) -> Iterator[dict]:
    """One row a start. The report is drawn of the whole run, its figures first and then again."""
    whole = folder / "whole-first"
    for name, flags in RUNS.items():
        for order in ("first", "second"):
            workdir = whole if name == "report" else folder / f"{name.split()[0]}-{order}"
            cache = folder / f"cache-{name.split()[0]}"
            yield {"run": name, "start": order} | start(config, workdir, cache, flags)


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/digits_lt.py")
    options = parser.parse_args()
    rows: list[dict] = []

    def cells() -> Iterator[list[str]]:
        with tempfile.TemporaryDirectory() as folder:
            for row in measured(options.config, Path(folder)):
                rows.append(row)
                _common.save(options.out, "startup", vars(options), rows)
                times = (f"{row[name]:.1f}" for name in ("seconds", "cpu_seconds"))
                counts = (str(row[name]) for name in ("programs", "compiled"))
                yield [row["run"], row["start"], *times, *counts]

    header = ["run", "start", "wall time, s", "CPU time, s", "programs", "compiled"]
    _common.print_table(header, cells())
    _common.write(options.out, "startup", vars(options), rows)


if __name__ == "__main__":
    main()
