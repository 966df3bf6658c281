"""What sections of a configuration describe: a recipe of training, a network, an evaluation."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from csdm_jax import networks
from csdm_jax.augment import Augmentation
from csdm_jax.training.trainer import LOSSES, Recipe

DESCENT_DECAY = 5e-4
"""Weight decay of gradient descent on a set with a learning rate; AdamW's counts otherwise."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What one evaluation is, beside what the section `evaluate` says.

    Attributes:
      augmented: whether with the augmentation and CutMix of the section, or without.
      lr: the set's own learning rate, if it has one: networks are then trained by SGD with it.
      soft: whether the set's labels are soft; hard ones are learned by cross-entropy always.
    """

    augmented: bool = True
    lr: float | None = None
    soft: bool = False


COMMON = Kind()


def evaluation_section(section: Any, kind: Kind = COMMON) -> Any:
    """The section `evaluate` of a configuration, for one kind of evaluation.

    A set with a learning rate of its own was made for gradient descent with it, and has the weight
    decay of those that make such sets (MTT, DATM), unless the section is one of gradient descent.
    """
    settings = section.copy_and_resolve_references()
    if not kind.augmented:
        settings.update({"augmentation": "none", "cutmix": 0.0})
    if not kind.soft:
        settings.soft_loss = LOSSES[0]
    if kind.lr is not None:
        decay = settings.weight_decay if settings.optimiser == "sgd" else DESCENT_DECAY
        settings.update({"optimiser": "sgd", "learning_rate": kind.lr, "weight_decay": decay})
    return settings


def network_of(
    settings: Any,
    name: str,
    num_classes: int,
    image_shape: tuple[int, int, int],
    dtype: str = "float32",
) -> networks.Network:
    """A network as wide as the section `network` says; a ConvNet as deep, too."""
    deep = hasattr(networks.NETWORKS.get(name), "depth")
    depth = {"depth": settings.depth} if deep else {}
    return networks.create(
        name,
        num_classes=num_classes,
        image_shape=image_shape,
        dtype=jnp.dtype(dtype),
        width=settings.width,
        **depth,
    )


def recipe(settings: Any) -> Recipe:
    """The training recipe in a section of the configuration."""
    return Recipe(
        epochs=settings.epochs,
        batch=settings.batch,
        optimiser=settings.optimiser,
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        decay_at=settings.decay_at,
        decay=settings.decay,
        augmentation=Augmentation.parse(settings.augmentation, mode=settings.augmentation_mode),
        cutmix=settings.cutmix,
        logit_adjustment=settings.get("logit_adjustment", 0.0),
        consistency=settings.get("consistency", 0.0),
        reweighting=settings.get("reweighting", 0.0),
        loss=settings.get("soft_loss", LOSSES[0]),
    )
