"""What the parts of the campaign share: a row of its table, and the run they compare with."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from csdm_jax.storage import faults
from tests.faults import runs

SEED = 0


@dataclasses.dataclass
class Row:
    """One line of the table; below it may stand one for each kind of its trials."""

    what: str
    tried: int = 0
    lost: int = 0
    wrong: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)
    skipped: str = ""
    kinds: dict[str, Row] = dataclasses.field(default_factory=dict)

    def count(
        self, *, lost: bool = False, wrong: bool = False, note: str = "", kind: str = ""
    ) -> None:
        """Adds a trial."""
        if kind:
            self.kinds.setdefault(kind, Row(kind)).count(lost=lost, wrong=wrong)
        self.tried += 1
        self.lost += lost
        self.wrong += wrong
        if note and (lost or wrong):
            self.notes.append(note)


@dataclasses.dataclass
class Bench:
    """The unbroken run that everything is compared with.

    Attributes:
      folder: where trials live.
      env: environment of the runs.
      whole: workdir of the unbroken run.
      expected: its results.
      seconds: how long it takes with compiled programs at hand.
    """

    folder: Path
    env: dict[str, str]
    whole: Path
    expected: dict[str, str]
    seconds: float

    @classmethod
    def create(cls, folder: Path) -> Bench:
        """Runs once to compile, and once more, in a fresh process, for the clock."""
        env = runs.environment(folder / "compiled")
        code, output = runs.finish(folder / "first", env)
        assert code == 0, output
        begin = time.monotonic()
        code, output = runs.finish(folder / "whole", env)
        seconds = time.monotonic() - begin
        assert code == 0, output
        expected = runs.results(folder / "whole")
        assert expected == runs.results(folder / "first"), "two unbroken runs differ"
        return cls(folder, env, folder / "whole", expected, seconds)

    @functools.cached_property
    def half(self) -> Path:
        """Workdir of a run that was killed before its last checkpoint; two earlier ones are there.

        Made when first asked for.
        """
        env = self.env | {faults.VARIABLE: "checkpoint.before_write:6"}  # of steps 2, 4, ..., 12
        code, output = runs.finish(self.folder / "half", env)
        assert code == -signal.SIGKILL, output
        assert runs.newest_checkpoint(self.folder / "half") == 10, output
        return self.folder / "half"

    def trial(self, copy: Path | None = None) -> Path:
        """A new workdir, empty or a copy of another."""
        workdir = Path(tempfile.mkdtemp(prefix="trial-", dir=self.folder)) / "run"
        if copy:
            shutil.copytree(copy, workdir)
        return workdir

    def end(
        self,
        row: Row,
        workdir: Path,
        note: str,
        *,
        kind: str = "",
        valid: int | None = None,
        damaged: Sequence[str] = (),
    ) -> None:
        """Finishes a run that met a fault, and counts.

        Args:
          row: where it is counted.
          workdir: of the run.
          note: what was done to it.
          kind: of the trial, as in `Row.count`.
          valid: step of the newest checkpoint that is as it was saved, 0 for none: the run goes on
            from there and nowhere else. By default it may also need no checkpoint.
          damaged: what it must set aside, and say so in one line each.
        """
        saved = runs.newest_checkpoint(workdir) if valid is None else valid
        code, output = runs.finish(workdir, self.env)
        at = runs.resumed_at(output)
        if valid is not None:
            at = at or 0
        lost = code != 0 or (at is not None and at < saved)
        silent = [name for name in damaged if output.count(f"/{name}.damaged-0: ") != 1]
        differing = {
            name
            for name, digest in (self.expected | runs.results(workdir)).items()
            if self.expected.get(name) != digest or runs.results(workdir).get(name) != digest
        }
        row.count(
            lost=lost,
            wrong=bool(differing or silent or (valid is not None and at != valid)),
            note=f"{note}: code {code}, saved {saved}, resumed {at}, differs {sorted(differing)}"
            f", does not name {silent}" + (output[-800:] if code or silent else ""),
            kind=kind,
        )
        shutil.rmtree(workdir.parent)
