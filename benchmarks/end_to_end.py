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
from pathlib import Path

import _common

STAGES = ("extractors", "distill", "evaluate", "report")


def run_stage(stage: str, config: str, workdir: str, overrides: list[str]) -> dict:
    """Runs one stage; wall time with start-up and compilation, and its process's peak memory."""
    command = [sys.executable, "-m", "csdm_jax.main", f"--config={config}"]
    command += [f"--workdir={workdir}", f"--stage={stage}", *overrides]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=_common.ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"stage {stage} failed: {' '.join(command)}")
    seconds = time.perf_counter() - start
    return {"stage": stage, "seconds": seconds, "peak_mib": usage.ru_maxrss / 1024}  # KiB


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/digits_lt.py")
    parser.add_argument("overrides", nargs="*", help="flags for csdm_jax.main, behind --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workdir = str(Path(folder) / "run")
        rows = [run_stage(s, options.config, workdir, options.overrides) for s in STAGES]
    rows.append(
        {
            "stage": "all",
            "seconds": sum(row["seconds"] for row in rows),
            "peak_mib": max(row["peak_mib"] for row in rows),
        }
    )
    _common.print_table(
        ["stage", "wall time, s", "peak memory, MiB"],
        [[row["stage"], f"{row['seconds']:.1f}", f"{row['peak_mib']:.0f}"] for row in rows],
    )
    overrides = [flag for flag in options.overrides if not flag.startswith("--data_dir")]
    _common.write(options.out, "end_to_end", vars(options) | {"overrides": overrides}, rows)


if __name__ == "__main__":
    main()
