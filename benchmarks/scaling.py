"""One distillation step on 1, 2, 4, 8 devices: strong and weak scaling.

    python benchmarks/scaling.py

On a machine without accelerators the devices are forced ones, which share its cores: the table then
shows what splitting costs, not what it gains. Strong: the batch of one device, split. Weak: as many
images for each device as one device had.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import _common

WORKER = """
import json, statistics, sys, time
import jax, numpy as np
from jax.sharding import Mesh
import step
from csdm_jax.sharding import AXIS, Devices
count, batch, width = (int(x) for x in sys.argv[1:4])
mesh = Mesh(np.array(jax.devices()[:count]), (AXIS,)) if count > 1 else None
options = step.arguments(["--batch", str(batch), "--steps", "1"])
run = step.ours((5000,) * 10, options, width, Devices(mesh))
run()
times = []
for _ in range(int(sys.argv[4])):
    begin = time.perf_counter()
    run()
    times.append(time.perf_counter() - begin)
print(json.dumps(times))
"""


def seconds(devices: int, batch: int, width: int, repeats: int) -> list[float]:
    """Seconds a step, in a process with its own devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    env = os.environ | {"XLA_FLAGS": flags}
    arguments = [str(value) for value in (devices, batch, width, repeats)]
    done = subprocess.run(
        [sys.executable, "-c", WORKER, *arguments],
        cwd=Path(__file__).parent,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--batch", type=int, default=64, help="images per class, on one device")
    parser.add_argument("--width", type=int, default=32)
    options = parser.parse_args()
    rows = []
    for count in options.devices:
        strong = seconds(count, options.batch, options.width, options.repeats)
        weak = seconds(count, options.batch * count, options.width, options.repeats)
        row = {"devices": count, "strong": _common.spread(strong), "weak": _common.spread(weak)}
        rows.append(row)
        base = rows[0]
        print(
            f"{count} devices: strong {row['strong']['median']:.2f} s "
            f"({base['strong']['median'] / row['strong']['median']:.2f}x), weak "
            f"{row['weak']['median']:.2f} s "
            f"(efficiency {base['weak']['median'] / row['weak']['median']:.2f})",
            flush=True,
        )
    _common.write(options.out, "scaling", vars(options), rows)


if __name__ == "__main__":
    main()
