"""What the public codes of trajectory matching share for CIFAR-10 with ten images per class."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from csdm_jax.distillation.methods.matching import dm

MTT: MappingProxyType[str, Any] = MappingProxyType(
    {name: value for name, value in dm.PUBLISHED.items() if name.startswith("evaluate.")}
    | {
        "network.width": 128,
        "experts.count": 100,
        "experts.epochs": 50,
        "experts.batch": 256,
        "experts.optimiser": "sgd",
        "experts.learning_rate": 0.01,
        "experts.momentum": 0.0,
        "experts.weight_decay": 0.0,
        "experts.decay_at": (),
        "experts.augmentation": "color_crop_cutout_flip_scale_rotate",
        "experts.augmentation_mode": "one",
        "experts.cutmix": 0.0,
        "distill.parameterisation": "pixels",
        "distill.steps": 5000,
        "distill.optimiser": "sgd",
        # 1000 for pixels divided by standard deviations of 0.2, which take 0.04 of it.
        "distill.learning_rate": 40.0,
        "distill.momentum": 0.5,
        "distill.weight_decay": 0.0,
        "distill.plateau_patience": 10_000_000,  # the learning rate stays
        "distill.augmentation": "color_crop_cutout_flip_scale_rotate",
        "distill.augmentation_mode": "one",
        "trajectory.steps": 30,
        "trajectory.epochs": 2,
        "trajectory.earliest": 0,
        "trajectory.latest": 14,
        "trajectory.batch": 0,
        "trajectory.step_size": 0.01,
        "trajectory.step_size_rate": 1e-5,
    }
)
"""MTT's, without whitening; its evaluation is DM's, but for the learning rate, which is learned."""
