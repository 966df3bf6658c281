"""DSA: DC with augmentation, one draw for the real and the synthetic images of a class.

The training of the network augments, too, each image for itself.

Source: Zhao & Bilen 2021, Dataset Condensation with Differentiable Siamese Augmentation.
Cost: as `dc`.
Deviations: as `dc`.
Licence: MIT.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

from typing import Any

from csdm_jax.distillation.methods.base import Context, Kind
from csdm_jax.distillation.methods.gradients import dc, published


def create(config: Any, context: Context) -> dc.DC:
    """DC under augmentation that real and synthetic images of a class share."""
    return dc.DC(config, context, augmented=True)


KIND = Kind(create, fields=dc.FIELDS, published=published.DSA)
