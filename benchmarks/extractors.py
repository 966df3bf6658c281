"""Images per second in training the pool's networks, against PyTorch.

PyTorch runs in two processes of its own: as it comes, and keeping the memory it frees, as we do.

`python benchmarks/extractors.py`; shorter: `--width 32 --images 2048 --repeats 3`.
"""

from __future__ import annotations

import _common
import _training
import jax

SHOWN = ("ours", "torch", "torch kept", "ours / torch", "ours / torch kept")


def theirs(width: int, images: int, batch: int) -> None:
    """One epoch in PyTorch."""
    import torch_reference

    torch_reference.train(*_training.torch_data(images, 0), width, 1, batch)


def measure(width: int, images: int, batch: int, repeats: int) -> dict:
    """One row: images per second of all, one epoch each time."""
    pixels, labels = _training.noise(images, 0)
    trainer = _training.trainer(width, 1, batch)
    data = jax.numpy.asarray(pixels), jax.nn.one_hot(labels, _training.CLASSES)
    with _training.pytorch(kept=False) as torch, _training.pytorch(kept=True) as torch_kept:
        seconds = _common.alternated(
            {
                "ours": lambda: trainer.fit(jax.random.key(0), *data),
                "torch": lambda: torch(theirs, width, images, batch),
                "torch kept": lambda: torch_kept(theirs, width, images, batch),
            },
            repeats,
        )
    rates = {name: [images / s for s in values] for name, values in seconds.items()}
    return {
        "width": width,
        **{name: _common.spread(values) for name, values in rates.items()},
        **{
            f"ours / {name}": _common.ratio(seconds[name], seconds["ours"])
            for name in ("torch", "torch kept")
        },
    }


def main() -> None:
    """Prints the table."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--images", type=int, default=2048, help="of one epoch")
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    rows = [measure(w, options.images, options.batch, options.repeats) for w in options.width]
    _common.print_table(
        ["width", "ours, images/s", "PyTorch", "memory kept", "ours / PyTorch", "memory kept"],
        [[str(row["width"]), *(_common.shown(row[name]) for name in SHOWN)] for row in rows],
    )
    _common.write(options.out, "extractors", vars(options), rows)


if __name__ == "__main__":
    main()
