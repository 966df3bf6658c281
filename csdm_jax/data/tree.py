"""Files below a folder or in a zip archive, as one flat listing that leaves nothing out in silence.

A part of a path that starts with a dot is hidden, and `__MACOSX` is; whatever is below it is passed
over. Links are followed, unless they lead back to a folder above them.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from csdm_jax.storage.npz import check_expansion

JUNK = ("__MACOSX",)


class Tree(NamedTuple):
    """What lies below a root.

    Attributes:
      files: path below the root -> what identifies the content.
      folders: paths of folders, empty ones too.
      hidden: paths of hidden files and folders.
      dangling: paths of links that lead nowhere.
      loops: paths of links to a folder above them.
      read: the first bytes of a file, as many as are asked for, or with -1 all.
    """

    files: dict[str, Any]
    folders: list[str]
    hidden: list[str]
    dangling: list[str]
    loops: list[str]
    read: Callable[[str, int], bytes]

    def below(self, prefix: str) -> Tree:
        """The part below a folder, its paths counted from there."""

        def cut(paths: list[str]) -> list[str]:
            return [p.removeprefix(prefix) for p in paths if p.startswith(prefix)]

        return Tree(
            {p.removeprefix(prefix): s for p, s in self.files.items() if p.startswith(prefix)},
            cut(self.folders),
            cut(self.hidden),
            cut(self.dangling),
            cut(self.loops),
            lambda path, most: self.read(prefix + path, most),
        )


def is_hidden(part: str) -> bool:
    """Whether a part of a path is passed over by its name."""
    return part.startswith(".") or part in JUNK


def open_tree(path: Path) -> contextlib.AbstractContextManager[Tree]:
    """The files below a folder, or in a zip archive.

    Raises:
      ValueError: for an unsafe or damaged archive, and a folder that cannot be listed.
    """
    return _open_folder(path) if path.is_dir() else _open_zip(path)


@contextlib.contextmanager
def _open_folder(root: Path) -> Iterator[Tree]:
    def read(path: str, most: int) -> bytes:
        with open(root / path, "rb") as file:
            return file.read(most)

    tree = Tree({}, [], [], [], [], read)
    try:
        _walk(root, "", (os.path.realpath(root),), tree)
    except OSError as error:
        raise ValueError(f"cannot list {root}: {error}; make it readable") from error
    yield tree


def _walk(root: Path, prefix: str, above: tuple[str, ...], tree: Tree) -> None:
    """Adds what lies in the folder `prefix`; `above` are the real paths of it and those above."""
    for entry in sorted(os.scandir(root / prefix), key=lambda one: one.name):
        path = prefix + entry.name
        if is_hidden(entry.name):
            tree.hidden.append(path)
        elif entry.is_dir():
            real = os.path.realpath(entry.path)
            if real in above:
                tree.loops.append(path)
                continue
            tree.folders.append(path)
            _walk(root, f"{path}/", (*above, real), tree)
        elif entry.is_file():
            stat = entry.stat()
            tree.files[path] = (stat.st_size, stat.st_mtime_ns)
        elif entry.is_symlink():
            tree.dangling.append(path)


@contextlib.contextmanager
def _open_zip(path: Path) -> Iterator[Tree]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            _check_safe(path, infos)
            # PurePosixPath drops what some programs put first: "./train/..." for "train/...".
            named = {str(PurePosixPath(i.filename.replace("\\", "/"))): i for i in infos}
            hidden = [name for name in named if any(map(is_hidden, name.split("/")))]
            seen = {name: info for name, info in named.items() if name not in set(hidden)}
            parents = {str(p) for name in seen for p in PurePosixPath(name).parents} - {"."}
            folders = sorted(parents | {name for name, info in seen.items() if info.is_dir()})
            files = {
                name: (info.CRC, info.file_size)
                for name, info in sorted(seen.items())
                if not info.is_dir()
            }

            def read(name: str, most: int) -> bytes:
                with archive.open(named[name]) as file:
                    return file.read(most)

            yield Tree(files, folders, hidden, [], [], read)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"cannot read {path}: {error}; give a folder or an undamaged, unencrypted .zip"
        ) from error


def _check_safe(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    for info in infos:
        member = PurePosixPath(info.filename.replace("\\", "/"))
        if (
            member.is_absolute()
            or ".." in member.parts
            or any(":" in part for part in member.parts[:1])
        ):
            raise ValueError(
                f"{path} has the member {info.filename!r}: paths must be relative and without "
                "'..'; zip the folder again from inside it"
            )
    try:  # members are unpacked one at a time
        for info in infos:
            check_expansion(info.file_size, info.compress_size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; give the unpacked folder instead") from None
