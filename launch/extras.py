"""What each extra of the package brings: packages and megabytes, installed into empty environments.

    python launch/extras.py [EXTRA ...]

Prints the table of docs/install.md. Needs a package index, and a few minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("", "report", "distil", "tfds", "formats", "all")


def measured(extra: str) -> tuple[int, float]:
    """Packages beside this one, and megabytes on disk, without pip itself."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        target = Path(folder, "site")
        pip = (python, "-m", "pip", "install", "--quiet", "--no-compile", "--target", target)
        named = f"{ROOT}[{extra}]" if extra else str(ROOT)
        subprocess.run([*map(str, pip), named], check=True)
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        return len(list(target.glob("*.dist-info"))) - 1, size / 1e6


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("extras", nargs="*", default=EXTRAS)
    print("| install | packages | MB |\n|---|---|---|")
    for extra in parser.parse_args().extras:
        count, size = measured(extra)
        name = f"csdm_jax[{extra}]" if extra else "csdm_jax"
        print(f"| `{name}` | {count} | {size:.0f} |", flush=True)


if __name__ == "__main__":
    main()
