"""Commands as processes of their own, forked from one that has imported the package already.

For commands that end before JAX looks for devices, mostly refusals: a start of Python and the
imports would cost each several seconds, and here it is paid once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.flags import QUICK

ROOT = Path(__file__).parent.parent
_SERVER = """
import json, os, runpy, sys
from csdm_jax.experiment import command_line, stages, sweeps  # what the commands import
folder, commands = sys.argv[1], json.loads(sys.argv[2])
for number, (module, *flags) in enumerate(commands):
    child = os.fork()
    if child == 0:
        for stream in (1, 2):
            os.dup2(os.open(f"{folder}/{number}.{stream}", os.O_WRONLY | os.O_CREAT), stream)
        sys.argv = [module, *flags]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit(0)
    with open(f"{folder}/{number}.code", "w") as file:
        file.write(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""


def run_all(
    folder: Path, commands: list[tuple[str, ...]]
) -> list[subprocess.CompletedProcess[str]]:
    """Runs commands one after the other, each in a process of its own.

    Args:
      folder: for their output.
      commands: of each its module and its flags.
    """
    subprocess.run(
        [sys.executable, "-c", _SERVER, str(folder), json.dumps(commands)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": QUICK},
        check=True,
        timeout=600,
    )
    return [
        subprocess.CompletedProcess(
            command,
            int((folder / f"{number}.code").read_text()),
            *((folder / f"{number}.{stream}").read_text() for stream in (1, 2)),
        )
        for number, command in enumerate(commands)
    ]
