"""Two tracks of labels: a run's set with labels of its own, and the same images with soft ones.

The set with soft labels of the shared teacher lies in the folder `soft` of the run, as a set like
any other, so that all that takes a run's folder takes it, too: `distilled.load`, export, score,
page. Its card's field `soft_labels` says which teacher labelled it, and how.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from csdm_jax.sets import distilled
from csdm_jax.storage import files

FOLDER = "soft"
SOFT = "soft_labels"
"""The card's field on the labels of the shared teacher; a set with labels of its own has none."""
NOTE = (
    "Labels: soft, T: class probabilities by the mean of the extractors' logits, divided by T; "
    "ADSA: corrected for the sizes of the classes by its rule; soft, own: those of the method."
)
"""What a reader of `described` has to know."""


def with_soft(folders: Iterable[Path]) -> list[Path]:
    """The runs' folders, each followed by the folder of its soft track, where there is one."""
    return [one for folder in folders for one in (folder, soft(folder)) if one is not None]


def soft(folder: Path) -> Path | None:
    """The folder of a run's set with soft labels; None where there is none of these images.

    Soft labels whose card is damaged count as none, with a warning: the run's own are not lost.
    """
    try:
        own = files.read_sealed_json(folder / distilled.CARD)
    except FileNotFoundError:
        return None
    try:
        card = files.read_sealed_json(folder / FOLDER / distilled.CARD)
    except FileNotFoundError:
        return None
    except files.DamagedError as error:
        logging.warning("%s: its soft labels are passed over; evaluation makes them anew", error)
        return None
    same = card.get(SOFT, {}).get("set") == own.get(distilled.DIGEST)
    return folder / FOLDER if same else None


def described(card: Mapping[str, Any]) -> str:
    """What labels a card's set has, in a few words: "hard", "soft, own", "soft, T 2, ADSA"."""
    if SOFT not in card and not str(card.get("label_kind")).startswith("soft"):
        return "hard"
    told = card.get("config", {}).get("evaluate", {}).get("soft_loss")
    loss = {"squared_error": ", squared error"}.get(told, "")
    if SOFT not in card:
        return f"soft, own{loss}"
    facts = card[SOFT]
    corrected = {"adsa": ", ADSA"}.get(facts["correction"], "")
    return f"soft, T {facts['temperature']:g}{corrected}{loss}"
