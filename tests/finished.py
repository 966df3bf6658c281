"""A finished run without the work: a working directory as the stages leave it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from csdm_jax.reporting import spectra
from csdm_jax.sets import distilled, snapshots
from csdm_jax.sets.distilled import DistilledSet
from csdm_jax.sets.snapshots import Snapshots
from csdm_jax.storage import files


def write_run(
    folder: Path,
    method: str,
    seed: int,
    accuracies: list[float],
    *,
    on: str = "test",
    steps: int = 20,
    names: tuple[str, ...] = ("a", "b", "c"),
) -> None:
    """A run with a network for each accuracy, whose last epoch is one point below the best."""
    generator = np.random.default_rng(seed)
    classes = len(names)
    images = generator.uniform(size=(2 * classes, 8, 8, 3)).astype(np.float32)
    labels = np.repeat(np.arange(classes, dtype=np.int32), 2)
    offsets = np.linspace(10, -10, classes)
    results = [
        {
            "seed": k,
            "last": accuracy,
            "best": accuracy + 1,
            "by_class": [accuracy + offset for offset in offsets],
            "history": [[1, 2.0, accuracy + 1], [2, 1.0, accuracy]],
        }
        for k, accuracy in enumerate(accuracies)
    ]
    card = {
        "method": method,
        "seed": seed,
        "ipc": 2,
        "class_names": list(names),
        "data": {
            "name": "tiny",
            "rule": "seeded",
            "seed": 0,
            "sha256": "0123456789abcdef",
            "imbalance_factor": 5.0,
            "counts": [40, 17, 8] if classes == 3 else list(range(8 + classes, 8, -1)),
        },
        "config": {"evaluate": {"on": on}, "distill": {"seeds": [seed], "steps": steps}},
        "versions": {"jax": "1.2.3"},
        "device": "cpu",
        "accuracies": {"convnet": results},
    }
    distilled.save(folder, DistilledSet(images, labels, "pixels", 1, classes), card)
    parts = {"amplitude": [0.1] * classes, "phase": [0.2] * classes}
    rows = [
        {"step": i, "loss": 1.0 / (i + 1), "calibration": 0.5, "matching": 0.1} | parts
        for i in range(20)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text("" if method == "random" else text)
    peaks = {"distillation": 2_000_000_000, "evaluation": 2_500_000_000}
    timings = {"distillation": 30.0, "evaluation": 7.5, "peak_memory_bytes": peaks}
    files.write_sealed_json(folder / "timings.json", timings)


def write_snapshots(folder: Path, steps: tuple[int, ...]) -> None:
    """The run's own set as if it had looked so after these steps."""
    result, card = distilled.load(folder)
    kept = Snapshots(folder / snapshots.FOLDER, card["data"]["counts"], every=1)
    for step in steps:
        kept.write(step, result)


def write_spectrum(folder: Path) -> None:
    """Characteristic functions of the run's first and last class, made up."""
    card = files.read_sealed_json(folder / distilled.CARD)
    radii = np.linspace(0, 6, 7)

    def side(spread: float) -> dict[str, list[float]]:
        values = np.exp(-spread * radii**2 + 0.3j * radii)
        return {"re": values.real.tolist(), "im": values.imag.tolist()}

    ray = {"real": side(0.01), "synthetic": side(0.02)}
    numbers = (0, len(card["class_names"]) - 1)
    classes = [
        {"class": label, "name": card["class_names"][label], "count": 9, "real": 9, "synthetic": 2}
        | {"rays": [ray]}
        for label in numbers
    ]
    measured = {"kernel": "RBF(scale=1.0)", "median_radius": 3.0, "radii": radii.tolist()}
    spectra.write(folder, card, measured | {"classes": classes})
