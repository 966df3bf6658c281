"""Differentiable siamese augmentation (DSA) and CutMix.

Both act on NORMALISED images, as the peers do: the zeros that cropping, scaling, rotating and
cutting out bring in are then the mean colour. Drawing the random numbers is separate from using
them, so that the real and the synthetic batch of a class can share one draw.
"""

from csdm_jax.augment.dsa import Draw, apply, augment_each, draw
from csdm_jax.augment.mixing import cutmix
from csdm_jax.augment.strategy import MODES, OPS, Augmentation

__all__ = [
    "MODES",
    "OPS",
    "Augmentation",
    "Draw",
    "apply",
    "augment_each",
    "cutmix",
    "draw",
]
