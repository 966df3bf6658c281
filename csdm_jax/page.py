"""The page of a folder: `csdm page FOLDER OUT.html`.

For any folder with a distilled set, an imported one among them, from what lies there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from csdm_jax.experiment import command_line
from csdm_jax.reporting import page
from csdm_jax.runtime import paths
from csdm_jax.storage import files

USAGE = "usage: csdm page FOLDER OUT.html"


def main(argv: Sequence[str]) -> None:
    """Draws the page of one folder; an error ends the program with one line."""
    if set(argv) & {"-h", "--help"}:
        print(f"{USAGE}\n\n{__doc__}")
        return
    if len(argv) != 2:
        sys.exit(USAGE)
    with command_line.reported():
        folder, out = map(paths.given, argv)
        files.write_bytes(out, page.render([page.read(folder)]).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
