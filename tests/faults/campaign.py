"""The fault campaign: kills, damage, bad input, full disks; counts what was lost or came out wrong.

    python -m tests.faults.campaign --out=results/reliability

Every part starts from one unbroken run and compares bytes with it. "Lost": a run did not end after
the fault was gone, or went on from before its newest complete checkpoint. "Wrong": a result differs
from the unbroken run's, or bad input was taken.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from csdm_jax.experiment import config as configuration
from csdm_jax.storage import faults, files
from tests.faults import runs
from tests.faults.bench import SEED, Bench, Row
from tests.faults.corruptions import corruptions
from tests.faults.poison import SITES
from tests.faults.signals import STOPS, signals, stage_signals


def crash_points(bench: Bench, count: int) -> Row:
    """The process dies at a marked place inside saving."""
    row = Row("killed at a crash point inside saving")
    for number in range(count):
        point = faults.POINTS[number % len(faults.POINTS)]
        nth = 1 + number // len(faults.POINTS)
        workdir = bench.trial()
        env = bench.env | {faults.VARIABLE: f"{point}:{nth}"}
        code, output = runs.finish(workdir, env)
        if code != -signal.SIGKILL:
            row.count(wrong=True, note=f"{point}:{nth} was not reached: {output[-500:]}")
            continue
        bench.end(row, workdir, f"{point}:{nth}")
    return row


def kills(bench: Bench, count: int) -> Row:
    """SIGKILL at random times, several times in the life of one run."""
    row = Row("SIGKILL at a random time")
    clock = random.Random(SEED)
    while row.tried < count:
        workdir, killed = bench.trial(), 0
        for _ in range(min(4, count - row.tried)):
            process = runs.start(workdir, bench.env)
            try:
                process.communicate(timeout=clock.uniform(0.35, 1.0) * bench.seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
        bench.end(row, workdir, f"after {killed} kills")
        row.tried += killed - 1  # the trials are the kills
    return row


BAD_NUMBERS = (math.nan, math.inf, -math.inf, -1, 1e30, "many", None, (1,), [1], {"a": 1})
BAD_NAMES = ("no_such_name", "", 7, None, math.nan, ("csdm",), ["csdm"])
BAD_TUPLES = (3, None, "dm", (math.nan,), (None,), ("no_such_name",), (-1,), (1e30,))
BAD_TEXTS = (7, None, math.nan, ("a",), "a\x00b", "a\nb")
BAD_FLAGS = ("yes", 1, None, math.nan)


def bad_settings() -> list[tuple[str, object]]:
    """(field, value) pairs none of which may be taken, by the kind of the field's default."""
    pairs = []
    for name, (default, rule) in configuration.SCHEMA.items():
        if isinstance(default, bool):
            bad = BAD_FLAGS
        elif isinstance(default, int):
            bad = (*BAD_NUMBERS, True, 1.5)
        elif isinstance(default, float):  # ml_collections itself makes 1.0 of True
            bad = BAD_NUMBERS
        elif isinstance(default, tuple):
            bad = BAD_TUPLES
        else:
            bad = BAD_NAMES if rule.names else BAD_TEXTS
        pairs += [(name, value) for value in bad]
    return pairs


def bad_configs(bench: Bench, count: int) -> Row:
    """Impossible values of every field, refused before any compilation, by name."""
    del bench
    row = Row("impossible value in the configuration")
    pairs = bad_settings()
    random.Random(SEED + 3).shuffle(pairs)
    for name, value in pairs[:count]:
        config = configuration.default_config()
        section, _, leaf = name.rpartition(".")
        with config.ignore_type():
            (config[section] if section else config)[leaf] = value
        try:
            configuration.validate(config)
            row.count(wrong=True, note=f"{name} = {value!r} was taken")
        except configuration.ConfigError as error:
            row.count(wrong=f"config.{name}" not in str(error), note=f"{error} lacks {name}")
        except Exception as error:
            row.count(wrong=True, note=f"{name} = {value!r}: {error!r}")
    return row


def bad_flags(bench: Bench, count: int) -> Row:
    """The same on the command line: one line, exit code 1, nothing written."""
    row = Row("impossible value on the command line")
    flags = (
        "--config.distill.steps=-5",
        "--config.distill.learning_rate=nan",
        "--config.method=csmd",
        "--config.distill.stepz=3",
        "--config.distill.ipc=1000",
        "--config.alpha.head=inf",
        "--config.baselines=('csdm',)",
        "--config.network.depth=8",
    )
    for flag in flags[:count]:
        workdir = bench.trial()
        code, output = runs.finish(workdir, bench.env, flag)
        good = code == 1 and "error:" in output and "Traceback" not in output
        row.count(wrong=not good or workdir.exists(), note=f"{flag}: {code} {output[-500:]}")
    return row


def nans(bench: Bench, count: int) -> Row:
    """NaN in the loss, the gradient, the pixels, the real batch, the extractors' weights."""
    row = Row("NaN inside a step")
    for site in SITES[:count]:
        workdir = bench.trial()
        code, output = _poisoned(workdir, bench, site)
        named = f"{site} not finite at step 7" in output
        kept = runs.newest_checkpoint(workdir)
        row.count(
            lost=kept != 6,
            wrong=code != 1 or not named,
            note=f"{site}: code {code}, kept {kept}: {output[-600:]}",
        )
    return row


def _poisoned(workdir: Path, bench: Bench, site: str) -> tuple[int, str]:
    """A run whose step 7 meets a NaN."""
    program = (
        "import sys\n"
        "from absl import app\n"
        "from csdm_jax import main\n"
        "from csdm_jax.distillation import methods\n"
        "from csdm_jax.experiment import command_line\n"
        "from tests.faults.poison import Poisoned\n"
        "create = methods.create\n"
        f"methods.create = lambda *a: Poisoned(create(*a), {site!r}, 7)\n"
        "app.run(main.main, flags_parser=command_line.parse_flags)\n"
    )
    arguments = runs.command(workdir)[3:]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=runs.ROOT,
        env=bench.env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout + done.stderr


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path | None]:
    """A tmpfs of a size, or None where mounting is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        allowed = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    try:
        yield folder if allowed else None
    finally:
        if allowed:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def full_disk(bench: Bench, count: int) -> Row:
    """The disk fills up in every stage; after that there is room again."""
    row = Row("full disk")
    for number in range(count):
        spare = 40 + 97 * number  # KiB left to the run: it fails ever later
        with small_disk(Path(tempfile.mkdtemp(dir=bench.folder)) / "disk", "64m") as disk:
            if disk is None:
                row.skipped = "mounting a tmpfs is not allowed here"
                return row
            ballast, room = disk / "ballast", shutil.disk_usage(disk).free
            ballast.write_bytes(bytes(room - spare * 1024))
            code, output = runs.finish(disk / "run", bench.env)
            clear = code == 1 and "error:" in output and "Traceback" not in output
            if code != 0 and not clear:
                row.count(wrong=True, note=f"{spare} KiB: code {code} {output[-800:]}")
                continue
            ballast.unlink()
            workdir = bench.trial()
            shutil.copytree(disk / "run", workdir) if (disk / "run").exists() else None
        bench.end(row, workdir, f"{spare} KiB left")
    return row


def read_only(bench: Bench, count: int) -> Row:
    """The folder can no longer be written: an error, and everything there as it was."""
    del count
    row = Row("read-only folder")
    with small_disk(Path(tempfile.mkdtemp(dir=bench.folder)) / "disk", "64m") as disk:
        if disk is None:
            row.skipped = "mounting a tmpfs is not allowed here"
            return row
        shutil.copytree(bench.whole, disk / "run")
        (disk / "run" / "distilled.npz").unlink()
        before = runs.results(disk / "run")
        remount = ["mount", "-o", "remount,ro", str(disk)]
        subprocess.run(remount, check=True)
        code, output = runs.finish(disk / "run", bench.env)
        clear = code == 1 and "error:" in output and "Traceback" not in output
        row.count(
            lost=runs.results(disk / "run") != before,
            wrong=not clear,
            note=f"code {code}: {output[-800:]}",
        )
    return row


def two_processes(bench: Bench, count: int) -> Row:
    """Two runs in one workdir: one works, the other is told."""
    row = Row("two processes in one directory")
    for _ in range(count):
        workdir = bench.trial()
        both = [runs.start(workdir, bench.env) for _ in range(2)]
        outputs = [process.communicate(timeout=600)[0] for process in both]
        codes = sorted(process.returncode for process in both)
        told = sum("works in" in output for output in outputs)
        good = codes == [0, 1] and told == 1 and runs.results(workdir) == bench.expected
        # The later one may have started when the earlier was done already.
        late = codes == [0, 0] and runs.results(workdir) == bench.expected
        row.count(wrong=not (good or late), note=f"codes {codes}: {outputs}")
    return row


PARTS: dict[str, Callable[[Bench, int], Row]] = {
    "crash_points": crash_points,
    "kills": kills,
    "signals": signals,
    "stage_signals": stage_signals,
    "corruptions": corruptions,
    "nans": nans,
    "bad_configs": bad_configs,
    "bad_flags": bad_flags,
    "full_disk": full_disk,
    "read_only": read_only,
    "two_processes": two_processes,
}
WHOLE = {
    "crash_points": 30,
    "kills": 75,
    "signals": 10,
    "stage_signals": 2 * len(STOPS),
    "corruptions": 100,
    "nans": 5,
    "bad_configs": 600,
    "bad_flags": 8,
    "full_disk": 6,
    "read_only": 1,
    "two_processes": 3,
}


def table(rows: list[Row]) -> str:
    """The rows as Markdown, each followed by those of its kinds of trials."""
    lines = ["| fault | tried | lost | wrong |", "|---|---|---|---|"]
    for row in rows:
        lines.append(_line(row.what, row))
        lines += [_line(f"- {kind.what}", kind) for kind in row.kinds.values()]
    return "\n".join(lines) + "\n"


def _line(what: str, row: Row) -> str:
    return f"| {what} | {row.skipped or row.tried} | {row.lost} | {row.wrong} |"


def main() -> None:
    """Runs the parts that are asked for and writes their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/reliability"))
    parser.add_argument("--parts", nargs="*", choices=sorted(PARTS), default=list(PARTS))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.create(Path(folder))
        for name in options.parts:
            begin = time.monotonic()
            rows.append(PARTS[name](bench, WHOLE[name]))
            print(f"{name}: {rows[-1]} ({time.monotonic() - begin:.0f} s)", flush=True)
    print(table(rows))
    files.write_bytes(options.out / "campaign.md", table(rows).encode())
    content = [dataclasses.asdict(row) for row in rows]
    files.write_bytes(options.out / "campaign.json", json.dumps(content, indent=1).encode())
    sys.exit(any(row.lost or row.wrong for row in rows))


if __name__ == "__main__":
    main()
