"""The tables of a score, as Markdown."""

from __future__ import annotations

from typing import Any

from csdm_jax.data.class_names import spoken
from csdm_jax.data.longtail import factor_text, head_to_tail, own_factor
from csdm_jax.evaluation.statistics import GROUPS, possible
from csdm_jax.reporting.table import group_cells, width_text
from csdm_jax.reporting.table import markdown as table
from csdm_jax.sets import tracks

ACCURACY = ("network", "networks", "last epoch", "best (optimistic)", *GROUPS)
PARTS = {
    "full": "real",
    "hard": "set hard",
    "own": "set",
    "random": "random",
    "own_plain": "set plain",
    "random_plain": "random plain",
    "hlr": "HLR",
    "ior": "IOR",
}
SCORES = {"lrs": "LRS", "ars": "ARS"}


def markdown(score: dict[str, Any]) -> str:
    """All tables of a score.

    Args:
      score: as `score.run` returns it, with or without "robust".
    """
    parts = [_heading(score), _accuracy(score), _by_class(score), *_robust(score)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _heading(score: dict[str, Any]) -> list[str]:
    """What was scored on what."""
    scored, data = score["set"], score["data"]
    tuning = "TUNING images, not the test set" if _tuned(score) else "the test set"
    beyond = f"; {scored['outside']:.1%} of the pixel values outside [0, 1]"
    return [
        f"{scored['path']} ({scored['format']}, {_labels(scored)}, {scored['images']} "
        f"stored images, trained on as {scored['training_images']}"
        f"{beyond if scored['outside'] else ''}; "
        f"SHA-256 {scored['sha256'][:12]}) on {tuning} of {data['name']}"
        f"{width_text(score['settings']['network']['width'])}",
        *(f"note: {note}" for note in scored["notes"]),
    ]


def _labels(scored: dict[str, Any]) -> str:
    """Whose labels they are, where a card says so."""
    facts = scored.get("soft_labels")
    if facts is None:
        return f"{scored['labels']} labels"
    kind = tracks.described({tracks.SOFT: facts})
    return f"labels by the mean of {facts['teacher']['count']} networks ({kind})"


def _tuned(score: dict[str, Any]) -> bool:
    return score["settings"]["on"] == "tuning"


def _accuracy(score: dict[str, Any]) -> list[str]:
    """Accuracy of every architecture."""
    rows = [
        [
            name,
            str(len(found["last"]["values"])),
            _with_interval(found["last"], 1, 100.0),
            f"{found['best']['mean']:.1f}",
            *group_cells(found["groups"]),
        ]
        for name, found in score["accuracy"].items()
    ]
    data = score["data"]
    factor = factor_text(own_factor(data["counts"]), data["imbalance_factor"])
    return [
        *table(ACCURACY, rows),
        "",
        "Accuracy in percent: mean over networks ± half of its 95 % interval (Student's t), "
        "or its ends in brackets where they are cut at 0 or 100. best: "
        "selected on the test set, for comparison only. many / medium / few: classes by training "
        f"count at {factor}, in thirds.",
    ]


def _by_class(score: dict[str, Any]) -> list[str]:
    """Accuracy of every class by every architecture, head to tail."""
    columns = [found["by_class"] for found in score["accuracy"].values()]
    rows = [
        [
            spoken(name),
            str(count),
            str(images),
            *("-" if one is None else f"{one:.1f}" for one in cells),
        ]
        for name, count, images, *cells in zip(
            score["class_names"],
            score["data"]["counts"],
            score["set"]["per_class"],
            *columns,
            strict=True,
        )
    ]
    ordered = [rows[label] for label in head_to_tail(score["data"]["counts"])]
    header = ("class", "long-tailed images", "images in the set", *score["accuracy"])
    return [*table(header, ordered)]


def _robust(score: dict[str, Any]) -> list[list[str]]:
    """DD-Ranking's scores; nothing when there are no references."""
    if "robust" not in score:
        return []
    found = [
        (architecture, real, values)
        for architecture, by_real in score["robust"].items()
        for real, values in by_real.items()
    ]
    names = ("network", "references")
    scores = [
        [*key, *(_with_interval(values[one], 3, 1.0) for one in SCORES)] for *key, values in found
    ]
    parts = [[*key, *(f"{values[one]['mean']:.3f}" for one in PARTS)] for *key, values in found]
    soft = score["set"]["labels"] == "soft"
    taught = "with soft labels by the networks of `real`" if soft else "with hard labels"
    return [
        [
            *table((*names, *SCORES.values()), scores),
            "",
            "LRS, ARS: label-robust and augmentation-robust score (DD-Ranking, arXiv 2505.13300), "
            "in [0, 1], ± as above, from accuracies as fractions: LRS = u((IOR - HLR) / 2), ARS = "
            "u((set - random + set plain - random plain) / 2), u(a) = (e^a - e^-1) / (e - e^-1). "
            "u(0) = 0.269: no better than random and no worse than all real images.",
        ],
        [
            *table((*names, *PARTS.values()), parts),
            "",
            "Accuracies as fractions, means over networks. real: trained on all real images by "
            "the recipe of config.extractors. set hard: with hard labels. random: as many random "
            f"real images of each class as networks train on from the set, {taught}. plain: "
            "without augmentation and CutMix. HLR = real - set hard; IOR = set - random. "
            "References balanced, all images: from all training images; long-tailed: from the "
            "long-tailed training set.",
        ],
    ]


def _with_interval(summary: dict[str, Any], digits: int, most: float) -> str:
    """Mean ± half width; with the ends instead, where one is not a possible value and is cut."""
    mean, half = summary["mean"], summary["half_width"]
    ends = possible(mean, half, 0.0, most)
    if ends is None:
        return f"{mean:.{digits}f}"
    if ends == (mean - half, mean + half):
        return f"{mean:.{digits}f} ± {half:.{digits}f}"
    return f"{mean:.{digits}f} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"
