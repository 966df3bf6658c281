"""What NCFM published for CIFAR-10, and CSDM keeps: networks, schedules, augmentation, evaluation.

Read from the files of its public code; the seed paper changes the metric and the number of steps.
"""

from __future__ import annotations

from types import MappingProxyType

NCFM = MappingProxyType(
    {
        "network.width": 128,
        "extractors.count": 20,
        "extractors.epochs": 60,
        "extractors.batch": 128,
        "extractors.optimiser": "sgd",
        "extractors.learning_rate": 0.01,
        "extractors.momentum": 0.9,
        "extractors.weight_decay": 5e-4,
        "extractors.decay_at": (2 / 3, 5 / 6),
        "extractors.decay": 0.2,
        "extractors.augmentation": "color_crop",
        "extractors.cutmix": 0.5,
        "extractors.logit_adjustment": 0.0,
        "distill.parameterisation": "mosaic",
        "distill.factor": 2,
        "distill.steps": 20_000,
        "distill.batch": 1024,
        "distill.optimiser": "adamw",
        "distill.learning_rate": 1e-3,
        "distill.plateau_factor": 0.5,
        "distill.plateau_patience": 500,
        "distill.plateau_window": 1,
        "distill.augmentation": "color_crop_cutout",
        "distill.loss_scale": 300.0,
        "distill.calibration": 1.0,
        "sdd.num_frequencies": 4096,
        "sdd.frequency_method": "iid",
        "evaluate.epochs": 2000,
        "evaluate.batch": 128,
        "evaluate.optimiser": "adamw",
        "evaluate.learning_rate": 1e-3,
        "evaluate.weight_decay": 0.01,  # PyTorch's default for AdamW
        "evaluate.decay_at": (0.2, 0.4, 0.6, 0.8),
        "evaluate.decay": 0.5,
        "evaluate.augmentation": "color_crop_flip_scale_rotate",  # no cutout beside CutMix
        "evaluate.cutmix": 0.5,
    }
)

MIXED = MappingProxyType(
    dict(NCFM)
    | {
        "distill.optimiser": "sgd",
        "distill.momentum": 0.5,
        "distill.weight_decay": 0.0,
        "distill.plateau_patience": 10_000_000,  # the learning rate stays
        "distill.features": "raw",
        "evaluate.optimiser": "sgd",
        "evaluate.learning_rate": 0.01,
        "evaluate.momentum": 0.9,
        "evaluate.weight_decay": 5e-4,
        "evaluate.decay_at": (2 / 3, 5 / 6),
        "evaluate.decay": 0.2,
        "evaluate.batch": 64,
    }
)
"""What DANCE, DSDM and M3D share: IDC's mosaics, augmentation and evaluation, gradient descent."""
