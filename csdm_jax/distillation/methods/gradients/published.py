"""What the public codes of gradient matching share for CIFAR-10 with ten images per class."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from csdm_jax.distillation.methods.matching import dm
from csdm_jax.distillation.methods.matching.published import MIXED

OF_ALL = ("network.", "evaluate.")
DSA: MappingProxyType[str, Any] = MappingProxyType(
    {name: value for name, value in dm.PUBLISHED.items() if name.startswith(OF_ALL)}
    | {
        "distill.parameterisation": "pixels",
        "distill.initialisation": "random",
        "distill.steps": 10_000,  # 1000 networks of 10 rounds
        "distill.batch": 256,
        "distill.optimiser": "sgd",
        # 0.1 in units of normalised pixels, times their variance, 0.2 squared.
        "distill.learning_rate": 0.004,
        "distill.momentum": 0.5,
        "distill.weight_decay": 0.0,
        "distill.plateau_patience": 10_000_000,  # the learning rate stays
        "distill.augmentation": "color_crop_cutout_flip_scale_rotate",
        "distill.augmentation_mode": "one",
        "dc.restart": 10,
        "dc.train_steps": 50,
        "dc.train_batch": 256,
        "dc.learning_rate": 0.01,
    }
)
"""With the evaluation of DM, whose authors and code are the same."""

DC: MappingProxyType[str, Any] = MappingProxyType(
    dict(DSA)
    | {
        "distill.initialisation": "noise",
        "evaluate.epochs": 300,
        "evaluate.augmentation": "none",
    }
)
"""The same without augmentation."""

IDC: MappingProxyType[str, Any] = MappingProxyType(
    {name: value for name, value in MIXED.items() if name.startswith(OF_ALL)}
    | {
        "distill.parameterisation": "mosaic",
        "distill.factor": 2,
        "distill.steps": 200_000,  # 2000 networks of 100 rounds
        "distill.batch": 64,
        "distill.optimiser": "sgd",
        "distill.learning_rate": 5e-3,
        "distill.momentum": 0.5,
        "distill.weight_decay": 0.0,
        "distill.plateau_patience": 10_000_000,
        "distill.augmentation": "color_crop_cutout",
        "distill.augmentation_mode": "ncfm",
        "evaluate.epochs": 1000,
        "idc.restart": 100,
        "idc.train_steps": 31,  # 2000 images
        "idc.train_batch": 64,
        "idc.learning_rate": 0.01,
        "idc.cutmix": 0.5,
    }
)
