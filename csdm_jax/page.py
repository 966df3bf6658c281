"""The page of a folder: `python -m csdm_jax.page FOLDER OUT.html`.

For any folder with a distilled set, an imported one among them, from what lies there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from csdm_jax.reporting import page
from csdm_jax.storage import files


def main(argv: Sequence[str]) -> None:
    """Draws the page of one folder; an error ends the program with one line."""
    if len(argv) != 2:
        sys.exit("usage: python -m csdm_jax.page FOLDER OUT.html")
    try:
        files.write_bytes(Path(argv[1]), page.render([page.read(Path(argv[0]))]).encode())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
