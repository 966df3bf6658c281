"""Wall time and peak memory of one cell, as a user runs it, by stage.

`python benchmarks/end_to_end.py` runs `configs/digits_lt.py`; another cell, with overrides:
`python benchmarks/end_to_end.py --config configs/cifar10_lt.py:imb=100,ipc=10 --
--config.distill.steps=100`. Each stage is a process of its own, so that it has a peak of its own.
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
import jax

from csdm_jax.storage import files

STAGES = ("extractors", "distill", "evaluate", "report")
TIMED = {"extractors": "extractors", "distill": "distillation", "evaluate": "evaluation"}
"""What a stage is called in `timings.json`."""


def run_stage(stage: str, config: str, workdir: str, overrides: list[str]) -> dict:
    """Runs one stage: wall time with start-up and compilation, and peak memory.

    Of the process, and of the device where that is another: what the run itself has noted.
    """
    command = [sys.executable, "-m", "csdm_jax.main", f"--config={config}"]
    command += [f"--workdir={workdir}", f"--stage={stage}", *overrides]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=_common.ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"stage {stage} failed: {' '.join(command)}")
    seconds = time.perf_counter() - start
    return {
        "stage": stage,
        "seconds": seconds,
        "peak_mib": usage.ru_maxrss / 1024,  # of KiB
        "device_mib": device_peak(Path(workdir), stage),
    }


def device_peak(workdir: Path, stage: str) -> float | None:
    """MiB at a stage's peak on the accelerator, over its runs; None on a CPU."""
    if jax.default_backend() == "cpu" or stage not in TIMED:
        return None
    timings = [files.read_sealed_json(path) for path in workdir.rglob("timings.json")]
    peaks = [run.get("peak_memory_bytes", {}).get(TIMED[stage], 0) for run in timings]
    return max(peaks, default=0) / 2**20


def total(rows: list[dict]) -> dict:
    """All stages: the sum of their times, the largest of their peaks."""
    peaks = {
        name: max((row[name] for row in rows if row[name] is not None), default=None)
        for name in ("peak_mib", "device_mib")
    }
    return {"stage": "all", "seconds": sum(row["seconds"] for row in rows)} | peaks


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/digits_lt.py")
    parser.add_argument("overrides", nargs="*", help="flags for csdm_jax.main, behind --")
    options = parser.parse_args()
    overrides = [flag for flag in options.overrides if "data_dir" not in flag]
    settings, rows = vars(options) | {"overrides": overrides}, []

    def measured() -> Iterator[dict]:
        with tempfile.TemporaryDirectory() as folder:
            for stage in STAGES:
                workdir = str(Path(folder) / "run")
                rows.append(run_stage(stage, options.config, workdir, options.overrides))
                _common.save(options.out, "end_to_end", settings, rows)
                yield rows[-1]
        rows.append(total(rows))
        yield rows[-1]

    _common.print_table(
        ["stage", "wall time, s", "peak memory, MiB", "of the device, MiB"],
        (
            [row["stage"], f"{row['seconds']:.1f}"]
            + [_common.mib(row[name]) for name in ("peak_mib", "device_mib")]
            for row in measured()
        ),
    )
    _common.write(options.out, "end_to_end", settings, rows)


if __name__ == "__main__":
    main()
