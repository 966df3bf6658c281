"""Damaged files: every kind of damage in every place that a run reads, and in some it does not."""

from __future__ import annotations

import collections
import random
from pathlib import Path

from tests.faults.bench import SEED, Bench, Row
from tests.faults.damage import KINDS, regular_files

READ_BACK = ("config.json", "timings.json", "extractors/*/*.msgpack")
"""Files that every run reads where they are."""

FINISHED = ("card.json", "distilled.npz", "metrics.jsonl", "spectrum.json", "evaluations/*/*.json")
"""Files that a run reads, too, once its images are there."""

UNNAMED = ("timings.json", "metrics.jsonl")
"""Files whose damage has a remedy but no line: the clock, and what has a second copy."""

# What is damaged -> whether in a finished run, or in one that must go on; which of its two
# checkpoints, or what a run reads beside them.
PLACES: dict[str, tuple[tuple[bool, tuple[int, ...]], ...]] = {
    "newest checkpoint, run goes on": ((False, (-1,)),),
    "both checkpoints, run goes on": ((False, (-1, 0)),),
    "state file, run goes on": ((False, ()),),
    "state file, run was finished": ((True, ()),),
    "checkpoint that need not be read": ((False, (0,)), (True, (-1,)), (True, (0,))),
}


def corruptions(bench: Bench, count: int) -> Row:
    """Files of a run that is half done or finished: flipped, cut, deleted, emptied.

    Places and kinds of damage are coprime in number: every 20 trials try each in each.
    """
    row, kinds, places = Row("file damaged"), sorted(KINDS), list(PLACES)
    chance = random.Random(SEED + 2)
    for number in range(count):
        place, kind = places[number % len(places)], kinds[number % len(kinds)]
        case = PLACES[place][number // len(places) % len(PLACES[place])]
        _corruption(bench, row, place, kind, *case, chance)
    tried = collections.Counter(kinds[number % len(kinds)] for number in range(count))
    row.what += f" ({', '.join(f'{kind} {tried[kind]}' for kind in kinds)})"
    return row


def _corruption(
    bench: Bench,
    row: Row,
    place: str,
    kind: str,
    finished: bool,
    checkpoints: tuple[int, ...],
    chance: random.Random,
) -> None:
    """One trial; what is to happen follows from what was damaged."""
    workdir = bench.trial(bench.whole if finished else bench.half)
    steps = sorted(int(path.name) for path in workdir.glob("checkpoints/[0-9]*"))
    hit = [steps[at] for at in checkpoints]
    groups = [regular_files(workdir / f"checkpoints/{step}") for step in hit]
    targets = [
        _damage(group, kind, chance) for group in groups or [_state_files(workdir, finished)]
    ]
    if checkpoints:
        aside = [f"checkpoints/{step}" for step in hit if not finished and -1 in checkpoints]
    else:
        aside = [p.name for p in targets if kind != "delete" and p.name not in UNNAMED]
    bench.end(
        row,
        workdir,
        f"{kind} {[path.relative_to(workdir).as_posix() for path in targets]}",
        kind=place,
        valid=None if finished else max({*steps} - {*hit}, default=0),
        damaged=aside,
    )


def _damage(candidates: list[Path], kind: str, chance: random.Random) -> Path:
    """Damages one of the files: not an empty one where nothing would change."""
    target = chance.choice(
        [p for p in candidates if p.stat().st_size or kind in ("flip", "delete")]
    )
    KINDS[kind](target, chance.random())
    return target


def _state_files(workdir: Path, finished: bool) -> list[Path]:
    """What a run reads back beside its checkpoints."""
    names = READ_BACK + FINISHED * finished
    return [path for name in names for path in sorted(workdir.glob(name))]
