"""Images per second in training the pool's networks, against PyTorch.

`python benchmarks/extractors.py`; shorter: `--width 32 --images 2048 --repeats 3`.
"""

from __future__ import annotations

import _common
import _training
import jax


def measure(width: int, images: int, batch: int, repeats: int) -> dict:
    """One row: images per second of both, one epoch each time."""
    import torch_reference

    pixels, labels = _training.noise(images, 0)
    trainer = _training.trainer(width, 1, batch)
    data = jax.numpy.asarray(pixels), jax.nn.one_hot(labels, _training.CLASSES)
    theirs = _training.torch_data(pixels, labels)
    seconds = _common.alternated(
        {
            "ours": lambda: trainer.fit(jax.random.key(0), *data),
            "torch": lambda: bool(torch_reference.train(*theirs, width, 1, batch)),
        },
        repeats,
    )
    rates = {name: [images / s for s in values] for name, values in seconds.items()}
    return {
        "width": width,
        **{name: _common.spread(values) for name, values in rates.items()},
        "ratio": _common.ratio(seconds["torch"], seconds["ours"]),
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
        ["width", "ours, images/s", "PyTorch, images/s", "ours / PyTorch"],
        [
            [str(row["width"]), *(_common.shown(row[name]) for name in ("ours", "torch", "ratio"))]
            for row in rows
        ],
    )
    _common.write(options.out, "extractors", vars(options), rows)


if __name__ == "__main__":
    main()
