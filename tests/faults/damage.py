"""Ways in which a file is damaged: by a disk, a copy that broke off, a careless hand."""

from pathlib import Path


def flip(path: Path, where: float = 0.5) -> None:
    """One bit, at a fraction of the file."""
    content = bytearray(path.read_bytes()) or bytearray(1)
    content[int(where * (len(content) - 1))] ^= 16
    path.write_bytes(content)


def truncate(path: Path, where: float = 0.5) -> None:
    """The end is missing."""
    content = path.read_bytes()
    path.write_bytes(content[: int(where * max(0, len(content) - 1))])


def delete(path: Path, where: float = 0.5) -> None:
    """The file is gone."""
    del where
    path.unlink()


def empty(path: Path, where: float = 0.5) -> None:
    """The file has no content."""
    del where
    path.write_bytes(b"")


KINDS = {"flip": flip, "truncate": truncate, "delete": delete, "empty": empty}


def regular_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
