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
}
