"""Which format a distilled set has, where its files leave no doubt."""

from __future__ import annotations

from pathlib import Path

from csdm_jax.sets.formats import FORMATS, base, facts

GIVE = "give the format (--format=...)"


def guess(path: Path) -> str:
    """The format of the set at `path`: what its card says, or its files' names, or their content.

    Args:
      path: file, or folder of the set.

    Returns:
      A key of `FORMATS`.

    Raises:
      FileNotFoundError: when there is no such file.
      ImportError: for a `.pt` file of any name without PyTorch.
      ValueError: when no format fits, or several do; names them.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give a file or folder of a distilled set")
    card = (path if path.is_dir() else path.parent) / "card.json"
    if card.is_file():
        return facts.written_format(facts.read_card(card))
    found = _of_folder(path) if path.is_dir() else _of_file(path)
    if len(found) != 1:
        fitting = f"may be {', '.join(found)}" if found else f"is none of {', '.join(FORMATS)}"
        raise ValueError(
            f"{path} {fitting} by its files{base.present(path)}: {GIVE}, or the file itself"
        )
    return found[0]


def _of_folder(folder: Path) -> list[str]:
    """The formats all of whose files are there."""
    return [
        name
        for name, fmt in FORMATS.items()
        if all(any(folder.glob(pattern)) for pattern in fmt.files)
    ]


def _of_file(file: Path) -> list[str]:
    """The formats that have a file of this name; else those that keep all in one of this kind."""
    named = [name for name, fmt in FORMATS.items() if file.name in fmt.files]
    if named:
        return named
    alike = [
        name
        for name, fmt in FORMATS.items()
        if len(fmt.files) == 1 and Path(fmt.files[0]).suffix == file.suffix != ".png"
    ]
    return alike if len(alike) < 2 else _that_read(file, alike)


def _that_read(file: Path, names: list[str]) -> list[str]:
    """Those of some formats whose reader accepts the file."""
    accepted, refused = [], []
    for name in names:
        try:
            FORMATS[name].read(file, {})
            accepted.append(name)
        except ValueError as error:
            refused.append(f"not {name}: {error}")
    if not accepted:
        raise ValueError(f"{'; '.join(refused)}; {GIVE} of {file} if it is another")
    return accepted
