"""Whether a distance between a subset and the training set predicts what is learnt from it.

`python benchmarks/prediction.py --data digits` and `--data cifar10 --data_dir=DIR`. Subsets of one
size, random, herded and spoilt, are compared with the long-tailed training set of the configuration
by every distance, on the unit features of each kind of extractor, and networks are trained on them.
Printed is Spearman's correlation of the negated distance with the networks' accuracy on tuning
images, training images that the long-tailed set leaves out: the mean over the classes that have
some. In brackets its 95 % interval, by a bootstrap over subsets. A distance is the mean over the
extractors of a kind. With `--trained FILE.json`, an earlier output with the same settings, its
accuracies are taken, and of the networks none is trained.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common
import _distances
import _ranks
import _subsets
import jax
import jax.numpy as jnp
import numpy as np

from csdm_jax import unit_features
from csdm_jax.data.preprocessing import Normaliser
from csdm_jax.evaluation import evaluate
from csdm_jax.evaluation.statistics import GROUPS, group_accuracies
from csdm_jax.experiment.experiment import Experiment
from csdm_jax.metric.ragged import Ragged
from csdm_jax.networks import Network

Params = Any
TARGETS = ("all", *GROUPS)
BASE = ("linear", "")
"""The distance that the others' correlations are compared with: DM's."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What belongs to a data set; every number is an option.

    Attributes:
        config: file and argument of the configuration.
        images: a class in a subset.
        subsets: how many.
        networks: trained on each subset.
        epochs: of their training, with the recipe of the configuration.
        batch: of it.
        extractors: of each kind.
        extractor_epochs: of their training.
        frequencies: T.
    """

    config: tuple[str, str]
    images: int
    subsets: int
    networks: int
    epochs: int
    batch: int
    extractors: int
    extractor_epochs: int
    frequencies: int


SETTINGS = {
    "digits": Setting(("digits_lt", "imb=10,ipc=2"), 2, 300, 4, 300, 20, 3, 60, 512),
    "cifar10": Setting(("cifar10_lt", "imb=100,ipc=10,cpu"), 10, 200, 2, 40, 20, 2, 10, 1024),
}


def experiment(options: argparse.Namespace, folder: Path, *, adjustment: float) -> Experiment:
    """The configuration with the options, extractors with that much logit adjustment."""
    config = _common.load_config(*SETTINGS[options.data].config)
    if options.data_dir:
        config.data.data_dir = options.data_dir
    config.parallel = "threads"
    config.extractors.pool_dir = str(options.pool_dir or folder)
    config.extractors.epochs = options.extractor_epochs
    config.extractors.logit_adjustment = adjustment
    # One more than are used for distances: by its features subsets are herded.
    config.extractors.count = options.extractors + (adjustment == 0)
    config.evaluate.on = "tuning"
    config.evaluate.epochs = config.evaluate.check_every = options.epochs
    config.evaluate.batch = options.batch
    return Experiment(config, folder)


def blended(start: Params, end: Params, count: int) -> list[Params]:
    """Network k interpolated towards its start by (k + 1/2) / K."""
    parts = [(k + 0.5) / count for k in range(count)]
    return [
        jax.tree.map(lambda a, b, k=k, part=part: part * a[k] + (1 - part) * b[k], start, end)
        for k, part in enumerate(parts)
    ]


def extractors(plain: Experiment, adjusted: Experiment, count: int) -> dict[str, list[Params]]:
    """Weights of the extractors of each kind."""

    def each(stacked: Params) -> list[Params]:
        return [jax.tree.map(lambda leaf, k=k: leaf[k], stacked) for k in range(count)]

    first, second = plain.supplies.pool, adjusted.supplies.pool
    return {
        "random": each(first.initial),
        "interpolated": blended(first.initial, first.trained, count),
        "trained": each(first.trained),
        "interpolated, adjusted": blended(second.initial, second.trained, count),
        "adjusted": each(second.trained),
    }


@functools.partial(jax.jit, static_argnums=(0, 1))
def _features(network: Network, normaliser: Normaliser, params: Params, images: jax.Array):
    return unit_features(network.apply(params, normaliser(images))[1])


def features(made: Experiment, params: Params, images: np.ndarray) -> jax.Array:
    """Unit features [n, d] of uint8 images [n, H, W, ch]."""
    size = min(len(images), 500)
    padded = np.concatenate([images, np.repeat(images[-1:], -len(images) % size, axis=0)])
    parts = padded.reshape(-1, size, *images.shape[1:])
    rows = [_features(made.network, made.normaliser, params, jnp.asarray(part)) for part in parts]
    return jnp.concatenate(rows)[: len(images)]


def subsets(made: Experiment, options: argparse.Namespace) -> list[_subsets.Subset]:
    """The subsets; herded by the last extractor, which no distance sees."""
    pool = jax.tree.map(lambda leaf: leaf[-1], made.supplies.pool.trained)
    ends = np.cumsum(made.host.counts)[:-1]
    images = made.host.take(np.arange(len(made.host)))
    rows = np.asarray(features(made, pool, images))
    return _subsets.draw(
        np.split(images, ends), np.split(rows, ends), options.images, options.subsets
    )


def capped(made: Experiment, most: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Training images, of each class the first `most` (their order is random), and the sizes."""
    counts = made.host.counts
    starts = np.cumsum(counts) - counts
    sizes = tuple(min(most, count) for count in counts)
    rows = np.concatenate([s + np.arange(n) for s, n in zip(starts, sizes, strict=True)])
    return made.host.take(rows), sizes


def compared(
    made: Experiment, nets: Sequence[Params], drawn: list[_subsets.Subset],
    options: argparse.Namespace,
) -> tuple[dict[_distances.Name, np.ndarray], list[float]]:  # fmt: skip
    """Distances [S] of every name, means over the networks, and their median scales."""
    real, sizes = capped(made, options.cap)
    images = np.stack([subset.images for subset in drawn])
    shape = images.shape[:3]
    found, medians = [], []
    for number, params in enumerate(nets):
        rows = Ragged(features(made, params, real), sizes)
        key = jax.random.key(number)
        reference = _distances.refer(key, rows, num=options.frequencies)
        synthetic = features(made, params, images.reshape(-1, *images.shape[3:]))
        values = _distances.distances(
            reference, synthetic.reshape(*shape, -1), jnp.asarray(made.host.counts)
        )
        found.append(jax.device_get(values))
        medians.append(round(float(reference.median), 3))
    return {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}, medians


def trained(made: Experiment, subset: _subsets.Subset, count: int) -> list[dict[str, float]]:
    """Accuracy of each network in percent: of all classes with tuning images, and by group."""
    classes, m = subset.images.shape[:2]
    results = evaluate.evaluate(
        jnp.asarray(subset.images.reshape(-1, *subset.images.shape[2:])),
        jax.nn.one_hot(np.repeat(np.arange(classes), m), classes),
        made.test_set,
        trainer=made.trainer("convnet"),
        seeds=range(1000, 1000 + count),
        check_every=made.config.evaluate.epochs,
        label="subset",
    )
    by_class = [np.array(result.by_class, float) for result in results]
    return [
        {"all": float(np.nanmean(row))} | group_accuracies(row, made.host.counts)
        for row in by_class
    ]


def earlier(path: Path, drawn: list[_subsets.Subset]) -> list[dict[str, Any]]:
    """The rows of an earlier output; of the first subsets alone where it was stopped.

    Raises:
        SystemExit: if they are of other subsets.
    """
    kept = json.loads(path.read_text())["subsets"]
    if [row["kind"] for row in kept] != [subset.kind for subset in drawn[: len(kept)]]:
        raise SystemExit(f"{path} has other subsets: give its settings, or train")
    return kept


def accuracies(
    made: Experiment, drawn: list[_subsets.Subset], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for each subset, what it is and its networks' accuracies; kept on the way."""
    rows: list[dict[str, Any]] = []
    for number, subset in enumerate(drawn):
        found = trained(made, subset, options.networks)
        rows.append(
            {"kind": subset.kind, "strength": round(subset.strength, 3)}
            | {"classes": len(subset.classes)}
            | {name: [round(one[name], 2) for one in found] for name in found[0]}
        )
        if number % 20 == 0:
            write(options, rows, [])
    return rows


def reliability(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean correlation of two networks' accuracies, and what the mean of all allows at most.

    The latter is the square root of the reliability of the mean, by Spearman and Brown.
    """
    values = np.array([row["all"] for row in rows]).T
    count, everything = len(values), np.arange(values.shape[1])[None]
    pairs = itertools.combinations(values, 2)
    found = [float(_ranks.spearman(a[None], b[None], everything).item()) for a, b in pairs]
    one = float(np.mean(found)) if found else float("nan")
    return {"two_networks": one, "ceiling": float(np.sqrt(count * one / (1 + (count - 1) * one)))}


def correlations(
    kind: str, values: dict[_distances.Name, np.ndarray], rows: list[dict[str, Any]],
    options: argparse.Namespace,
) -> list[dict[str, Any]]:  # fmt: skip
    """A row for each distance, over all subsets and over the clean ones."""
    names = sorted(values, key=_distances.place)
    table = -np.stack([values[name] for name in names])
    found = []
    for which in ("all", "clean"):
        chosen = np.array([which == "all" or row["kind"] in _subsets.CLEAN for row in rows])
        times = _ranks.resamples(int(chosen.sum()), options.resamples)
        everything = np.arange(times.shape[1])[None]
        aims = np.array([[np.mean(row[target]) for row in rows] for target in TARGETS])[:, chosen]
        points = _ranks.spearman(table[:, chosen], aims, everything)[..., 0]
        drawn = _ranks.spearman(table[:, chosen], aims, times)
        by_target = {
            target: _ranks.intervals(*pair)
            for target, *pair in zip(TARGETS, points, drawn, strict=True)
        }
        base = names.index(BASE)
        to_base = _ranks.intervals(points[0] - points[0, base], drawn[0] - drawn[0, base])
        found += [
            {"extractor": kind, "metric": metric, "scale": scale, "subsets": which}
            | {"spearman": {target: _rounded(by_target[target][d]) for target in TARGETS}}
            | {"to_linear": _rounded(to_base[d])}
            for d, (metric, scale) in enumerate(names)
        ]
    return found


def _rounded(interval: _ranks.Interval) -> list[float]:
    return [round(value, 3) for value in interval]


def write(
    options: argparse.Namespace, subset_rows: list[dict], rows: list[dict], **facts: Any
) -> None:
    """What there is so far; where networks were trained is the machine of that output."""
    settings = {k: v for k, v in vars(options).items() if k not in ("trained", "pool_dir")}
    document = _common.save(options.out, "prediction", settings, rows)
    earlier = json.loads(options.trained.read_text()) if options.trained else {}
    origin = earlier.get("trained", earlier.get("machine", document["machine"]))
    if options.out:
        document |= {"trained": origin, "subsets": subset_rows} | facts
        options.out.write_text(_lines(document) + "\n")


def _lines(document: dict[str, Any]) -> str:
    """JSON with a line for each entry of a list and for each other value."""
    parts = []
    for name, value in document.items():
        text = json.dumps(value)
        if isinstance(value, list):
            text = "[\n" + ",\n".join(json.dumps(one) for one in value) + "\n]"
        parts.append(f"{json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}"


def print_tables(rows: list[dict[str, Any]]) -> None:
    """Correlations with the accuracy of all classes: of all subsets, then of the clean ones."""
    kinds = list(dict.fromkeys(row["extractor"] for row in rows))
    names = list(dict.fromkeys((row["metric"], row["scale"]) for row in rows))
    cells = {
        (row["subsets"], row["metric"], row["scale"], row["extractor"]): row["spearman"]["all"]
        for row in rows
    }
    for which in ("all", "clean"):
        print(f"\nsubsets: {which}\n")
        _common.print_table(
            ["distance", "scale", *kinds],
            [
                [
                    *name,
                    *("{:.2f} ({:.2f} to {:.2f})".format(*cells[which, *name, k]) for k in kinds),
                ]
                for name in names
            ],
        )


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; what is left out is the data set's own."""
    parser = _common.parser(__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(SETTINGS), default="digits")
    parser.add_argument("--data_dir", help="prepared TFDS data, for cifar10")
    parser.add_argument("--trained", type=Path, help="take the accuracies of this output")
    parser.add_argument("--pool_dir", type=Path, help="where extractors are kept; nowhere")
    for field in dataclasses.fields(Setting)[1:]:
        parser.add_argument(f"--{field.name}", type=int)
    parser.add_argument("--cap", type=int, default=500, help="real images of a class, at most")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    options = parser.parse_args(given)
    own = {k: v for k, v in vars(SETTINGS[options.data]).items() if k != "config"}
    given_ones = {k: v for k, v in vars(options).items() if v is not None}
    return argparse.Namespace(**vars(options) | own | given_ones)


def main(given: Sequence[str] | None = None) -> None:
    """Prints the tables."""
    options = arguments(given)
    with tempfile.TemporaryDirectory() as folder:
        plain = experiment(options, Path(folder), adjustment=0.0)
        adjusted = experiment(options, Path(folder), adjustment=1.0)
        nets = extractors(plain, adjusted, options.extractors)
        drawn = subsets(plain, options)
        kept = earlier(options.trained, drawn) if options.trained else []
        drawn = drawn[: len(kept)] if kept else drawn
        found = {kind: compared(plain, some, drawn, options) for kind, some in nets.items()}
        rows = kept or accuracies(plain, drawn, options)
    results: list[dict[str, Any]] = []
    for kind, (values, _) in found.items():
        results += correlations(kind, values, rows, options)
    facts = {
        "median_scales": {kind: medians for kind, (_, medians) in found.items()},
        "reliability": reliability(rows),
        "clean_reliability": reliability([row for row in rows if row["kind"] in _subsets.CLEAN]),
    }
    write(options, rows, results, **facts)
    print_tables(results)
    print(f"\n{json.dumps(facts)}\nmachine: {json.dumps(_common.machine())}")


if __name__ == "__main__":
    main()
