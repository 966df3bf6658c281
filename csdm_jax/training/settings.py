"""Fields of the configuration that say how extractors are trained."""

from __future__ import annotations

from csdm_jax.augment import MODES, OPS
from csdm_jax.runtime.fields import (
    FRACTIONS,
    MOMENTUM,
    RATE,
    SEED,
    TEXT,
    UNIT,
    Field,
    Rule,
    choice,
    integer,
    number,
)
from csdm_jax.training import parallel
from csdm_jax.training.optimisers import OPTIMISERS

AUGMENTATION = Rule(
    f"operations of {', '.join(OPS)} joined by '_', or 'none'",
    lambda v: isinstance(v, str) and (v == "none" or all(op in OPS for op in v.split("_"))),
)

FIELDS = {
    # How several networks are trained at once: see csdm_jax.training.parallel.
    "parallel": Field(parallel.AUTO, choice((parallel.AUTO, *parallel.STRATEGIES))),
    # Extractors: NCFM's pretraining.
    "extractors.count": Field(20, integer(1, 1000)),
    "extractors.seed": Field(0, SEED),
    "extractors.pool_dir": Field("", TEXT),
    "extractors.epochs": Field(60, integer(1, 100_000)),
    "extractors.batch": Field(128, integer(1, 65_536)),
    "extractors.optimiser": Field("sgd", choice(OPTIMISERS)),
    "extractors.learning_rate": Field(0.01, RATE),
    "extractors.momentum": Field(0.9, MOMENTUM),
    "extractors.weight_decay": Field(5e-4, UNIT),
    "extractors.decay_at": Field((2 / 3, 5 / 6), FRACTIONS),
    "extractors.decay": Field(0.2, number(0.0, 1.0)),
    "extractors.augmentation": Field("color_crop", AUGMENTATION),
    "extractors.augmentation_mode": Field("ncfm", choice(MODES)),
    "extractors.cutmix": Field(0.5, UNIT),
    "extractors.logit_adjustment": Field(0.0, number(0.0, 10.0)),
    # Agreement of two views of an image, and class weights that come late: see `trainer.Recipe`.
    "extractors.consistency": Field(0.0, number(0.0, 100.0)),
    "extractors.reweighting": Field(0.0, number(0.0, 10.0)),
    # Epochs of a second stage that trains the classifier alone, on classes in equal parts, and its
    # step size: see `balanced`.
    "extractors.classifier_epochs": Field(0, integer(0, 100_000)),
    "extractors.classifier_rate": Field(0.01, RATE),
}

EXPERTS = {
    # Experts: networks whose whole training is kept, for methods that match trajectories (MTT's
    # recipe: plain gradient descent, no decay).
    "experts.count": Field(10, integer(1, 1000)),
    "experts.seed": Field(0, SEED),
    "experts.epochs": Field(20, integer(1, 100_000)),
    "experts.batch": Field(256, integer(1, 65_536)),
    "experts.optimiser": Field("sgd", choice(OPTIMISERS)),
    "experts.learning_rate": Field(0.01, RATE),
    "experts.momentum": Field(0.0, MOMENTUM),
    "experts.weight_decay": Field(0.0, UNIT),
    "experts.decay_at": Field((), FRACTIONS),
    "experts.decay": Field(0.1, number(0.0, 1.0)),
    "experts.augmentation": Field("color_crop_cutout_flip_scale_rotate", AUGMENTATION),
    "experts.augmentation_mode": Field("one", choice(MODES)),
    "experts.cutmix": Field(0.0, UNIT),
    # Of flat experts: radius and weight of the surrogate gap, csdm_jax.training.sharpness.
    "experts.sharpness": Field(0.01, number(0.0, 10.0, open_ends=True)),
    "experts.surrogate_gap": Field(0.3, number(0.0, 10.0)),
    # Of balanced experts: weight decay in place of the one above, and epochs in which their
    # classifiers alone are trained on as many images of every class.
    "experts.balancing_decay": Field(5e-3, UNIT),
    "experts.classifier_epochs": Field(10, integer(1, 100_000)),
}
"""Fields that methods with experts have, each of them all."""
