"""One process at a time in a working directory."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from csdm_jax.runtime import interruption

NAME = ".lock"
STALE = 600.0  # seconds


class LockedError(OSError):
    """Another process works in the directory."""


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Holds the directory's lock, a file with the process and the host.

    The operating system drops the lock of a process that dies, so a stale one is taken over. On a
    file system shared by several hosts the lock may not reach the others: there the file's content
    decides, which its holder touches every minute; after `STALE` seconds without it is taken over.

    Raises:
      LockedError: when another process holds it; says which, and what to do.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / NAME
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError:
            free = False
        file.seek(0)
        holder = _parse(file.read())
        here = {"pid": os.getpid(), "host": socket.gethostname()}
        age = time.time() - path.stat().st_mtime
        elsewhere = holder and holder.get("host") != here["host"] and age < STALE
        if not free or elsewhere:
            raise LockedError(
                f"process {holder.get('pid', '?')} on {holder.get('host', '?')} works in "
                f"{workdir}: wait for it, take another --workdir, or, when that process is gone, "
                f"delete {path}"
            )
        if holder:
            logging.warning("the lock of process %s, which is gone, is taken over", holder["pid"])
        _replace(file, json.dumps(here))
        over = threading.Event()
        threading.Thread(target=_touch, args=(path, over), daemon=True).start()
        try:
            yield
        finally:
            over.set()
            _replace(file, "")


@contextlib.contextmanager
def awaited(workdir: Path, *, pause: float = 1.0) -> Iterator[None]:
    """Holds the directory's lock as `held` does, once the process that holds it lets it go.

    Args:
      workdir: the directory.
      pause: seconds between two tries.

    Raises:
      Interrupted: when a signal asked for the end while waiting.
    """
    with contextlib.ExitStack() as stack:
        waited = False
        while True:
            try:
                stack.enter_context(held(workdir))
                break
            except LockedError as error:
                if not waited:
                    logging.info("waiting: %s", error)
                waited = True
                interruption.check("while it waited for another process")
                time.sleep(pause)
        yield


def _touch(path: Path, over: threading.Event) -> None:
    while not over.wait(STALE / 10):
        with contextlib.suppress(OSError):
            os.utime(path)


def _parse(text: str) -> dict:
    try:
        holder = json.loads(text or "{}")
    except ValueError:  # its writer died in the middle
        return {}
    return holder if isinstance(holder, dict) and "pid" in holder else {}


def _replace(file, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()
