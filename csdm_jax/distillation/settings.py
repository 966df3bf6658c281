"""Fields of the configuration that say how images are distilled, whatever the method."""

from __future__ import annotations

from csdm_jax.augment import MODES
from csdm_jax.distillation.starts import STARTS
from csdm_jax.parameterisations import PARAMETERISATIONS
from csdm_jax.runtime.fields import (
    FLAG,
    MOMENTUM,
    RATE,
    SEED,
    TEXT,
    UNIT,
    Field,
    choice,
    integer,
    number,
    several,
)
from csdm_jax.training.optimisers import OPTIMISERS
from csdm_jax.training.settings import AUGMENTATION

FIELDS = {
    # Distillation: NCFM's recipe, the paper's number of steps.
    "distill.seeds": Field((0,), several(SEED, least=1)),
    # File of sketches from which a set is distilled in place of images; "" for none.
    "distill.sketches": Field("", TEXT),
    "distill.ipc": Field(10, integer(1, 10_000)),
    "distill.parameterisation": Field("mosaic", choice(PARAMETERISATIONS)),
    "distill.factor": Field(2, integer(1, 16)),
    # What makes the images from which synthetic ones begin.
    "distill.initialisation": Field("random", choice(STARTS)),
    "distill.reuse_images": Field(False, FLAG),
    "distill.steps": Field(10_000, integer(1, 10_000_000)),
    # Seconds for the steps of each method and seed: as many are made as fit, by a measurement of
    # the first ones on this machine. 0 makes distill.steps.
    "distill.seconds": Field(0.0, number(0.0, 1e7)),
    "distill.log_every": Field(100, integer(1, 100_000)),
    # Steps between checkpoints, checkpoints that stay, and what a NaN or infinity leads to.
    "distill.checkpoint_every": Field(500, integer(1, 10_000_000)),
    "distill.keep_checkpoints": Field(2, integer(1, 1000)),
    "distill.on_nonfinite": Field("stop", choice(("stop", "rollback"))),
    # Metrics as TensorBoard events, too.
    "distill.tensorboard": Field(False, FLAG),
    "distill.batch": Field(1024, integer(1, 1_000_000)),
    # Classes in a step; 0 takes all. For many classes: the cost of a step is linear in it.
    "distill.classes_per_step": Field(0, integer(0, 1_000_000)),
    # Images per forward pass: bounds memory.
    "distill.forward_batch": Field(4096, integer(1, 1_000_000)),
    # In which the extractors compute while images are distilled.
    "distill.dtype": Field("float32", choice(("float32", "bfloat16"))),
    "distill.optimiser": Field("adamw", choice(OPTIMISERS)),
    "distill.learning_rate": Field(1e-3, RATE),
    "distill.momentum": Field(0.9, MOMENTUM),
    "distill.weight_decay": Field(5e-4, UNIT),
    # Share of the learning rate that a cosine leaves at the end of the run; 1 leaves it all.
    "distill.cosine_to": Field(1.0, UNIT),
    "distill.plateau_factor": Field(0.5, number(0.0, 1.0, open_ends=True)),
    # Patience counts windows, of which the mean loss is watched: a single step's is too noisy
    # (benchmarks/plateau.py).
    "distill.plateau_patience": Field(20, integer(1, 10_000_000)),
    "distill.plateau_window": Field(100, integer(1, 1_000_000)),
    "distill.augmentation": Field("color_crop_cutout", AUGMENTATION),
    "distill.augmentation_mode": Field("ncfm", choice(MODES)),
}
