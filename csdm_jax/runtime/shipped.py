"""Files that come with the project: configurations and committed results.

In a checkout they lie beside the package, in an installed one within it.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def root() -> Path:
    """The folder that holds `configs/` and `results/`."""
    return PACKAGE if (PACKAGE / "configs").is_dir() else PACKAGE.parent


def configs() -> list[str]:
    """The names of the configurations, sorted."""
    return sorted(path.stem for path in (root() / "configs").glob("[!_]*.py"))


def config(name: str) -> Path | None:
    """The file of a configuration, given by its name, or as `configs/NAME.py`; None for others."""
    path = Path(name)
    stem = path.stem if path.parent == Path("configs") and path.suffix == ".py" else name
    return root() / "configs" / f"{stem}.py" if stem in configs() else None


def located(given: str) -> Path:
    """Where a configuration lies.

    Args:
      given: the name of a shipped one, whatever has that name in the working directory; or a path,
        where `configs/NAME.py` is the shipped one if there is no such file.
    """
    own = config(given)
    return own if own and (given == own.stem or not Path(given).exists()) else Path(given)
