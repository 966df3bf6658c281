"""One distillation step with 10, 100 and 1000 classes at IPC 10: time, memory, compilation.

    python benchmarks/classes.py

Each row is a process of its own, so that it has a peak of its own. With all classes in a step, time
and memory grow with their number; with `distill.classes_per_step` both stay, but for the images
themselves.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import _common
import jax
import step

from csdm_jax.runtime import memory

ROWS = ((10, 0), (100, 0), (100, 50), (1000, 50))  # classes, of which in a step (0: all)
PER_CLASS = 50


def measure(classes: int, per_step: int, width: int, repeats: int) -> dict:
    """Seconds of the first step and of later ones, and the peak of this process."""
    options = step.arguments(["--batch", str(PER_CLASS), "--steps", "1"])
    run = step.ours((PER_CLASS,) * classes, options, width, classes_per_step=per_step)
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - start)
    return {
        "classes": classes,
        "in_a_step": per_step or classes,
        "seconds": _common.spread(seconds[1:]),
        "compilation": seconds[0] - min(seconds[1:]),
        "peak_mib": memory.peak() / 2**20,
        "images_mib": classes * (PER_CLASS + 3 * 4 * step.IPC) * 32 * 32 * 3 / 2**20,
    }


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--one", type=int, nargs=2, help="one row, as JSON: classes, in a step")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options.width, options.repeats)))
        return
    rows = []

    def lines():
        for classes, per_step in ROWS:
            command = [sys.executable, str(Path(__file__)), "--one", str(classes), str(per_step)]
            command += ["--width", str(options.width), "--repeats", str(options.repeats)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            rows.append(row)
            yield [
                str(classes),
                str(row["in_a_step"]),
                _common.shown(row["seconds"]),
                f"{row['compilation']:.1f}",
                f"{row['peak_mib']:.0f}",
                f"{row['images_mib']:.0f}",
            ]

    _common.print_table(
        ["classes", "in a step", "s/step", "compilation, s", "peak, MiB", "images, MiB"], lines()
    )
    _common.write(options.out, "classes", vars(options), rows)


if __name__ == "__main__":
    main()
