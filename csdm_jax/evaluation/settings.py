"""Fields of the configuration that say how a distilled set is evaluated.

The defaults are NCFM's protocol: AdamW with PyTorch's default weight decay, and no cutout beside
CutMix.
"""

from __future__ import annotations

from csdm_jax import networks
from csdm_jax.augment import MODES
from csdm_jax.evaluation.softening import CORRECTIONS
from csdm_jax.runtime.fields import (
    FLAG,
    FRACTIONS,
    MOMENTUM,
    RATE,
    SEED,
    UNIT,
    Field,
    choice,
    integer,
    number,
    several,
)
from csdm_jax.training.optimisers import OPTIMISERS
from csdm_jax.training.settings import AUGMENTATION
from csdm_jax.training.trainer import LOSSES

FIELDS = {
    # "tuning" looks at training images outside the long-tailed set: for choosing settings.
    "evaluate.on": Field("test", choice(("test", "tuning"))),
    "evaluate.networks": Field(("convnet",), several(choice(networks.NETWORKS), least=1)),
    # Beside the set's own labels, soft ones by the mean of the extractors: their logits divided by
    # the temperature; "adsa" corrects them for the sizes of the classes.
    "evaluate.soft_labels": Field(False, FLAG),
    "evaluate.soft_temperature": Field(1.0, number(0.1, 100.0)),
    "evaluate.soft_correction": Field("none", choice(CORRECTIONS)),
    # How networks learn soft labels, the shared ones and a method's own.
    "evaluate.soft_loss": Field(LOSSES[0], choice(LOSSES)),
    "evaluate.count": Field(5, integer(1, 1000)),
    "evaluate.seed": Field(1000, SEED),
    "evaluate.epochs": Field(2000, integer(1, 1_000_000)),
    "evaluate.check_every": Field(100, integer(1, 1_000_000)),
    "evaluate.batch": Field(128, integer(1, 65_536)),
    "evaluate.optimiser": Field("adamw", choice(OPTIMISERS)),
    "evaluate.learning_rate": Field(1e-3, RATE),
    "evaluate.momentum": Field(0.9, MOMENTUM),
    "evaluate.weight_decay": Field(0.01, UNIT),
    "evaluate.decay_at": Field((0.2, 0.4, 0.6, 0.8), FRACTIONS),
    "evaluate.decay": Field(0.5, number(0.0, 1.0)),
    "evaluate.augmentation": Field("color_crop_flip_scale_rotate", AUGMENTATION),
    "evaluate.augmentation_mode": Field("ncfm", choice(MODES)),
    "evaluate.cutmix": Field(0.5, UNIT),
}
