"""DSAC: DCC with augmentation, one draw for the real and the synthetic images of a class.

Source: Lee et al. 2022, Dataset Condensation with Contrastive Signals.
Cost: as `dcc`.
Deviations: as `dcc`.
Licence: no licence file.
Status: tested; published settings of ten images of a class.
"""

from __future__ import annotations

from typing import Any

from csdm_jax.distillation.methods.base import Context, Kind
from csdm_jax.distillation.methods.gradients import dcc, published


def create(config: Any, context: Context) -> dcc.DCC:
    """DCC under augmentation that real and synthetic images of a class share."""
    return dcc.DCC(config, context, augmented=True)


KIND = Kind(create, fields=dcc.FIELDS, published=published.DSA | dcc.WARM_UP)
