"""One process at a time in a working directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from absl import logging

from csdm_jax.runtime import interruption

NAME, OWNER = ".lock", ".lock-owner"
WITHOUT_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
STALE = 600.0  # seconds


class LockedError(OSError):
    """Another process works in the directory."""


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Holds the directory's lock, a file with the process and the host.

    The operating system drops the lock of a process that dies, so a stale one is taken over. On a
    file system shared by several hosts the lock may not reach the others: there the file's content
    decides, which its holder touches every minute; after `STALE` seconds without it is taken over.
    On a file system without such locks (`flock`), which the log names, a second file is the lock:
    only one process can make it, and what it says of its maker decides whether that one is gone.

    Raises:
      LockedError: when another process holds it; says which, and what to do.
      OSError: when the file cannot be locked for another reason.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path, here = workdir / NAME, {"pid": os.getpid(), "host": socket.gethostname()}
    with open(path, "a+") as file, contextlib.ExitStack() as stack:
        file.seek(0)
        holder, touched = _parse(file.read()), [path]
        try:
            free = _flock(file)
        except NotImplementedError as error:
            logging.warning("%s has no flock (%s): %s is the lock", workdir, error, OWNER)
            touched.append(workdir / OWNER)
            if free := _makes(workdir / OWNER, here):
                stack.callback((workdir / OWNER).unlink, missing_ok=True)
        age = time.time() - path.stat().st_mtime
        elsewhere = holder and holder.get("host") != here["host"] and age < STALE
        if not free or elsewhere:
            raise LockedError(
                f"process {holder.get('pid', '?')} on {holder.get('host', '?')} works in "
                f"{workdir}: wait for it, take another --workdir, or, when that process is gone, "
                f"delete {' and '.join(map(str, touched))}"
            )
        if holder:
            logging.warning("the lock of process %s, which is gone, is taken over", holder["pid"])
        _replace(file, json.dumps(here))
        over = threading.Event()
        threading.Thread(target=_touch, args=(touched, over), daemon=True).start()
        try:
            yield
        finally:
            over.set()
            _replace(file, "")


def _flock(file: TextIO) -> bool:
    """Locks a file; False when another process holds it.

    Raises:
      NotImplementedError: when its file system has no such locks.
      OSError: when it cannot be locked for another reason.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in WITHOUT_FLOCK:
            raise NotImplementedError(errno.errorcode[error.errno]) from error
        raise
    return True


def _makes(path: Path, here: dict[str, Any]) -> bool:
    """Makes the file of an owner, in place of one whose owner is gone; False when one is there."""
    for _ in range(2):
        try:
            with open(path, "x") as file:
                file.write(json.dumps(here))
            return True
        except FileExistsError:
            holder = _owner(path)
        if holder is None:
            continue  # gone since
        if _lives(holder, path, here):
            return False
        aside = path.with_name(f"{path.name}.{here['host']}.{here['pid']}")
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, aside)
            if _owner(aside) != holder:  # another process was faster, and this one is alive
                os.replace(aside, path)
                return False
            aside.unlink()
    return False


def _owner(path: Path) -> dict[str, Any] | None:
    """What the file of an owner says, empty while it is written; None without the file."""
    try:
        return _parse(path.read_text())
    except FileNotFoundError:
        return None


def _lives(holder: dict[str, Any], path: Path, here: dict[str, Any]) -> bool:
    """Whether the owner of a file is still there: by its process on this host, else by its age."""
    if holder.get("host") != here["host"]:
        with contextlib.suppress(FileNotFoundError):
            return time.time() - path.stat().st_mtime < STALE
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


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


def _touch(paths: list[Path], over: threading.Event) -> None:
    while not over.wait(STALE / 10):
        for path in paths:
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
