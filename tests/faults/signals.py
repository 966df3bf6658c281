"""SIGTERM and SIGINT, at random times and in every stage by name."""

from __future__ import annotations

import random
import re
import signal
import subprocess

from csdm_jax.runtime.interruption import EXIT_CODE
from tests.faults import runs
from tests.faults.bench import SEED, Bench, Row


def signals(bench: Bench, count: int) -> Row:
    """SIGTERM and SIGINT at random times: saved, exit code of its own, goes on."""
    row = Row("SIGTERM or SIGINT at a random time")
    clock = random.Random(SEED + 1)
    for number in range(count):
        workdir = bench.trial()
        process = runs.start(workdir, bench.env)
        try:
            process.communicate(timeout=clock.uniform(0.45, 0.95) * bench.seconds)
        except subprocess.TimeoutExpired:
            process.send_signal((signal.SIGTERM, signal.SIGINT)[number % 2])
            output, _ = process.communicate(timeout=120)
            # Python itself answers while it loads the program, and when all is done.
            working = "devices:" in output and "distilled set, card" not in output
            if process.returncode not in (EXIT_CODE, 0) and working:
                row.count(wrong=True, note=f"exit code {process.returncode}: {output[-500:]}")
                continue
        bench.end(row, workdir, f"signal {number}")
    return row


STOPS = (  # stage, line of the log at which the signal comes, what the run says of its end
    ("extractors", "extractor saved", r"in extractor network-|between two extractors"),
    ("compilation", "of training images on the", r"after step [12], which is saved"),
    ("distillation", "s a step, about", r"after step \d+, which is saved"),
    ("evaluation", "12 steps done", r"in evaluate csdm seed 0 convnet, network 100"),
    ("end of the evaluation", "8/8", r"before the report"),
    ("report", "report: characteristic functions", r"before the figures of the report"),
)


def stage_signals(bench: Bench, count: int) -> Row:
    """A signal in every stage of a run, which is taken up each time and comes to its end."""
    row = Row("SIGTERM or SIGINT in a stage by name; the run is taken up again")
    for first in range(0, count, len(STOPS)):
        workdir = bench.trial()
        for number, (stage, line, ending) in enumerate(STOPS[: count - first], first):
            name = ("SIGTERM", "SIGINT")[(number + number // len(STOPS)) % 2]
            saved = runs.newest_checkpoint(workdir)
            under_way = not (workdir / "card.json").exists()
            code, output = runs.stop(workdir, bench.env, name, line)
            at = runs.resumed_at(output)
            named = re.search(rf"stopped by a signal {ending}", output)
            row.count(
                lost=under_way and (at or 0) < saved,
                wrong=code != EXIT_CODE or not named or "Traceback" in output,
                note=f"{name} in {stage}: code {code}, saved {saved}, resumed {at} {output[-800:]}",
                kind=stage,
            )
        bench.end(row, workdir, "signals in stages", kind="none: the run comes to its end")
    return row
