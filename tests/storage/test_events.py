import builtins
import struct

import pytest

from csdm_jax.data.tfrecord import read_records
from csdm_jax.storage import events
from csdm_jax.storage.events import Events

ROWS = [
    {"step": i, "loss": 1.0 / (i + 1), "phase": [0.5, i, 2.0], "classes": [2, 0, 1]}
    for i in range(4)
]


def read(folder):
    """(tag, step) to the values of a folder's events."""
    from tensorboardX.proto import event_pb2

    (path,) = folder.glob("events.*")
    found = {}
    for record in read_records(path):
        event = event_pb2.Event.FromString(record)
        for value in event.summary.value:
            found.setdefault((value.tag, event.step), []).append(value.simple_value)
    return found


def expected(rows):
    single = {}
    for row in rows:
        values = {
            name: sum(value) / len(value) if isinstance(value, list) else value
            for name, value in row.items()
            if name not in ("step", "classes")
        }
        for name, value in values.items():
            tag = f"mean/{name}" if isinstance(row[name], list) else name
            single[tag, row["step"]] = [struct.unpack("f", struct.pack("f", value))[0]]
    return single


def test_events_are_the_rows(tmp_path):
    written = Events(tmp_path)
    written.begin([])
    written.append(ROWS)
    written.close()
    assert read(tmp_path) == expected(ROWS)


def test_a_new_beginning_has_every_step_once(tmp_path):
    before = Events(tmp_path)
    before.begin(ROWS[:3])
    before.close()
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "events.out.tfevents.1.host")  # of another second
    written = Events(tmp_path)
    written.begin(ROWS[:2])  # the second process goes on from step 2
    written.append(ROWS[2:])
    written.close()
    assert read(tmp_path) == expected(ROWS)


def test_without_the_writer_it_is_said_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == "tensorboardX":
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"csdm_jax\[tensorboard\]"):
        events.writer()
