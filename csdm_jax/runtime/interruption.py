"""SIGINT and SIGTERM: the first asks the run to save and end, a second Ctrl-C ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from absl import logging

EXIT_CODE = 75
"""Exit code of a run that was stopped by a signal and goes on when started again (EX_TEMPFAIL)."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked = threading.Event()


class Interrupted(Exception):
    """A signal asked for the end; all that is worth keeping has been saved."""


def requested() -> bool:
    """Whether a signal has asked for the end. Costs nothing: every step may look."""
    return _asked.is_set()


def check(where: str) -> None:
    """Raises `Interrupted` when a signal has asked for the end."""
    if requested():
        raise Interrupted(f"stopped by a signal {where}; the same command goes on from there")


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Catches the signals while the context lasts. For the main thread.

    A compilation may keep the main thread busy for half a minute, and Python's handlers run in no
    other; so a thread of their own reads the signals from a pipe.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = [signal.signal(number, _do_nothing) for number in _SIGNALS]
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reading,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
        os.close(writing)  # ends the thread
        _asked.clear()


def _do_nothing(number: int, frame: object) -> None:
    """The signal has been written to the pipe already."""


def _listen(reading: int) -> None:
    while received := os.read(reading, 1):
        if received[0] not in _SIGNALS:
            continue
        if received[0] == signal.SIGINT and requested():
            os._exit(128 + signal.SIGINT)
        _asked.set()
        logging.warning(
            "%s: saving, then stopping; Ctrl-C once more stops without saving",
            signal.Signals(received[0]).name,
        )
    os.close(reading)
